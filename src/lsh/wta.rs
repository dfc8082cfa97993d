//! Winner-takes-all hashing (Yagnik et al. 2011) and its densified form for sparse vectors (Chen & Shrivastava 2018).
//!
//! The coordinates are permuted at random and cut into bins of m; the code of a bin is the position of its largest
//! coordinate, the first one where several are equal. As many permutations are drawn as K·T bins need; coordinates
//! left over at the end of a permutation are not used by it.
//!
//! On a dense vector WTA and DWTA are the same. On a sparse one WTA takes absent coordinates for zeros; DWTA looks at
//! the present ones only, and a bin that holds none takes the code of another bin, found by a fixed probe sequence.

use super::block::{LANES, Lanes, Line, simd_versions, transpose};
use super::probes::Flip;
use super::random::below;
use super::{Family, LshError, LshSettings, MOST_BITS, Packing};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

/// Probes of the densification before a bin is left with code 0.
const ATTEMPTS: u32 = 100;
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct Wta {
    densified: bool,
    bits: usize,
    tables: usize,
    width: usize,
    /// m, at most the width.
    bin: usize,
    /// Bits by which the code of one bin is shifted against the next one's.
    shift: u32,
    /// Coordinates of every bin: K·T x m, bins of a table side by side.
    coordinates: Vec<u32>,
    /// For every permutation and coordinate its place in `coordinates`, or [`NONE`].
    places: Vec<u32>,
}

impl Wta {
    pub(super) fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        if !(2..=256).contains(&settings.bin) {
            return Err(LshError::new("bin", settings.bin, "a bin size from 2 to 256"));
        }
        let code_bits = usize::BITS - (settings.bin - 1).leading_zeros();
        let shift = match settings.packing {
            Packing::Exact => code_bits,
            Packing::Released => (settings.bin as f64).ln() as u32,
        };
        let most = (1..=MOST_BITS).take_while(|&bits| indices(bits, settings.bin, shift) <= 1 << 31).count();
        if settings.bits > most {
            let expected = format!("at most {most} with bins of {} and this packing", settings.bin);
            return Err(LshError::new("bits", settings.bits, expected));
        }
        let bin = settings.bin.min(width);
        let functions = settings.bits * settings.tables;
        let mut coordinates = Vec::with_capacity(functions * bin);
        let mut places = Vec::new();
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut permutation: Vec<u32> = (0..width as u32).collect();
        while coordinates.len() < functions * bin {
            permutation.shuffle(&mut rng);
            let used = (width / bin * bin).min(functions * bin - coordinates.len());
            let start = places.len();
            places.resize(start + width, NONE);
            for &coordinate in &permutation[..used] {
                places[start + coordinate as usize] = coordinates.len() as u32;
                coordinates.push(coordinate);
            }
        }
        Ok(Self {
            densified: settings.family == Family::Dwta,
            bits: settings.bits,
            tables: settings.tables,
            width,
            bin,
            shift,
            coordinates,
            places,
        })
    }

    pub(super) fn buckets(&self) -> usize {
        indices(self.bits, self.bin, self.shift) as usize
    }

    /// The bucket index of a table's codes.
    pub(super) fn pack(&self, codes: &[u32]) -> u32 {
        codes.iter().fold(0, |index, code| (index << self.shift) + code)
    }

    /// The codes of one table for a dense vector; where `flips` is given, the runner-up of each bin and its distance.
    pub(super) fn codes(&self, x: &[f32], table: usize, codes: &mut [u32], mut flips: Option<&mut [Flip]>) {
        let bins = self.coordinates[table * self.bits * self.bin..].chunks_exact(self.bin);
        for (j, (code, bin)) in codes.iter_mut().zip(bins).enumerate() {
            let winner = first_largest(bin.iter().map(|&c| x[c as usize]), usize::MAX);
            *code = winner.0 as u32;
            if let Some(flips) = &mut flips {
                let second = first_largest(bin.iter().map(|&c| x[c as usize]), winner.0);
                flips[j] = Flip { cost: winner.1 - second.1, code: second.0 as u32 };
            }
        }
    }

    pub(super) fn hash_sparse(&self, indices: &[u32], values: &[f32], out: &mut [u32]) {
        let functions = self.bits * self.tables;
        let mut codes = vec![NONE; functions];
        if self.densified {
            self.winners(indices, values, &mut codes);
        } else {
            let mut x = vec![0.0; self.width];
            for (&i, &value) in indices.iter().zip(values) {
                x[i as usize] = value;
            }
            for (table, codes) in codes.chunks_exact_mut(self.bits).enumerate() {
                self.codes(&x, table, codes, None);
            }
        }
        let mut packed = [0; MOST_BITS];
        for (table, out) in out.iter_mut().enumerate() {
            for (j, code) in packed[..self.bits].iter_mut().enumerate() {
                let probes = (0..=ATTEMPTS).map(|attempt| codes[donor(table * self.bits + j, attempt, functions)]);
                *code = probes.into_iter().find(|&code| code != NONE).unwrap_or(0);
            }
            *out = self.pack(&packed[..self.bits]);
        }
    }

    /// The winner of every bin among the non-zeros; bins without any keep [`NONE`].
    fn winners(&self, indices: &[u32], values: &[f32], codes: &mut [u32]) {
        let mut best = vec![f32::NEG_INFINITY; codes.len()];
        for places in self.places.chunks_exact(self.width) {
            for (&i, &value) in indices.iter().zip(values) {
                let place = places[i as usize];
                if place == NONE || value == 0.0 {
                    continue;
                }
                let (bin, position) = (place as usize / self.bin, place % self.bin as u32);
                let first = codes[bin] == NONE || value > best[bin];
                if first || (value == best[bin] && position < codes[bin]) {
                    (best[bin], codes[bin]) = (value, position);
                }
            }
        }
    }
}

/// How many bucket indices there are: the largest sum of shifted codes, plus one.
fn indices(bits: usize, bin: usize, shift: u32) -> u64 {
    (0..bits as u32).fold(0, |sum: u64, _| (sum << shift).saturating_add(bin as u64 - 1).min(1 << 40)) + 1
}

/// Position and value of the largest, the first where several are, leaving out position `except`; 0 and −∞ of none.
fn first_largest(values: impl Iterator<Item = f32>, except: usize) -> (usize, f32) {
    let mut best = None;
    for (position, value) in values.enumerate().filter(|&(position, _)| position != except) {
        if best.is_none_or(|(_, largest)| value > largest) {
            best = Some((position, value));
        }
    }
    best.unwrap_or((0, f32::NEG_INFINITY))
}

simd_versions! {
    /// Hashes the rows of `x`; `out` takes a run of indices for each table.
    pub(super) fn hash_rows = rows_kernel(this: &Wta, x: &[f32], stride: usize, out: &mut [u32])
}

#[inline(always)]
fn rows_kernel<L: Lanes>(l: L, this: &Wta, x: &[f32], stride: usize, out: &mut [u32]) {
    let rows = x.len() / stride;
    let mut block = vec![Line([0.0_f32; LANES]); this.width];
    for first in (0..rows).step_by(LANES) {
        let lanes = LANES.min(rows - first);
        transpose(&x[first * stride..], stride, lanes, &mut block);
        let mut bins = this.coordinates.chunks_exact(this.bin);
        for table in 0..this.tables {
            let mut index = l.splat_int(0);
            for bin in bins.by_ref().take(this.bits) {
                let mut best = l.load(&block[bin[0] as usize].0);
                let mut code = l.splat_int(0);
                for (position, &coordinate) in (1..).zip(&bin[1..]) {
                    (best, code) = l.winner(best, code, l.load(&block[coordinate as usize].0), position);
                }
                index = l.pack(index, this.shift, code);
            }
            let index = l.store_int(index).map(|index| index as u32);
            out[table * rows + first..][..lanes].copy_from_slice(&index[..lanes]);
        }
    }
}

/// The bin that bin `function` asks at its `attempt`-th probe; at attempt 0 itself.
fn donor(function: usize, attempt: u32, functions: usize) -> usize {
    if attempt == 0 { function } else { below(functions, function as u64, u64::from(attempt)) }
}

//! All functions of one family behind one face.

use super::block::Simd;
use super::minhash::MinHash;
use super::mips::{self, Mips};
use super::probes::{Flip, cheapest_sets};
use super::simhash::{self, SimHash};
use super::wta::{self, Wta};
use super::{Family, LshError, LshSettings, MOST_BITS};
use crate::kernels::weights::Weights;
use std::ops::Range;

/// Rows that [`Hasher::bound`] looks at at once.
const AT_ONCE: usize = 1024;

/// The T·K hash functions of one family for vectors of one width, drawn from a seed.
///
/// A **query** is a layer's input, a **weight row** what is filed in the tables. All families but MIPS hash the two in
/// the same way. [`hash`](Self::hash) and [`hash_weight`](Self::hash_weight) take one vector and are plain;
/// [`hash_queries`](Self::hash_queries) and [`hash_rows`](Self::hash_rows) take many, sixteen at a time, and give the
/// same bits.
#[derive(Clone, Debug)]
pub struct Hasher {
    settings: LshSettings,
    width: usize,
    buckets: usize,
    functions: Functions,
    simd: Simd,
}

#[derive(Clone, Debug)]
enum Functions {
    SimHash(SimHash),
    Wta(Wta),
    MinHash(MinHash),
    Mips(Mips),
}

/// Which of the two a vector is, and for a weight row the largest squared length of all rows (MIPS).
#[derive(Clone, Copy)]
enum Side {
    Query,
    Weight(f32),
}

impl Side {
    fn bound(self) -> Option<f32> {
        match self {
            Self::Query => None,
            Self::Weight(bound) => Some(bound),
        }
    }
}

impl Hasher {
    /// Draws the functions for vectors of `width` coordinates; the same seed gives the same functions.
    ///
    /// # Errors
    /// Names the setting that cannot be and what would do.
    pub fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        for (name, value) in [
            ("tables", settings.tables),
            ("capacity", settings.capacity),
            ("probes", settings.probes),
            ("width", width),
        ] {
            if value == 0 {
                return Err(LshError::new(name, 0, "a number from 1 on"));
            }
        }
        if !(1..=MOST_BITS).contains(&settings.bits) {
            return Err(LshError::new("bits", settings.bits, format!("a number from 1 to {MOST_BITS}")));
        }
        if settings.incremental && settings.family != Family::Simhash {
            return Err(LshError::new("incremental", true, "false, or family = \"simhash\""));
        }
        let most_probes = if settings.family == Family::Minhash { 1 } else { 1_usize << settings.bits.min(20) };
        if settings.probes > most_probes {
            let family = settings.family;
            let expected = format!("at most {most_probes} with {family:?} and bits = {}", settings.bits);
            return Err(LshError::new("probes", settings.probes, expected));
        }
        let functions = match settings.family {
            Family::Simhash => Functions::SimHash(SimHash::new(settings, width, seed)?),
            Family::Wta | Family::Dwta => Functions::Wta(Wta::new(settings, width, seed)?),
            Family::Minhash => Functions::MinHash(MinHash::new(settings, width, seed)?),
            Family::Mips => Functions::Mips(Mips::new(settings, width, seed)?),
        };
        let buckets = match &functions {
            Functions::SimHash(f) => f.buckets(),
            Functions::Wta(f) => f.buckets(),
            Functions::MinHash(f) => f.buckets(),
            Functions::Mips(f) => f.buckets(),
        };
        Ok(Self { settings: settings.clone(), width, buckets, functions, simd: Simd::chosen() })
    }

    /// Hashes many vectors with this instruction set; the results are the same with each.
    ///
    /// # Panics
    /// When this CPU does not run it.
    pub fn with_simd(mut self, simd: Simd) -> Self {
        assert!(Simd::supported().contains(&simd), "this CPU does not run {simd:?}");
        self.simd = simd;
        self
    }

    pub fn settings(&self) -> &LshSettings {
        &self.settings
    }

    /// Coordinates of the vectors it hashes.
    pub fn width(&self) -> usize {
        self.width
    }

    /// T.
    pub fn tables(&self) -> usize {
        self.settings.tables
    }

    /// Bucket indices of a table lie in `0..buckets()`.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// Buckets a query asks in each table.
    pub fn probes(&self) -> usize {
        self.settings.probes
    }

    pub(super) fn simhash(&self) -> Option<&SimHash> {
        if let Functions::SimHash(f) = &self.functions { Some(f) } else { None }
    }

    /// Hashes one dense query of at least `width` coordinates into T bucket indices.
    pub fn hash(&self, x: &[f32], out: &mut [u32]) {
        assert_eq!(out.len(), self.tables());
        self.each_table(x, Side::Query, |table, codes| out[table] = self.pack(codes));
    }

    /// As [`hash`](Self::hash) for a weight row; `bound` as in [`hash_rows`](Self::hash_rows).
    pub fn hash_weight(&self, x: &[f32], bound: f32, out: &mut [u32]) {
        assert_eq!(out.len(), self.tables());
        self.each_table(x, Side::Weight(bound), |table, codes| out[table] = self.pack(codes));
    }

    /// The T·K codes of one query before they are packed, table after table: bits for SimHash and MIPS, positions for
    /// (D)WTA, ranks for MinHash.
    pub fn codes(&self, x: &[f32], out: &mut [u32]) {
        let bits = self.settings.bits;
        self.each_table(x, Side::Query, |table, codes| out[table * bits..][..bits].copy_from_slice(codes));
    }

    /// As [`codes`](Self::codes) for a weight row.
    pub fn weight_codes(&self, x: &[f32], bound: f32, out: &mut [u32]) {
        let bits = self.settings.bits;
        self.each_table(x, Side::Weight(bound), |table, codes| out[table * bits..][..bits].copy_from_slice(codes));
    }

    /// Hashes one sparse query into T bucket indices; `indices` are distinct and below `width`.
    pub fn hash_sparse(&self, indices: &[u32], values: &[f32], out: &mut [u32]) {
        assert_eq!((indices.len(), out.len()), (values.len(), self.tables()));
        match &self.functions {
            Functions::SimHash(f) => f.hash_sparse(indices, values, out),
            Functions::Wta(f) => f.hash_sparse(indices, values, out),
            Functions::MinHash(f) => {
                let coordinates = indices.iter().copied().zip(values.iter().copied());
                f.hash_sparse(coordinates, |table, index| out[table] = index);
            }
            Functions::Mips(_) => {
                let mut x = vec![0.0; self.width];
                for (&i, &value) in indices.iter().zip(values) {
                    x[i as usize] = value;
                }
                self.hash(&x, out);
            }
        }
    }

    /// The buckets a dense query asks, `probes()` for each table: its own, then those it would fall into if its least
    /// certain codes came out otherwise, likeliest first. `out` takes T runs of `probes()`; with released packing a
    /// bucket may come twice in a run, as different codes share it.
    pub fn probe(&self, x: &[f32], out: &mut [u32]) {
        let (bits, probes) = (self.settings.bits, self.settings.probes);
        assert_eq!(out.len(), self.tables() * probes);
        if probes == 1 {
            return self.hash(x, out);
        }
        let x = &x[..self.width];
        let (mut codes, mut flips) = ([0; MOST_BITS], [Flip::default(); MOST_BITS]);
        let (codes, flips) = (&mut codes[..bits], &mut flips[..bits]);
        for (table, out) in out.chunks_exact_mut(probes).enumerate() {
            match &self.functions {
                Functions::SimHash(f) => f.codes(x, f.scale(simhash::largest(x)), table, codes, Some(flips)),
                Functions::Wta(f) => f.codes(x, table, codes, Some(flips)),
                Functions::Mips(f) => f.codes(x, 0.0, table, codes, Some(flips)),
                Functions::MinHash(_) => unreachable!("refused by Hasher::new"),
            }
            out[0] = self.pack(codes);
            let mut place = 1;
            cheapest_sets(flips, probes - 1, |set| {
                let mut flipped = [0; MOST_BITS];
                for (j, code) in flipped[..bits].iter_mut().enumerate() {
                    *code = if set >> j & 1 == 1 { flips[j].code } else { codes[j] };
                }
                out[place] = self.pack(&flipped[..bits]);
                place += 1;
            });
        }
    }

    /// The largest squared length among the rows `rows` of `weights`: what MIPS needs to know of all rows before
    /// it hashes one. 0 for the other families, which need nothing.
    pub fn bound<'a>(&self, weights: impl Into<Weights<'a>>, stride: usize, rows: Range<usize>) -> f32 {
        let (weights, mut bound, mut scratch) = (weights.into(), 0.0, Vec::new());
        if let Functions::Mips(f) = &self.functions {
            for first in rows.clone().step_by(AT_ONCE) {
                let weights = weights.widened(first * stride..rows.end.min(first + AT_ONCE) * stride, &mut scratch);
                mips::raise_bound(self.simd, f, weights, stride, &mut bound);
            }
        }
        bound
    }

    /// Hashes the weight rows `rows` of a row-major matrix of `stride` floats a row, given the [`bound`](Self::bound)
    /// of all rows. `out` takes T runs of `rows.len()` bucket indices, table after table.
    pub fn hash_rows(&self, weights: &[f32], stride: usize, rows: Range<usize>, bound: f32, out: &mut [u32]) {
        self.rows(weights, stride, rows, Side::Weight(bound), out);
    }

    /// Hashes a batch of dense queries, the rows `rows` of `x`. `out` takes T·`probes()` runs of `rows.len()` bucket
    /// indices: those of the first table, probe after probe as [`probe`](Self::probe) orders them, then the next one's.
    pub fn hash_queries(&self, x: &[f32], stride: usize, rows: Range<usize>, out: &mut [u32]) {
        if self.probes() == 1 {
            return self.rows(x, stride, rows, Side::Query, out);
        }
        assert_eq!(out.len(), self.tables() * self.probes() * rows.len());
        let (first, count) = (rows.start, rows.len());
        let mut buckets = vec![0; self.tables() * self.probes()];
        for row in rows {
            self.probe(&x[row * stride..], &mut buckets);
            for (run, &bucket) in buckets.iter().enumerate() {
                out[run * count + row - first] = bucket;
            }
        }
    }

    fn rows(&self, x: &[f32], stride: usize, rows: Range<usize>, side: Side, out: &mut [u32]) {
        assert!(self.width <= stride, "rows of {stride} floats are too short for a width of {}", self.width);
        assert_eq!(out.len(), self.tables() * rows.len());
        let x = &x[rows.start * stride..rows.end * stride];
        match &self.functions {
            Functions::SimHash(f) => simhash::hash_rows(self.simd, f, x, stride, out),
            Functions::Wta(f) => wta::hash_rows(self.simd, f, x, stride, out),
            Functions::MinHash(f) => f.hash_rows(x, stride, out),
            Functions::Mips(f) => mips::hash_rows(self.simd, f, x, stride, side.bound(), out),
        }
    }

    /// Calls `visit` with the K codes of each table.
    fn each_table(&self, x: &[f32], side: Side, mut visit: impl FnMut(usize, &[u32])) {
        let x = &x[..self.width];
        let mut codes = [0; MOST_BITS];
        let codes = &mut codes[..self.settings.bits];
        let mut each = |fill: &dyn Fn(usize, &mut [u32])| {
            for table in 0..self.settings.tables {
                fill(table, codes);
                visit(table, codes);
            }
        };
        match &self.functions {
            Functions::SimHash(f) => {
                let scale = f.scale(simhash::largest(x));
                each(&|table, codes| f.codes(x, scale, table, codes, None));
            }
            Functions::Wta(f) => each(&|table, codes| f.codes(x, table, codes, None)),
            Functions::MinHash(f) => {
                let set = f.set((0..).zip(x.iter().copied()));
                each(&|table, codes| f.codes(&set, table, codes));
            }
            Functions::Mips(f) => {
                let last = side.bound().map_or(0.0, |bound| f.last(x, bound));
                each(&|table, codes| f.codes(x, last, table, codes, None));
            }
        }
    }

    /// The bucket index of a table's K codes.
    fn pack(&self, codes: &[u32]) -> u32 {
        match &self.functions {
            Functions::SimHash(_) | Functions::Mips(_) => codes.iter().fold(0, |index, bit| index << 1 | bit),
            Functions::Wta(f) => f.pack(codes),
            Functions::MinHash(f) => f.pack(codes),
        }
    }
}

//! Min-wise hashing of the set of a vector's largest coordinates: one-permutation hashing with densification
//! (Li, Owen & Zhang 2012; Shrivastava 2017).
//!
//! Every table permutes the coordinates at random and cuts the permutation into K bins. The code of a bin is the rank of
//! the first member of the set that lies in it. A bin that holds no member takes the code of another bin of the table,
//! found by a fixed probe sequence. Two sets agree in a code with probability |A ∩ B| / |A ∪ B|, exactly: in the first
//! probed bin that holds a member of either set, the first such member is any of the union's with the same probability,
//! and the codes are equal just if it belongs to both.

use super::random::{below, mix};
use super::{LshError, LshSettings, MOST_BITS};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

/// Probes of the densification before the bins are gone through one by one.
const ATTEMPTS: u64 = 100;
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug)]
pub(super) struct MinHash {
    bits: usize,
    tables: usize,
    width: usize,
    top: usize,
    range: usize,
    /// T x width: rank of each coordinate in the table's permutation.
    ranks: Vec<u32>,
    /// K odd factors that mix the codes of a table into one index.
    factors: Vec<u64>,
}

impl MinHash {
    pub(super) fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        if settings.top == 0 {
            return Err(LshError::new("top", 0, "a number of coordinates from 1 on"));
        }
        if !(1..=30).contains(&settings.range) {
            return Err(LshError::new("range", settings.range, "log2 of the buckets a table, from 1 to 30"));
        }
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut permutation: Vec<u32> = (0..width as u32).collect();
        let mut ranks = Vec::with_capacity(settings.tables * width);
        for _ in 0..settings.tables {
            permutation.shuffle(&mut rng);
            ranks.extend_from_slice(&permutation);
        }
        let factors = (0..settings.bits as u64).map(|j| mix(seed, j) | 1).collect();
        let LshSettings { bits, tables, top, range, .. } = *settings;
        Ok(Self { bits, tables, width, top, range, ranks, factors })
    }

    pub(super) fn buckets(&self) -> usize {
        1 << self.range
    }

    pub(super) fn pack(&self, codes: &[u32]) -> u32 {
        let mixed = codes
            .iter()
            .zip(&self.factors)
            .fold(0_u64, |h, (&code, &factor)| (h ^ (u64::from(code) + 1)).wrapping_mul(factor).rotate_left(29));
        (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.range)) as u32
    }

    /// The set of a vector given by its non-zeros: the `top` largest, the lower coordinate first among equals.
    pub(super) fn set(&self, coordinates: impl Iterator<Item = (u32, f32)>) -> Vec<u32> {
        let mut all: Vec<_> = coordinates.filter(|&(_, value)| value != 0.0).collect();
        if all.len() > self.top {
            all.select_nth_unstable_by(self.top, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            all.truncate(self.top);
        }
        all.into_iter().map(|(coordinate, _)| coordinate).collect()
    }

    /// The codes of one table for a set.
    pub(super) fn codes(&self, set: &[u32], table: usize, codes: &mut [u32]) {
        let ranks = &self.ranks[table * self.width..][..self.width];
        let size = self.width.div_ceil(self.bits) as u32;
        let mut first = [NONE; MOST_BITS];
        for &coordinate in set {
            let rank = ranks[coordinate as usize];
            let bin = &mut first[(rank / size) as usize];
            *bin = rank.min(*bin);
        }
        for (j, code) in codes.iter_mut().enumerate() {
            let probed = (1..=ATTEMPTS).map(|attempt| below(self.bits, j as u64, attempt));
            let mut bins = std::iter::once(j).chain(probed).chain(0..self.bits);
            *code = bins.find(|&bin| first[bin] != NONE).map_or(NONE, |bin| first[bin]);
        }
    }

    pub(super) fn hash_sparse(&self, coordinates: impl Iterator<Item = (u32, f32)>, mut out: impl FnMut(usize, u32)) {
        let set = self.set(coordinates);
        let mut codes = [0; MOST_BITS];
        for table in 0..self.tables {
            self.codes(&set, table, &mut codes[..self.bits]);
            out(table, self.pack(&codes[..self.bits]));
        }
    }

    /// Hashes the rows of `x`, one after another; `out` takes a run of indices for each table.
    pub(super) fn hash_rows(&self, x: &[f32], stride: usize, out: &mut [u32]) {
        let rows = x.len() / stride;
        for (r, row) in x.chunks_exact(stride).enumerate() {
            let coordinates = (0..).zip(row[..self.width].iter().copied());
            self.hash_sparse(coordinates, |table, index| out[table * rows + r] = index);
        }
    }
}

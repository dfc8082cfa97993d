//! All functions of one family behind one face.

use super::block::Simd;
use super::simhash::SimHash;
use super::wta::{self, Wta};
use super::{Family, LshError, LshSettings};
use std::ops::Range;

/// The T·K hash functions of one family for vectors of one width, drawn from a seed.
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
}

impl Hasher {
    /// Draws the functions for vectors of `width` coordinates; the same seed gives the same functions.
    ///
    /// # Errors
    /// Names the setting that cannot be and what would do.
    pub fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        at_least_one("bits", settings.bits)?;
        at_least_one("tables", settings.tables)?;
        at_least_one("capacity", settings.capacity)?;
        at_least_one("probes", settings.probes)?;
        at_least_one("width", width)?;
        let (functions, buckets) = match settings.family {
            Family::Simhash => {
                let hash = SimHash::new(settings, width, seed)?;
                let buckets = hash.buckets();
                (Functions::SimHash(hash), buckets)
            }
            Family::Wta | Family::Dwta => {
                let hash = Wta::new(settings, width, seed)?;
                let buckets = hash.buckets();
                (Functions::Wta(hash), buckets)
            }
            Family::Minhash | Family::Mips => {
                return Err(LshError::new("family", format!("{:?}", settings.family), "simhash, wta or dwta"));
            }
        };
        Ok(Self { settings: settings.clone(), width, buckets, functions, simd: Simd::chosen() })
    }

    /// Hashes rows with this instruction set; the results are the same with each.
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

    /// Hashes one dense query of at least `width` coordinates into T bucket indices.
    pub fn hash(&self, x: &[f32], out: &mut [u32]) {
        let x = &x[..self.width];
        match &self.functions {
            Functions::SimHash(f) => f.hash(x, out),
            Functions::Wta(f) => f.hash(x, out),
        }
    }

    /// Hashes one sparse query into T bucket indices; `indices` are distinct and below `width`.
    pub fn hash_sparse(&self, indices: &[u32], values: &[f32], out: &mut [u32]) {
        match &self.functions {
            Functions::SimHash(f) => f.hash_sparse(indices, values, out),
            Functions::Wta(f) => f.hash_sparse(indices, values, out),
        }
    }

    /// Hashes the weight rows `rows` of a row-major matrix of `stride` floats a row. `out` takes T runs of
    /// `rows.len()` bucket indices, table after table.
    pub fn hash_rows(&self, weights: &[f32], stride: usize, rows: Range<usize>, out: &mut [u32]) {
        self.rows(weights, stride, rows, out);
    }

    /// As [`hash_rows`](Self::hash_rows) for queries: a batch of dense inputs.
    pub fn hash_queries(&self, x: &[f32], stride: usize, rows: Range<usize>, out: &mut [u32]) {
        self.rows(x, stride, rows, out);
    }

    fn rows(&self, x: &[f32], stride: usize, rows: Range<usize>, out: &mut [u32]) {
        assert!(self.width <= stride, "rows of {stride} floats are too short for a width of {}", self.width);
        assert_eq!(out.len(), self.tables() * rows.len());
        let x = &x[rows.start * stride..rows.end * stride];
        match &self.functions {
            Functions::SimHash(f) => f.hash_rows(x, stride, out),
            Functions::Wta(f) => wta::hash_rows(self.simd, f, x, stride, out),
        }
    }
}

fn at_least_one(setting: &'static str, given: usize) -> Result<(), LshError> {
    if given == 0 { Err(LshError::new(setting, given, "a number from 1 on")) } else { Ok(()) }
}

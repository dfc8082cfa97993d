//! Hashing for the largest inner product: Simple-LSH (Neyshabur & Srebro, "On Symmetric and Asymmetric LSHs for Inner
//! Product Search", ICML 2015).
//!
//! Angles forget how long a weight row is, but a long row wins logits. So every weight row w gets one more coordinate,
//! √(M² − |w|²), M being the length of the longest row: all rows are then equally long, and a query q with a 0 in that
//! place stands at the angle arccos(q·w / (M·|q|)) to them, which falls as the inner product rises. Hashing both with
//! signs of Gaussian projections makes the collision probability 1 − arccos(q·w / (M·|q|)) / π: the hash is provably
//! locality-sensitive for the inner product itself, with one set of functions for all thresholds, and has no parameter
//! to choose, unlike the transformations of L2-ALSH and Sign-ALSH.
//!
//! The price is that M is seldom near most rows' lengths, so that angles crowd around 90°; that is why multi-probe
//! belongs to it. The projections are dense: with sparse ±1 signs the added coordinate, often the largest of all, would
//! be missing from most functions and decide the others alone.

use super::block::{LANES, Lanes, Line, simd_versions, transpose};
use super::probes::Flip;
use super::{LshError, LshSettings};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

#[derive(Clone, Debug)]
pub(super) struct Mips {
    bits: usize,
    tables: usize,
    width: usize,
    /// K·T x (width + 1).
    normals: Vec<f32>,
}

impl Mips {
    pub(super) fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        if settings.bits > 30 {
            return Err(LshError::new("bits", settings.bits, "at most 30 bits a table"));
        }
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let count = settings.bits * settings.tables * (width + 1);
        let normals = (0..count).map(|_| StandardNormal.sample(&mut rng)).collect();
        Ok(Self { bits: settings.bits, tables: settings.tables, width, normals })
    }

    pub(super) fn buckets(&self) -> usize {
        1 << self.bits
    }

    /// The added coordinate of a weight row, M² being `bound`.
    pub(super) fn last(&self, row: &[f32], bound: f32) -> f32 {
        completion(bound, row.iter().fold(0.0, |sum, x| sum + x * x))
    }

    /// The bits of one table for a vector and its added coordinate.
    pub(super) fn codes(&self, x: &[f32], last: f32, table: usize, codes: &mut [u32], mut flips: Option<&mut [Flip]>) {
        let normals = self.normals[table * self.bits * (self.width + 1)..].chunks_exact(self.width + 1);
        for (j, (code, normals)) in codes.iter_mut().zip(normals).enumerate() {
            let sum = x.iter().zip(normals).fold(0.0, |sum, (x, n)| sum + n * x) + normals[self.width] * last;
            *code = u32::from(sum < 0.0);
            if let Some(flips) = &mut flips {
                flips[j] = Flip { cost: sum.abs(), code: 1 - *code };
            }
        }
    }
}

/// √(bound − norm²), 0 where rounding makes that negative.
fn completion(bound: f32, norm: f32) -> f32 {
    let rest = bound - norm;
    if rest > 0.0 { rest.sqrt() } else { 0.0 }
}

simd_versions! {
    /// Hashes the rows of `x`; `out` takes a run of indices for each table. `bound` is M² for weight rows and none for
    /// queries.
    pub(super) fn hash_rows = rows_kernel(this: &Mips, x: &[f32], stride: usize, bound: Option<f32>, out: &mut [u32])
}

simd_versions! {
    /// Raises `bound` to the largest squared length among the rows of `x`.
    pub(super) fn raise_bound = bound_kernel(this: &Mips, x: &[f32], stride: usize, bound: &mut f32)
}

#[inline(always)]
fn rows_kernel<L: Lanes>(l: L, this: &Mips, x: &[f32], stride: usize, bound: Option<f32>, out: &mut [u32]) {
    let rows = x.len() / stride;
    let mut block = vec![Line([0.0_f32; LANES]); this.width + 1];
    for first in (0..rows).step_by(LANES) {
        let lanes = LANES.min(rows - first);
        transpose(&x[first * stride..], stride, lanes, &mut block[..this.width]);
        if let Some(bound) = bound {
            block[this.width].0 = squares(l, &block[..this.width]).map(|norm| completion(bound, norm));
        }
        let mut functions = this.normals.chunks_exact(this.width + 1);
        for table in 0..this.tables {
            let mut index = l.splat_int(0);
            let mut left = this.bits;
            // Four functions at a time, so that one addition need not wait for the one before.
            while left >= 4 {
                let normals = std::array::from_fn(|_| functions.next().expect("K·T functions"));
                for sum in sums::<_, 4>(l, normals, &block) {
                    index = l.pack(index, 1, l.negative(sum));
                }
                left -= 4;
            }
            for normals in functions.by_ref().take(left) {
                let [sum] = sums(l, [normals], &block);
                index = l.pack(index, 1, l.negative(sum));
            }
            let index = l.store_int(index).map(|index| index as u32);
            out[table * rows + first..][..lanes].copy_from_slice(&index[..lanes]);
        }
    }
}

#[inline(always)]
fn bound_kernel<L: Lanes>(l: L, this: &Mips, x: &[f32], stride: usize, bound: &mut f32) {
    let mut block = vec![Line([0.0_f32; LANES]); this.width];
    let rows = x.len() / stride;
    for first in (0..rows).step_by(LANES) {
        let lanes = LANES.min(rows - first);
        transpose(&x[first * stride..], stride, lanes, &mut block);
        *bound = squares(l, &block)[..lanes].iter().fold(*bound, |bound, &norm| bound.max(norm));
    }
}

#[inline(always)]
fn squares<L: Lanes>(l: L, block: &[Line<f32>]) -> [f32; LANES] {
    l.store(block.iter().fold(l.splat(0.0), |sum, x| l.add(sum, l.mul(l.load(&x.0), l.load(&x.0)))))
}

#[inline(always)]
fn sums<L: Lanes, const N: usize>(l: L, normals: [&[f32]; N], block: &[Line<f32>]) -> [L::F; N] {
    let mut sums = [l.splat(0.0); N];
    for (c, x) in block.iter().enumerate() {
        let x = l.load(&x.0);
        for (sum, normals) in sums.iter_mut().zip(normals) {
            *sum = l.add(*sum, l.mul(l.splat(normals[c]), x));
        }
    }
    sums
}

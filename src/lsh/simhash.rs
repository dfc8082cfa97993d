//! SimHash: signs of sparse random projections (Charikar 2002; Li, Hastie & Church 2006 for the sparse signs).
//!
//! Each of the K·T functions looks at d/`sparsity` random coordinates (rounded up), each with a random sign; its bit is
//! 1 where the signed sum is negative. The first function of a table gives the highest bit of the bucket index.
//!
//! **Sums are exact.** A vector is brought to whole numbers first: its coordinates are divided by a power of two, chosen
//! by the largest of them so that no sum of `kept` coordinates can overflow 31 bits, and rounded towards zero. That
//! keeps 30 − log₂ `kept` bits of the largest coordinate, as many as f32 itself has or nearly so, and a sum of integers
//! does not depend on its order. Hence vector and scalar code agree bit for bit without trying, and so does an
//! incremental update with a full rehash ([`IncrementalSimHash`](super::IncrementalSimHash)); in floating point
//! corrections would add up to something else than a fresh sum.

use super::block::{LANES, Lanes, Line, simd_versions, transpose};
use super::probes::Flip;
use super::{LshError, LshSettings};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[derive(Clone, Debug)]
pub(super) struct SimHash {
    pub(super) bits: usize,
    pub(super) tables: usize,
    pub(super) width: usize,
    /// Coordinates a function looks at.
    pub(super) kept: usize,
    /// K·T x kept: coordinate c to be added as c, to be subtracted as `width` + c.
    pub(super) terms: Vec<u32>,
}

impl SimHash {
    pub(super) fn new(settings: &LshSettings, width: usize, seed: u64) -> Result<Self, LshError> {
        if settings.bits > 30 {
            return Err(LshError::new("bits", settings.bits, "at most 30 bits a table"));
        }
        if settings.sparsity == 0 {
            return Err(LshError::new("sparsity", 0, "one in how many coordinates is kept: 1, 3, 10"));
        }
        let kept = width.div_ceil(settings.sparsity);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut terms = Vec::with_capacity(settings.bits * settings.tables * kept);
        for _ in 0..settings.bits * settings.tables {
            let mut coordinates = rand::seq::index::sample(&mut rng, width, kept).into_vec();
            coordinates.sort_unstable();
            let signed = coordinates.iter().map(|&c| if rng.random() { c } else { width + c } as u32);
            terms.extend(signed);
        }
        Ok(Self { bits: settings.bits, tables: settings.tables, width, kept, terms })
    }

    pub(super) fn buckets(&self) -> usize {
        1 << self.bits
    }

    /// By what the coordinates of a vector are multiplied before rounding, given the largest magnitude among them.
    pub(super) fn scale(&self, largest: f32) -> f32 {
        // `largest` is below 2^(exponent + 1). Near zero the scale stays finite and small values round to nothing.
        let exponent = ((largest.to_bits() >> 23) as i32 - 127).max(-90);
        let room = 29 - self.kept.next_power_of_two().trailing_zeros() as i32;
        f32::from_bits(((room - exponent + 127) as u32) << 23)
    }

    /// The signed sum of one function; positive for bit 0.
    pub(super) fn sum(&self, function: usize, quantised: impl Fn(usize) -> i32) -> i32 {
        let terms = &self.terms[function * self.kept..][..self.kept];
        terms.iter().fold(0, |sum: i32, &term| match (term as usize).checked_sub(self.width) {
            None => sum.wrapping_add(quantised(term as usize)),
            Some(c) => sum.wrapping_sub(quantised(c)),
        })
    }

    /// The bits of one table; where `flips` is given, what flipping each of them would take.
    pub(super) fn codes(&self, x: &[f32], scale: f32, table: usize, codes: &mut [u32], mut flips: Option<&mut [Flip]>) {
        for (j, code) in codes.iter_mut().enumerate() {
            let sum = self.sum(table * self.bits + j, |c| (x[c] * scale) as i32);
            *code = u32::from(sum < 0);
            if let Some(flips) = &mut flips {
                flips[j] = Flip { cost: sum.unsigned_abs() as f32, code: 1 - *code };
            }
        }
    }

    pub(super) fn hash_sparse(&self, indices: &[u32], values: &[f32], out: &mut [u32]) {
        let scale = self.scale(largest(values));
        let mut x = vec![0; self.width];
        for (&i, &value) in indices.iter().zip(values) {
            x[i as usize] = (value * scale) as i32;
        }
        for (table, out) in out.iter_mut().enumerate() {
            let functions = table * self.bits..(table + 1) * self.bits;
            *out = functions.fold(0, |index, f| index << 1 | u32::from(self.sum(f, |c| x[c]) < 0));
        }
    }
}

/// The largest magnitude.
pub(super) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |largest, x| x.abs().max(largest))
}

simd_versions! {
    /// Hashes the rows of `x`; `out` takes a run of indices for each table.
    pub(super) fn hash_rows = rows_kernel(this: &SimHash, x: &[f32], stride: usize, out: &mut [u32])
}

#[inline(always)]
fn rows_kernel<L: Lanes>(l: L, this: &SimHash, x: &[f32], stride: usize, out: &mut [u32]) {
    let rows = x.len() / stride;
    let mut block = vec![Line([0.0_f32; LANES]); this.width];
    // Coordinates in whole numbers, then the same with their signs turned: every term is one addition.
    let mut signed = vec![Line([0_i32; LANES]); 2 * this.width];
    for first in (0..rows).step_by(LANES) {
        let lanes = LANES.min(rows - first);
        transpose(&x[first * stride..], stride, lanes, &mut block);
        quantise(l, this, &block, &mut signed);
        let mut functions = this.terms.chunks_exact(this.kept);
        for table in 0..this.tables {
            let mut index = l.splat_int(0);
            for terms in functions.by_ref().take(this.bits) {
                // Two sums, so that one addition need not wait for the one before.
                let (mut a, mut b) = (l.splat_int(0), l.splat_int(0));
                let (pairs, last) = terms.as_chunks::<2>();
                for &[i, j] in pairs {
                    a = l.add_int(a, l.load_int(&signed[i as usize].0));
                    b = l.add_int(b, l.load_int(&signed[j as usize].0));
                }
                for &i in last {
                    a = l.add_int(a, l.load_int(&signed[i as usize].0));
                }
                index = l.pack(index, 1, l.negative_int(l.add_int(a, b)));
            }
            let index = l.store_int(index).map(|index| index as u32);
            out[table * rows + first..][..lanes].copy_from_slice(&index[..lanes]);
        }
    }
}

#[inline(always)]
fn quantise<L: Lanes>(l: L, this: &SimHash, block: &[Line<f32>], signed: &mut [Line<i32>]) {
    let largest = block.iter().fold(l.splat(0.0), |largest, x| l.larger_magnitude(largest, l.load(&x.0)));
    let scale = l.load(&l.store(largest).map(|largest| this.scale(largest)));
    let minus = l.mul(scale, l.splat(-1.0));
    let (plus_half, minus_half) = signed.split_at_mut(block.len());
    for ((x, p), m) in block.iter().zip(plus_half).zip(minus_half) {
        let x = l.load(&x.0);
        p.0 = l.store_int(l.truncate(l.mul(x, scale)));
        m.0 = l.store_int(l.truncate(l.mul(x, minus)));
    }
}

//! Adam's moments in half the bytes: m and v as bf16 in one 32-bit word, so that a weight with its moments takes 8 bytes
//! instead of 12. A sparse step is bound by the traffic of random rows, so bytes are time.
//!
//! - **w** is f32: steps of any size add up, and the forward pass is the same. Or it is bf16 as well, rounded at random
//!   ([`super::weights`]): 6 bytes in all.
//! - **m**, the upper half, is rounded to the nearest: a step replaces a tenth of it, far more than the 0.2 % it is
//!   rounded by.
//! - **v**, the lower half, is rounded up or down at random, the likelier the nearer: a step moves it by as little as
//!   0.1 % of itself, which rounding to the nearest would swallow every time; random rounding keeps the mean. The
//!   randomness is a golden-ratio sequence along the rows of a call ([`further`]), started by the seed of
//!   [`PackedRows`].
//!
//! Since m and v are known to 2⁻⁹ of themselves, root and division of the step need not be exact: AVX-512 kernels make them
//! by estimates, to within 2⁻¹².

use super::weights::Weight;
use super::{AdamRows, Pairs, portable};
use crate::network::AdamStep;
use std::slice::{from_mut, from_ref};

/// 2¹⁶ over the golden ratio: multiples of it, taken modulo 2¹⁶, are spread as evenly as can be.
pub(super) const GOLDEN: u32 = 0x9E37;

/// The noise so many places along the rows of a call: its halves, of which the upper one rounds v and the lower one w, go
/// on each by itself. (So vectors need one addition of words to bring forth either.)
pub(super) fn further(noise: u32, places: usize) -> u32 {
    let step = GOLDEN.wrapping_mul(places as u32);
    noise.wrapping_add(step << 16) & 0xffff_0000 | noise.wrapping_add(step) & 0xffff
}

/// The state of a weight matrix under Adam: two row matrices of one shape.
#[derive(Debug)]
pub struct PackedRows<'a, W = f32> {
    pub w: &'a mut [W],
    /// See [`pack`]; 0 at the start of training.
    pub moments: &'a mut [u32],
    /// Starts the random rounding; to be another one in every call, a running number will do.
    pub seed: u32,
}

/// Kernels that update packed rows; each as its namesake in [`super::Kernels`].
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The signatures are the contract.
pub struct PackedKernels<W: 'static = f32> {
    /// Adam on the rows listed.
    pub row_adam: fn(state: PackedRows<'_, W>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep),
    /// Gradients of pairs and Adam.
    pub pair_update: fn(
        state: PackedRows<'_, W>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
}

/// The word of m and v: m to the nearest bf16 (halves away from zero), v up or down by the upper half of `noise`.
pub fn pack(m: f32, v: f32, noise: u32) -> u32 {
    let v = v.to_bits().wrapping_add(noise >> 16) >> 16;
    m.to_bits().wrapping_add(0x8000) & 0xffff_0000 | v
}

/// (m, v) of a word.
pub fn unpack(word: u32) -> (f32, f32) {
    (f32::from_bits(word & 0xffff_0000), f32::from_bits(word << 16))
}

/// A seed whose every bit depends on every bit of `seed`.
pub(super) fn mixed(seed: u32) -> u32 {
    let seed = (seed ^ (seed >> 16)).wrapping_mul(0x85EB_CA6B);
    let seed = (seed ^ (seed >> 13)).wrapping_mul(0xC2B2_AE35);
    seed ^ (seed >> 16)
}

impl<W: Weight> PackedKernels<W> {
    /// The portable set.
    pub(super) const PORTABLE: Self = Self {
        row_adam: |state, width, rows, gradients, step| portable::row_adam(state, width, rows, gradients, step),
        pair_update: |state, x, dx, width, pairs, g, step| portable::pair_update(state, x, dx, width, pairs, g, step),
    };
}

/// Rows under Adam that are rounded when they are stored.
pub(super) trait Rounded {
    type Weight: Weight;

    /// Asserts that the arrays have one length and returns it.
    fn checked_len(&self) -> usize;
    fn seed(&self) -> u32;
    fn weights(&self) -> &[Self::Weight];
    /// (w, m, v).
    fn load(&self, i: usize) -> (f32, f32, f32);
    /// m and v by the rules of [`pack`], w by those of [`Weight::round`].
    fn store(&mut self, i: usize, values: (f32, f32, f32), noise: u32);
}

impl<W: Weight> Rounded for PackedRows<'_, W> {
    type Weight = W;

    #[inline(always)]
    fn checked_len(&self) -> usize {
        assert_eq!(self.w.len(), self.moments.len(), "w and moments differ in length");
        self.w.len()
    }

    fn seed(&self) -> u32 {
        self.seed
    }

    fn weights(&self) -> &[W] {
        self.w
    }

    fn load(&self, i: usize) -> (f32, f32, f32) {
        let (m, v) = unpack(self.moments[i]);
        (self.w[i].widen(), m, v)
    }

    fn store(&mut self, i: usize, (w, m, v): (f32, f32, f32), noise: u32) {
        (self.w[i], self.moments[i]) = (W::round(w, noise), pack(m, v, noise));
    }
}

impl<R: Rounded> portable::Rows for R {
    type Weight = R::Weight;

    fn checked_len(&self, _width: usize) -> usize {
        Rounded::checked_len(self)
    }

    fn seed(&self) -> u32 {
        mixed(Rounded::seed(self))
    }

    fn weights(&self) -> &[R::Weight] {
        Rounded::weights(self)
    }

    fn move_row(&mut self, at: usize, gradient: &[f32], step: AdamStep, noise: u32) {
        for (i, g) in gradient.iter().enumerate() {
            let (mut w, mut m, mut v) = self.load(at + i);
            let one = AdamRows { w: from_mut(&mut w), m: from_mut(&mut m), v: from_mut(&mut v) };
            portable::adam(one, from_ref(g), step);
            self.store(at + i, (w, m, v), further(noise, i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_both_moments() {
        for (m, v) in [(0.0, 0.0), (1.0, 2.0), (-3.5, 1e-20), (1e30, 6e-30)] {
            let (packed_m, packed_v) = unpack(pack(m, v, 0x8000_0000));
            assert!((packed_m - m).abs() <= m.abs() / 256.0, "{m:e} came back as {packed_m:e}");
            assert!((packed_v - v).abs() <= v / 128.0, "{v:e} came back as {packed_v:e}");
        }
    }

    #[test]
    fn random_rounding_keeps_the_mean() {
        let v = 1.0 + 1.0 / 1024.0; // An eighth of the way from one bf16 to the next.
        let mean = |noise: fn(u32) -> u32| (0..4096).map(|i| unpack(pack(0.0, v, noise(i))).1).sum::<f32>() / 4096.0;
        let over_calls = mean(mixed);
        assert!((over_calls - v).abs() < 3e-4, "{over_calls}");
        let along_rows = mean(|i| further(mixed(3), i as usize));
        assert!((along_rows - v).abs() < 1e-5, "{along_rows}");
    }
}

//! Weights as f32, or in half the bytes as bf16.
//!
//! The traffic of random rows bounds a sparse step, so bytes are time. Under Adam a weight takes, in bytes of w, m and v:
//!
//! | w    | m and v in f32              | m and v packed ([`super::packed`]) |
//! |------|-----------------------------|------------------------------------|
//! | f32  | 12 ([`super::AdamRows`])    | 8 ([`super::packed::PackedRows`])  |
//! | bf16 | 10 ([`Bf16Rows`])           | 6 (the same of bf16)               |
//!
//! bf16 keeps 8 bits of a number's 24, so neighbours lie 0.4 to 0.8 % apart, and a step of training moves a weight by
//! far less. Rounding to the nearest would swallow such steps, every one of them. So a weight is **rounded at random**
//! when it is stored: up or down, the likelier the nearer, so that steps of any size add up in the mean. (Gupta et al.,
//! "Deep Learning with Limited Numerical Precision", ICML 2015, measure the difference.) A weight that no step moves
//! stays the same bits.
//!
//! Kernels widen weights as they load them and compute in f32.

use super::packed::{PackedKernels, Rounded};
use super::row_wise::RowWiseKernels;
use super::{Pairs, check, kernels, portable};
use crate::network::AdamStep;
use bytemuck::Pod;
use half::bf16;
use std::ops::Range;

/// What a weight is stored as.
pub trait Weight: Pod + Send + Sync {
    /// Its value.
    fn widen(self) -> f32;
    /// `w` as it is stored; where that is shorter, up or down by the lower half of `noise`.
    fn round(w: f32, noise: u32) -> Self;
}

impl Weight for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn round(w: f32, _noise: u32) -> Self {
        w
    }
}

impl Weight for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn round(w: f32, noise: u32) -> Self {
        bf16::from_bits((w.to_bits().wrapping_add(noise & 0xffff) >> 16) as u16)
    }
}

/// A matrix of weights to look at, row-major, as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for Weights<'a> {
    fn from(weights: &'a [f32]) -> Self {
        Self::F32(weights)
    }
}

impl<'a> From<&'a Vec<f32>> for Weights<'a> {
    fn from(weights: &'a Vec<f32>) -> Self {
        Self::F32(weights)
    }
}

impl<'a> Weights<'a> {
    /// How many weights.
    pub fn len(self) -> usize {
        match self {
            Self::F32(w) => w.len(),
            Self::Bf16(w) => w.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The weights `range`.
    pub fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(w) => Self::F32(&w[range]),
            Self::Bf16(w) => Self::Bf16(&w[range]),
        }
    }

    /// The weights `range` as f32: as they lie, or widened into `scratch`.
    pub fn widened<'s>(self, range: Range<usize>, scratch: &'s mut Vec<f32>) -> &'s [f32]
    where
        'a: 's,
    {
        match self {
            Self::F32(w) => &w[range],
            Self::Bf16(w) => {
                scratch.resize(range.len(), 0.0);
                (kernels().bf16.widen)(&w[range], scratch);
                scratch
            }
        }
    }

    /// Rows of `stride` numbers as f32, the first `width` of each.
    pub fn unpadded(self, width: usize, stride: usize) -> Vec<f32> {
        let mut scratch = Vec::new();
        let mut unpadded = Vec::with_capacity(self.len() / stride * width);
        for first in (0..self.len()).step_by(stride) {
            unpadded.extend_from_slice(&self.widened(first..first + stride, &mut scratch)[..width]);
        }
        unpadded
    }

    /// Where they lie and how many f32 would take that room, for prefetches.
    pub fn place(self) -> (*const f32, usize) {
        match self {
            Self::F32(w) => (w.as_ptr(), w.len()),
            Self::Bf16(w) => (w.as_ptr().cast(), w.len() / 2),
        }
    }

    /// [`super::Kernels::row_sum`].
    pub fn row_sum(self, width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) {
        match self {
            Self::F32(w) => (kernels().row_sum)(w, width, rows, coefficients, out),
            Self::Bf16(w) => (kernels().bf16.row_sum)(w, width, rows, coefficients, out),
        }
    }

    /// [`super::Kernels::pair_dots`].
    pub fn pair_dots(self, x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) {
        match self {
            Self::F32(w) => (kernels().pair_dots)(w, x, width, pairs, out),
            Self::Bf16(w) => (kernels().bf16.pair_dots)(w, x, width, pairs, out),
        }
    }
}

/// [`super::AdamRows`] with weights in bf16.
#[derive(Debug)]
pub struct Bf16Rows<'a> {
    pub w: &'a mut [bf16],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
    /// Starts the random rounding; to be another one in every call, a running number will do.
    pub seed: u32,
}

/// Kernels over rows of bf16 weights; each as its namesake in [`super::Kernels`].
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The signatures are the contract.
pub struct Bf16Kernels {
    /// `to[i] = from[i]`; any length.
    pub widen: fn(from: &[bf16], to: &mut [f32]),
    /// The sparse-input forward pass.
    pub row_sum: fn(w: &[bf16], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]),
    /// Products of rows with columns.
    pub pair_dots: fn(w: &[bf16], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]),
    /// Adam on the rows listed.
    pub row_adam: fn(state: Bf16Rows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep),
    /// Gradients of pairs and Adam.
    pub pair_update: fn(
        state: Bf16Rows<'_>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
    /// Updates of rows whose moments are packed as well.
    pub packed: PackedKernels<bf16>,
    /// Updates of rows with one second moment each.
    pub row_wise: RowWiseKernels<bf16>,
}

/// The portable set.
pub(super) const PORTABLE: Bf16Kernels = Bf16Kernels {
    widen,
    row_sum: portable::row_sum,
    pair_dots: portable::pair_dots,
    row_adam: |state, width, rows, gradients, step| portable::row_adam(state, width, rows, gradients, step),
    pair_update: |state, x, dx, width, pairs, g, step| portable::pair_update(state, x, dx, width, pairs, g, step),
    packed: PackedKernels::PORTABLE,
    row_wise: RowWiseKernels::PORTABLE,
};

fn widen(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    for (to, from) in to.iter_mut().zip(from) {
        *to = from.widen();
    }
}

impl Rounded for Bf16Rows<'_> {
    type Weight = bf16;

    #[inline(always)]
    fn checked_len(&self) -> usize {
        check::lengths(self.w.len(), self.m.len(), self.v.len())
    }

    fn seed(&self) -> u32 {
        self.seed
    }

    fn weights(&self) -> &[bf16] {
        self.w
    }

    fn load(&self, i: usize) -> (f32, f32, f32) {
        (self.w[i].widen(), self.m[i], self.v[i])
    }

    fn store(&mut self, i: usize, (w, m, v): (f32, f32, f32), noise: u32) {
        (self.w[i], self.m[i], self.v[i]) = (bf16::round(w, noise), m, v);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::packed::further;

    #[test]
    fn random_rounding_keeps_the_mean_and_what_bf16_can_hold() {
        for w in [0.0, -0.0, 1.0, -3.5, 2f32.powi(-130), f32::INFINITY] {
            let held = |noise: usize| bf16::round(w, further(0, noise)).widen().to_bits() == w.to_bits();
            assert!((0..4096).all(held), "{w}");
        }
        let w = -1.0 - 1.0 / 1024.0; // An eighth of the way from one bf16 to the next.
        let mean = (0..4096).map(|i| bf16::round(w, further(0, i)).widen()).sum::<f32>() / 4096.0;
        assert!((mean - w).abs() < 1e-5, "{mean}");
    }
}

//! Rows in two thirds of the bytes: 8 a weight with its moments instead of 12, and 2 instead of 4 where only weights are
//! read. A sparse step is bound by the traffic of random rows, so bytes are time.
//!
//! - **w** is kept whole, in two halves: `high`, the weight rounded to bf16, which the forward pass reads, and `low`,
//!   what to add to the bits to have the f32 again ([`split`], [`join`]; Kalamkar et al. 2020, "Optimizing deep learning
//!   recommender systems' training on CPU cluster architectures", without their rounding towards zero). So steps of any
//!   size still add up.
//! - **m** is bf16, rounded to the nearest: every step replaces a tenth of it, far more than the 0.2 % it is rounded by.
//! - **v** is bf16, rounded at random: a step moves it by as little as 0.1 % of itself, which rounding to the nearest
//!   would swallow every time. Random rounding keeps the mean. The randomness is a golden-ratio sequence along the rows of
//!   a call, started by [`CompactRows::seed`].
//!
//! Products are with the rounded weights, sums are f32.

use super::{Pairs, check, portable};
use crate::network::AdamStep;
use half::bf16;
use std::slice::from_mut;

/// 2³² over the golden ratio: multiples of it, taken modulo 2³², are spread as evenly as can be.
pub(super) const GOLDEN: u32 = 0x9E37_79B9;

/// The state of a weight matrix under Adam: four row matrices of one shape.
#[derive(Debug)]
pub struct CompactRows<'a> {
    pub high: &'a mut [bf16],
    pub low: &'a mut [i16],
    pub m: &'a mut [bf16],
    pub v: &'a mut [bf16],
    /// Starts the random rounding; give every call another, for example the step number times the number of calls a step.
    pub seed: u32,
}

impl CompactRows<'_> {
    /// Panics unless the four arrays have one length; returns it.
    #[inline(always)]
    pub(super) fn checked_len(&self) -> usize {
        let n = self.high.len();
        assert!(self.low.len() == n && self.m.len() == n && self.v.len() == n, "high, low, m and v differ in length");
        n
    }
}

/// Row kernels on compact rows; each as its namesake in [`super::Kernels`].
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The signatures are the contract.
pub struct CompactKernels {
    /// `out[i] = w[rows[i]] · x`.
    pub row_dots: fn(w: &[bf16], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]),
    /// `out += Σ coefficients[i] * w[rows[i]]`.
    pub row_sum: fn(w: &[bf16], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]),
    /// `out[i] = w[rows[i]]`, as f32.
    pub gather_rows: fn(w: &[bf16], width: usize, rows: &[u32], out: &mut [f32]),
    /// Adam on the rows listed.
    pub row_adam: fn(state: CompactRows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep),
    /// `out[p] = w[row of p] · x[column of p]`.
    pub pair_dots: fn(w: &[bf16], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]),
    /// Gradients of pairs and Adam; `dx` gets the products with the rounded weights.
    pub pair_update: fn(
        state: CompactRows<'_>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
}

/// The two halves of `w`: `w` rounded to bf16 (halves away from zero), and what to add to its bits.
pub fn split(w: f32) -> (bf16, i16) {
    (nearest(w), w.to_bits() as i16)
}

/// The f32 whose halves these are.
pub fn join(high: bf16, low: i16) -> f32 {
    f32::from_bits((u32::from(high.to_bits()) << 16).wrapping_add(i32::from(low) as u32))
}

fn nearest(x: f32) -> bf16 {
    bf16::from_bits((x.to_bits().wrapping_add(0x8000) >> 16) as u16)
}

/// `x` rounded up or down by the upper half of `noise`.
fn dithered(x: f32, noise: u32) -> bf16 {
    bf16::from_bits((x.to_bits().wrapping_add(noise >> 16) >> 16) as u16)
}

/// A seed whose every bit depends on every bit of `seed`.
pub(super) fn mixed(seed: u32) -> u32 {
    let seed = (seed ^ (seed >> 16)).wrapping_mul(0x85EB_CA6B);
    let seed = (seed ^ (seed >> 13)).wrapping_mul(0xC2B2_AE35);
    seed ^ (seed >> 16)
}

/// The portable set.
pub(super) const PORTABLE: CompactKernels =
    CompactKernels { row_dots, row_sum, gather_rows, row_adam, pair_dots, pair_update };

/// Row `r` as f32.
fn row(w: &[bf16], width: usize, r: u32) -> Vec<f32> {
    w[r as usize * width..][..width].iter().map(|w| w.to_f32()).collect()
}

fn row_dots(w: &[bf16], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((x.len(), out.len()), (width, rows.len()));
    for (out, &r) in out.iter_mut().zip(rows) {
        *out = (portable::KERNELS.dot)(&row(w, width, r), x);
    }
}

fn row_sum(w: &[bf16], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((coefficients.len(), out.len()), (rows.len(), width));
    for (&r, &c) in rows.iter().zip(coefficients) {
        (portable::KERNELS.axpy)(c, &row(w, width, r), out);
    }
}

fn gather_rows(w: &[bf16], width: usize, rows: &[u32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!(out.len(), rows.len() * width);
    for (out, &r) in out.chunks_exact_mut(width).zip(rows) {
        out.copy_from_slice(&row(w, width, r));
    }
}

fn row_adam(mut state: CompactRows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
    check::rows(rows, width, state.checked_len());
    assert_eq!(gradients.len(), rows.len() * width);
    let mut noise = mixed(state.seed);
    for (gradient, &r) in gradients.chunks_exact(width).zip(rows) {
        noise = adam(&mut state, r as usize * width, gradient, step, noise);
    }
}

/// Adam on the values from `at` on; takes and returns the noise of the next value.
fn adam(state: &mut CompactRows<'_>, at: usize, gradient: &[f32], step: AdamStep, mut noise: u32) -> u32 {
    for (i, &g) in gradient.iter().enumerate().map(|(j, g)| (at + j, g)) {
        let (mut w, mut m, mut v) = (join(state.high[i], state.low[i]), state.m[i].to_f32(), state.v[i].to_f32());
        let one = super::AdamRows { w: from_mut(&mut w), m: from_mut(&mut m), v: from_mut(&mut v) };
        (portable::KERNELS.adam)(one, &[g], step);
        (state.high[i], state.low[i]) = split(w);
        (state.m[i], state.v[i]) = (nearest(m), dithered(v, noise));
        noise = noise.wrapping_add(GOLDEN);
    }
    noise
}

fn pair_dots(w: &[bf16], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) {
    if !check::pairs(pairs, width, w.len(), x.len(), out.len()) {
        return;
    }
    for (neuron, range) in pairs.by_row() {
        let row = row(w, width, neuron);
        for (out, &column) in out[range.clone()].iter_mut().zip(&pairs.columns[range]) {
            *out = (portable::KERNELS.dot)(&row, &x[column as usize * width..][..width]);
        }
    }
}

fn pair_update(
    mut state: CompactRows<'_>,
    x: &[f32],
    mut dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, state.checked_len(), x.len(), g.len()) {
        return;
    }
    let mut noise = mixed(state.seed);
    let mut gradient = vec![0.0; width];
    for (neuron, range) in pairs.by_row() {
        let weights = row(state.high, width, neuron);
        gradient.fill(0.0);
        for (&g, &column) in g[range.clone()].iter().zip(&pairs.columns[range]) {
            let column = column as usize * width..(column as usize + 1) * width;
            if let Some(dx) = &mut dx {
                (portable::KERNELS.axpy)(g, &weights, &mut dx[column.clone()]);
            }
            (portable::KERNELS.axpy)(g, &x[column], &mut gradient);
        }
        noise = adam(&mut state, neuron as usize * width, &gradient, step, noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_join_to_the_same_bits() {
        for i in 0..=u16::MAX {
            for w in [f32::from_bits(u32::from(i) << 15), f32::from_bits(0x3f7f_0000 + u32::from(i)), -f32::from(i)] {
                let (high, low) = split(w);
                assert_eq!(join(high, low).to_bits(), w.to_bits(), "{w:e}");
                if w.is_normal() && w < 3e38 {
                    assert!((high.to_f32() - w).abs() <= w.abs() / 256.0, "{w:e}: {high:e}");
                }
            }
        }
    }

    #[test]
    fn random_rounding_keeps_the_mean() {
        let x = 1.0 + 1.0 / 1024.0; // An eighth of the way from one bf16 to the next.
        let n = 4096;
        let sum: f32 = (0..n).map(|seed| dithered(x, mixed(seed)).to_f32()).sum();
        assert!((sum / n as f32 - x).abs() < 3e-4, "{}", sum / n as f32);
        let along: f32 = (0..n).map(|i: u32| dithered(x, i.wrapping_mul(GOLDEN)).to_f32()).sum();
        assert!((along / n as f32 - x).abs() < 1e-5, "{}", along / n as f32);
    }
}

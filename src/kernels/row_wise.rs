//! One second moment a row, and no first one: weights move by w ← w − η·g/(√v + ε) with v ← β2·v + (1 − β2)·mean(g²), the
//! mean over the row. That is Adam with β1 = 0 and v shared by a row, so that a row's state is one f32 and a step reads
//! and writes little more than its weights.
//!
//! It suits a first layer of sparse input: the weights of one feature see gradients of like size, and its momentum would
//! be that of steps long ago. (DLRM's row-wise Adagrad and FBGEMM's partial row-wise Adam share a row's v alike.)

use super::packed::{further, mixed};
use super::weights::Weight;
use super::{FLOOR, Pairs, portable};
use crate::network::AdamStep;

/// Rows of weights with one second moment each.
#[derive(Debug)]
pub struct RowWiseRows<'a, W = f32> {
    pub w: &'a mut [W],
    /// One a row.
    pub v: &'a mut [f32],
    /// Columns that the mean is taken over; those beyond are padding, and their gradients 0.
    pub columns: usize,
    /// Starts the random rounding of bf16 weights; to be another one in every call, a running number will do.
    pub seed: u32,
}

/// Kernels over such rows, each as its namesake in [`super::Kernels`]; β1 is not asked.
#[derive(Clone, Copy)]
#[allow(clippy::type_complexity)] // The signatures are the contract.
pub struct RowWiseKernels<W: 'static = f32> {
    /// Moves the rows listed.
    pub row_adam: fn(state: RowWiseRows<'_, W>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep),
    /// Gradients of pairs, and the rows moved.
    pub pair_update: fn(
        state: RowWiseRows<'_, W>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
}

impl<W: Weight> RowWiseKernels<W> {
    /// The portable set.
    pub(super) const PORTABLE: Self = Self {
        row_adam: |state, width, rows, gradients, step| portable::row_adam(state, width, rows, gradients, step),
        pair_update: |state, x, dx, width, pairs, g, step| portable::pair_update(state, x, dx, width, pairs, g, step),
    };
}

impl<W: Weight> portable::Rows for RowWiseRows<'_, W> {
    type Weight = W;

    fn checked_len(&self, width: usize) -> usize {
        assert_eq!(self.w.len(), self.v.len() * width, "rows of weights and second moments differ in number");
        assert!((1..=width).contains(&self.columns), "{} columns in rows of {width}", self.columns);
        self.w.len()
    }

    fn seed(&self) -> u32 {
        mixed(self.seed)
    }

    fn weights(&self) -> &[W] {
        self.w
    }

    fn move_row(&mut self, at: usize, gradient: &[f32], step: AdamStep, noise: u32) {
        let squares = gradient.iter().map(|g| g * g).sum();
        let rate = rate(&mut self.v[at / gradient.len()], squares, self.columns, step);
        for (i, (w, g)) in self.w[at..].iter_mut().zip(gradient).enumerate() {
            *w = W::round(w.widen() - rate * g, further(noise, i));
        }
    }
}

/// Moves a row's second moment by the sum of its squared gradients; returns what the row's gradient is multiplied by.
pub(super) fn rate(v: &mut f32, squares: f32, columns: usize, step: AdamStep) -> f32 {
    *v = (step.beta2 * *v + (1.0 - step.beta2) * (squares / columns as f32)).max(FLOOR);
    step.rate / (v.sqrt() + step.epsilon)
}

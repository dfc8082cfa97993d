//! Rows with one second moment each: see [`crate::kernels::row_wise`].

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::Visit;
use super::storage::{Element, prefetch_vector};
use super::updates::{Moves, Rows};
use super::vector::{Vector, prefetch};
use crate::kernels::GRADIENT;
use crate::kernels::packed::GOLDEN;
use crate::kernels::row_wise::{RowWiseRows, rate};
use crate::kernels::weights::Weight;
use crate::network::AdamStep;

impl<'a, W: Weight + Element> Rows for RowWiseRows<'a, W> {
    type Moves<V: Vector> = RowWise<'a, V, W>;
    const BYTES: usize = size_of::<W>();

    #[inline(always)]
    unsafe fn moves<V: Vector>(self, width: usize, step: AdamStep) -> RowWise<'a, V, W> {
        RowWise { rows: self, width, step, gradient: vec![0.0; width], squares: V::splat(0.0) }
    }
}

/// A row's gradient is complete before the row moves.
pub(super) struct RowWise<'a, V, W> {
    rows: RowWiseRows<'a, W>,
    width: usize,
    step: AdamStep,
    /// Of the row at hand, and its squares, summed by lane.
    gradient: Vec<f32>,
    squares: V,
}

impl<V: Vector, W: Weight + Element> Moves<V, W> for RowWise<'_, V, W> {
    #[inline(always)]
    fn weights(&self, at: usize) -> *const W {
        self.rows.w.as_ptr().wrapping_add(at)
    }

    #[inline(always)]
    fn prefetch(&self, row: usize, vector: usize) {
        prefetch_vector::<V, W>(self.weights(row), vector);
    }

    #[inline(always)]
    unsafe fn block<const N: usize>(&mut self, _visit: Visit, at: usize, gradient: [V; N], _noise: u32) {
        let kept = self.gradient.as_mut_ptr().add(at);
        for (j, g) in gradient.into_iter().enumerate() {
            let g = g.keep(GRADIENT);
            g.store(kept.add(j * V::LANES));
            self.squares = g.mul_add(g, self.squares);
        }
    }

    #[inline(always)]
    unsafe fn row(&mut self, Visit { row, next, .. }: Visit, noise: u32) {
        let (w, v) = (self.rows.w.as_mut_ptr(), self.rows.v.as_mut_ptr());
        prefetch(v.wrapping_add(next / self.width).cast());
        let rate = rate(&mut *v.add(row / self.width), self.squares.sum(), self.rows.columns, self.step);
        let rate = V::splat(-rate);
        for j in 0..self.width / V::LANES {
            prefetch_vector::<V, W>(w.wrapping_add(next), j);
            let at = j * V::LANES;
            let (w, gradient) = (w.add(row + at), V::load(self.gradient.as_ptr().add(at)));
            W::store(w, rate.mul_add(gradient, W::load(w)), noise.wrapping_add(GOLDEN.wrapping_mul(at as u32)));
        }
        self.squares = V::splat(0.0);
    }
}

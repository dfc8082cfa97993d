//! Rows with one second moment each: see [`crate::kernels::row_wise`].

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Visit, by_blocks, load_block, store_block, unrolled};
use super::storage::{Element, prefetch_vector};
use super::updates::{Form, Moves, Rows};
use super::vector::Vector;
use crate::kernels::row_wise::{RowWiseRows, rate};
use crate::kernels::weights::Weight;
use crate::network::AdamStep;

impl<'a, W: Weight + Element> Rows for RowWiseRows<'a, W> {
    type Moves<V: Vector> = RowWise<'a, V, W>;
    const BYTES: usize = size_of::<W>();

    #[inline(always)]
    fn form(_step: AdamStep) -> Form {
        Form { scale: 1.0, shift: 0.0 }
    }

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

impl<V: Vector, W: Weight + Element> RowWise<'_, V, W> {
    /// What the gradient of the row visited is multiplied by, its squares being known.
    #[inline(always)]
    unsafe fn rate(&mut self, visit: Visit, squares: f32) -> V {
        let v = self.rows.v.as_mut_ptr();
        prefetch_vector::<V, f32>(v.wrapping_add(visit.next / self.width), 0);
        V::splat(-rate(&mut *v.add(visit.row / self.width), squares, self.rows.columns, self.step))
    }

    /// Moves the block of the row visited from column `at` on.
    #[inline(always)]
    unsafe fn shift<const N: usize>(
        &mut self,
        visit: Visit,
        at: usize,
        w: [V; N],
        gradient: [V; N],
        rate: V,
        noise: u32,
    ) {
        let table = self.rows.w.as_mut_ptr();
        let mut moved = w;
        unrolled!(N, |j| {
            prefetch_vector::<V, W>(table.wrapping_add(visit.next + at), j);
            moved[j] = rate.mul_add(gradient[j], w[j]);
        });
        store_block(table.add(visit.row + at), moved, noise, at);
    }
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
    unsafe fn block<const N: usize>(&mut self, _visit: Visit, at: usize, _w: [V; N], gradient: [V; N], _noise: u32) {
        let kept = self.gradient.as_mut_ptr().add(at);
        for (j, g) in gradient.into_iter().enumerate() {
            g.store(kept.add(j * V::LANES));
            self.squares = g.mul_add(g, self.squares);
        }
    }

    #[inline(always)]
    unsafe fn row(&mut self, visit: Visit, noise: u32) {
        let rate = self.rate(visit, self.squares.sum());
        by_blocks!(V, self.width, |N, at| {
            let w: [V; N] = load_block(self.rows.w.as_ptr().add(visit.row + at));
            let gradient = load_block(self.gradient.as_ptr().add(at));
            self.shift(visit, at, w, gradient, rate, noise);
        });
        self.squares = V::splat(0.0);
    }

    /// The gradient stays in registers.
    #[inline(always)]
    unsafe fn whole<const N: usize>(&mut self, visit: Visit, w: [V; N], gradient: [V; N], noise: u32) {
        let mut squares = [V::splat(0.0); 2];
        for (j, g) in gradient.iter().enumerate() {
            squares[j % 2] = g.mul_add(*g, squares[j % 2]);
        }
        let rate = self.rate(visit, squares[0].add(squares[1]).sum());
        self.shift(visit, 0, w, gradient, rate, noise);
    }
}

//! Adam on registers, and on rows.

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Visit, unrolled};
use super::storage::{AdamState, State};
use super::updates::{Moves, Rows};
use super::vector::Vector;
use crate::kernels::packed::GOLDEN;
use crate::kernels::{GRADIENT, MOMENT};
use crate::network::AdamStep;

/// Adam's constants, one a lane.
#[derive(Clone, Copy)]
pub(super) struct Adam<V> {
    beta1: V,
    rest1: V,
    beta2: V,
    rest2: V,
    rate: V,
    epsilon: V,
}

impl<V: Vector> Adam<V> {
    #[inline(always)]
    pub(super) unsafe fn new(step: AdamStep) -> Self {
        Self {
            beta1: V::splat(step.beta1),
            rest1: V::splat(1.0 - step.beta1),
            beta2: V::splat(step.beta2),
            rest2: V::splat(1.0 - step.beta2),
            rate: V::splat(-step.rate),
            epsilon: V::splat(step.epsilon),
        }
    }

    /// The new (w, m, v). The square root and the division are the exact ones: estimates and a step of Newton's
    /// method are more instructions, which leave less room for loads in flight, and made updates 15 % slower.
    #[inline(always)]
    pub(super) unsafe fn apply(&self, w: V, m: V, v: V, g: V) -> (V, V, V) {
        let g = g.keep(GRADIENT);
        let m = self.beta1.mul_add(m, self.rest1.mul(g)).keep(MOMENT);
        let v = self.rest2.mul(g).mul_add(g, self.beta2.mul(v)).keep(MOMENT);
        let w = self.rate.mul(m).div(v.sqrt().add(self.epsilon)).add(w);
        (w, m, v)
    }
}

impl<R: AdamState> Rows for R {
    type Moves<V: Vector> = ByAdam<V, R::State>;
    const BYTES: usize = R::State::BYTES;

    #[inline(always)]
    unsafe fn moves<V: Vector>(self, _width: usize, step: AdamStep) -> ByAdam<V, R::State> {
        ByAdam { state: self.state(), adam: Adam::new(step) }
    }
}

/// Every weight moves by itself, and so as soon as its gradient is known.
pub(super) struct ByAdam<V, S> {
    state: S,
    adam: Adam<V>,
}

impl<V: Vector, S: State> Moves<V, S::Weight> for ByAdam<V, S> {
    #[inline(always)]
    fn weights(&self, at: usize) -> *const S::Weight {
        self.state.wrapping_add(at).weights()
    }

    #[inline(always)]
    fn prefetch(&self, row: usize, vector: usize) {
        self.state.wrapping_add(row).prefetch::<V>(vector);
    }

    #[inline(always)]
    unsafe fn block<const N: usize>(&mut self, visit: Visit, at: usize, gradient: [V; N], noise: u32) {
        let (state, ahead) = (self.state.wrapping_add(visit.row + at), self.state.wrapping_add(visit.next + at));
        unrolled!(N, |j| {
            ahead.prefetch::<V>(j);
            let state = state.wrapping_add(j * V::LANES);
            let (w, m, v) = state.load();
            let (w, m, v) = self.adam.apply(w, m, v, gradient[j]);
            state.store(w, m, v, noise.wrapping_add(GOLDEN.wrapping_mul((j * V::LANES) as u32)));
        });
    }

    #[inline(always)]
    unsafe fn row(&mut self, _visit: Visit, _noise: u32) {}
}

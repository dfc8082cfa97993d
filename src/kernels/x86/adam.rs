//! Adam on registers, and on rows.

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Visit, store_block, unrolled};
use super::storage::{AdamState, State};
use super::updates::{Form, Moves, Rows};
use super::vector::Vector;
use crate::kernels::SHIFT;
use crate::kernels::portable::rest2;
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
    shift: V,
}

impl<V: Vector> Adam<V> {
    #[inline(always)]
    pub(super) unsafe fn new(step: AdamStep) -> Self {
        Self {
            beta1: V::splat(step.beta1),
            rest1: V::splat(1.0 - step.beta1),
            beta2: V::splat(step.beta2),
            rest2: V::splat(rest2(step)),
            rate: V::splat(-step.rate),
            epsilon: V::splat(step.epsilon),
            shift: V::splat(SHIFT),
        }
    }

    /// The gradient as [`Self::apply`] takes it.
    #[inline(always)]
    pub(super) unsafe fn shifted(&self, g: V) -> V {
        self.rest1.mul_add(g, self.shift)
    }

    /// The new (w, m, v), by as few instructions as can be: what a core has read ahead is bounded by their number. So the
    /// square root and the division are the exact ones unless they may be `rough`; estimates that good take more.
    #[inline(always)]
    pub(super) unsafe fn apply(&self, rough: bool, w: V, m: V, v: V, shifted: V) -> (V, V, V) {
        let v = self.rest2.mul(shifted).mul_add(shifted, self.beta2.mul(v));
        let m = self.beta1.mul_add(m, shifted).sub(self.shift);
        let ratio = if rough { m.over_root_about(v, self.epsilon) } else { m.div(v.sqrt().add(self.epsilon)) };
        (self.rate.mul_add(ratio, w), m, v)
    }
}

impl<R: AdamState> Rows for R {
    type Moves<V: Vector> = ByAdam<V, R::State>;
    const BYTES: usize = R::State::BYTES;

    /// As [`Adam::shifted`].
    #[inline(always)]
    fn form(step: AdamStep) -> Form {
        Form { scale: 1.0 - step.beta1, shift: SHIFT }
    }

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
    unsafe fn block<const N: usize>(&mut self, visit: Visit, at: usize, w: [V; N], gradient: [V; N], noise: u32) {
        let [state, ahead] = [visit.row, visit.next].map(|row| self.state.wrapping_add(row + at).in_registers());
        let mut moved = w;
        unrolled!(N, |j| {
            ahead.prefetch::<V>(j);
            let (state, w) = (state.wrapping_add(j * V::LANES), w[j]);
            let (m, v) = state.moments();
            let (w, m, v) = self.adam.apply(S::ROUGH, w, m, v, gradient[j]);
            moved[j] = w;
            state.store_moments(m, v, noise, j * V::LANES);
        });
        store_block(state.weights(), moved, noise, 0);
    }

    #[inline(always)]
    unsafe fn row(&mut self, _visit: Visit, _noise: u32) {}
}

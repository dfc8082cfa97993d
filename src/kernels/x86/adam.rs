//! Adam on registers.

#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::Vector;
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

    /// The new (w, m, v). The square root and the division are the exact ones: replacing them by estimates and a step of
    /// Newton's method saved nothing where rows come from memory.
    #[inline(always)]
    pub(super) unsafe fn apply(&self, w: V, m: V, v: V, g: V) -> (V, V, V) {
        let g = g.keep(GRADIENT);
        let m = self.beta1.mul_add(m, self.rest1.mul(g)).keep(MOMENT);
        let v = self.rest2.mul(g).mul_add(g, self.beta2.mul(v)).keep(MOMENT);
        let w = self.rate.mul(m).div(v.sqrt().add(self.epsilon)).add(w);
        (w, m, v)
    }
}

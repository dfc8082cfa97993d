//! Kernels over arrays and over values of pairs.

#![allow(unsafe_op_in_unsafe_fn)]

use super::adam::Adam;
use super::storage::{Plain, State};
use super::vector::Vector;
use crate::kernels::weights::Weight;
use crate::kernels::{AdamRows, GRADIENT, check};
use crate::network::AdamStep;
use half::bf16;

#[inline(always)]
pub(super) unsafe fn dot<V: Vector>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    dot_at::<V>(a.as_ptr(), b.as_ptr(), a.len())
}

/// Four accumulators hide the latency of the FMA.
#[inline(always)]
unsafe fn dot_at<V: Vector>(a: *const f32, b: *const f32, n: usize) -> f32 {
    let zero = V::splat(0.0);
    let mut sums = [zero; 4];
    let mut i = 0;
    while i + 4 * V::LANES <= n {
        for (j, sum) in sums.iter_mut().enumerate() {
            let at = i + j * V::LANES;
            *sum = V::load(a.add(at)).mul_add(V::load(b.add(at)), *sum);
        }
        i += 4 * V::LANES;
    }
    while i + V::LANES <= n {
        sums[0] = V::load(a.add(i)).mul_add(V::load(b.add(i)), sums[0]);
        i += V::LANES;
    }
    if i < n {
        let (a, b) = (V::load_first(a.add(i), n - i, zero), V::load_first(b.add(i), n - i, zero));
        sums[1] = a.mul_add(b, sums[1]);
    }
    sums[0].add(sums[1]).add(sums[2].add(sums[3])).sum()
}

#[inline(always)]
pub(super) unsafe fn axpy<V: Vector>(alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let (n, x, y) = (x.len(), x.as_ptr(), y.as_mut_ptr());
    let (alpha, zero) = (V::splat(alpha), V::splat(0.0));
    let mut i = 0;
    while i + V::LANES <= n {
        alpha.mul_add(V::load(x.add(i)), V::load(y.add(i))).store(y.add(i));
        i += V::LANES;
    }
    if i < n {
        let (x, old) = (V::load_first(x.add(i), n - i, zero), V::load_first(y.add(i), n - i, zero));
        alpha.mul_add(x, old).store_first(y.add(i), n - i);
    }
}

#[inline(always)]
pub(super) unsafe fn max<V: Vector>(x: &[f32]) -> f32 {
    let (n, x) = (x.len(), x.as_ptr());
    let lowest = V::splat(f32::NEG_INFINITY);
    let mut largest = [lowest; 4];
    let mut i = 0;
    while i + 4 * V::LANES <= n {
        for (j, largest) in largest.iter_mut().enumerate() {
            *largest = V::load(x.add(i + j * V::LANES)).max(*largest);
        }
        i += 4 * V::LANES;
    }
    while i + V::LANES <= n {
        largest[0] = V::load(x.add(i)).max(largest[0]);
        i += V::LANES;
    }
    if i < n {
        largest[1] = V::load_first(x.add(i), n - i, lowest).max(largest[1]);
    }
    largest[0].max(largest[1]).max(largest[2].max(largest[3])).largest()
}

#[inline(always)]
pub(super) unsafe fn exp_sum<V: Vector>(x: &mut [f32], shift: f32) -> f32 {
    let (n, x) = (x.len(), x.as_mut_ptr());
    let shift = V::splat(shift);
    let mut sums = [V::splat(0.0); 2];
    let mut i = 0;
    while i + 2 * V::LANES <= n {
        for (j, sum) in sums.iter_mut().enumerate() {
            let at = x.add(i + j * V::LANES);
            let e = V::load(at).sub(shift).exp();
            e.store(at);
            *sum = sum.add(e);
        }
        i += 2 * V::LANES;
    }
    while i < n {
        let left = (n - i).min(V::LANES);
        let e = load_some(x.add(i), left, V::splat(f32::NEG_INFINITY)).sub(shift).exp();
        store_some(e, x.add(i), left);
        // Lanes beyond the end hold exp(-∞) = 0 (and exp(NaN) = NaN for a shift of -∞: then the sum is NaN as well).
        sums[0] = sums[0].add(e);
        i += left;
    }
    sums[0].add(sums[1]).sum()
}

#[inline(always)]
unsafe fn load_some<V: Vector>(from: *const f32, n: usize, fill: V) -> V {
    if n == V::LANES { V::load(from) } else { V::load_first(from, n, fill) }
}

#[inline(always)]
unsafe fn store_some<V: Vector>(value: V, to: *mut f32, n: usize) {
    if n == V::LANES { value.store(to) } else { value.store_first(to, n) }
}

#[inline(always)]
pub(super) unsafe fn adam<V: Vector>(state: AdamRows<'_>, g: &[f32], step: AdamStep) {
    assert_eq!(check::state(&state), g.len());
    let (n, state, g, zero) = (g.len(), Plain::new(state), g.as_ptr(), V::splat(0.0));
    let adam = Adam::<V>::new(step);
    let mut i = 0;
    while i + V::LANES <= n {
        let at = state.wrapping_add(i);
        let (m, v) = at.moments::<V>();
        let (w, m, v) = adam.apply(false, V::load(at.w), m, v, adam.shifted(V::load(g.add(i))));
        w.store(at.w);
        at.store_moments(m, v, 0, 0);
        i += V::LANES;
    }
    if i < n {
        let (at, left) = (state.wrapping_add(i), n - i);
        let load = |from: *const f32| V::load_first(from, left, zero);
        let (w, m, v) = adam.apply(false, load(at.w), load(at.m), load(at.v), adam.shifted(load(g.add(i))));
        w.store_first(at.w, left);
        m.store_first(at.m, left);
        v.store_first(at.v, left);
    }
}

#[inline(always)]
pub(super) unsafe fn widen<V: Vector>(from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len());
    let whole = to.len() / V::LANES * V::LANES;
    for i in (0..whole).step_by(V::LANES) {
        V::load_bf16(from.as_ptr().add(i)).store(to.as_mut_ptr().add(i));
    }
    for (to, from) in to[whole..].iter_mut().zip(&from[whole..]) {
        *to = from.widen();
    }
}

#[inline(always)]
pub(super) unsafe fn pair_max<V: Vector>(logits: &[f32], columns: &[u32], largest: &mut [f32]) {
    assert_eq!(logits.len(), columns.len());
    for (&logit, &column) in logits.iter().zip(columns) {
        let largest = &mut largest[column as usize];
        *largest = largest.max(logit);
    }
}

/// Columns and values of the last, partial vector of pairs, the columns filled up with 0.
#[inline(always)]
fn some_columns<const MOST: usize>(columns: &[u32]) -> [u32; MOST] {
    let mut filled = [0; MOST];
    filled[..columns.len()].copy_from_slice(columns);
    filled
}

#[inline(always)]
pub(super) unsafe fn pair_exp<V: Vector>(logits: &mut [f32], columns: &[u32], shift: &[f32], sums: &mut [f32]) {
    assert_eq!((logits.len(), sums.len()), (columns.len(), shift.len()));
    check::columns(columns, shift.len());
    for (logits, columns) in logits.chunks_mut(V::LANES).zip(columns.chunks(V::LANES)) {
        let (n, at) = (logits.len(), logits.as_mut_ptr());
        let shift = V::gather(shift.as_ptr(), some_columns::<16>(columns).as_ptr());
        store_some(load_some(at, n, V::splat(0.0)).sub(shift).exp(), at, n);
        for (&e, &column) in logits.iter().zip(columns) {
            *sums.get_unchecked_mut(column as usize) += e;
        }
    }
}

#[inline(always)]
pub(super) unsafe fn pair_scale<V: Vector>(g: &mut [f32], columns: &[u32], scale: &[f32]) {
    assert_eq!(g.len(), columns.len());
    check::columns(columns, scale.len());
    for (g, columns) in g.chunks_mut(V::LANES).zip(columns.chunks(V::LANES)) {
        let (n, at) = (g.len(), g.as_mut_ptr());
        let scale = V::gather(scale.as_ptr(), some_columns::<16>(columns).as_ptr());
        store_some(load_some(at, n, V::splat(0.0)).mul(scale).keep(GRADIENT), at, n);
    }
}

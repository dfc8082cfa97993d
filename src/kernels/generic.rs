//! The kernels, written once over [`Vector`].
//!
//! Each function checks its arguments ([`check`]) and then works through pointers. All are `inline(always)` and unsafe
//! for one reason only: they must be compiled into a function with `V`'s target features, on a CPU that has them.
//! `kernel_set!` makes those functions.
//!
//! A row is worked on in blocks of up to [`Vector::BLOCK`] registers (128 f32 with AVX-512: one block for the common
//! width). The rows lie anywhere in tables larger than any cache, so the loops prefetch the rows to come.

#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::{AHEAD_BYTES, Vector, prefetch};
use super::{AdamRows, Pairs, check};
use crate::network::AdamStep;

/// Rows prefetched ahead, where a row is `width` f32 in each of `tables`.
#[inline(always)]
fn rows_ahead(width: usize, tables: usize) -> usize {
    (AHEAD_BYTES / (4 * width * tables)).max(4)
}

/// Calls `$block::<V, N>($($argument),*, at)` for consecutive blocks of N vectors that together cover `$width`.
macro_rules! by_blocks {
    ($V:ident, $width:expr, |$N:ident, $at:ident| $call:expr) => {{
        let mut $at = 0;
        while $at < $width {
            let left = ($width - $at) / $V::LANES;
            if left >= 8 && $V::BLOCK >= 8 {
                const $N: usize = 8;
                $call;
                $at += $N * $V::LANES;
            } else if left >= 4 {
                const $N: usize = 4;
                $call;
                $at += $N * $V::LANES;
            } else {
                const $N: usize = 1;
                $call;
                $at += $N * $V::LANES;
            }
        }
    }};
}

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

/// Adam's constants, one a lane.
#[derive(Clone, Copy)]
struct Adam<V> {
    beta1: V,
    rest1: V,
    beta2: V,
    rest2: V,
    rate: V,
    epsilon: V,
}

impl<V: Vector> Adam<V> {
    #[inline(always)]
    unsafe fn new(step: AdamStep) -> Self {
        Self {
            beta1: V::splat(step.beta1),
            rest1: V::splat(1.0 - step.beta1),
            beta2: V::splat(step.beta2),
            rest2: V::splat(1.0 - step.beta2),
            rate: V::splat(-step.rate),
            epsilon: V::splat(step.epsilon),
        }
    }

    /// The new (w, m, v).
    #[inline(always)]
    unsafe fn apply(&self, w: V, m: V, v: V, g: V) -> (V, V, V) {
        let m = self.beta1.mul_add(m, self.rest1.mul(g));
        let v = self.beta2.mul_add(v, self.rest2.mul(g).mul(g));
        let w = self.rate.mul(m).div(v.sqrt().add(self.epsilon)).add(w);
        (w, m, v)
    }

    #[inline(always)]
    unsafe fn apply_at(&self, at: State, g: V) {
        let (w, m, v) = self.apply(V::load(at.w), V::load(at.m), V::load(at.v), g);
        w.store(at.w);
        m.store(at.m);
        v.store(at.v);
    }
}

/// Pointers into w, m and v at one offset.
#[derive(Clone, Copy)]
struct State {
    w: *mut f32,
    m: *mut f32,
    v: *mut f32,
}

impl State {
    fn new(rows: AdamRows<'_>) -> Self {
        Self { w: rows.w.as_mut_ptr(), m: rows.m.as_mut_ptr(), v: rows.v.as_mut_ptr() }
    }

    #[inline(always)]
    unsafe fn add(self, offset: usize) -> Self {
        Self { w: self.w.add(offset), m: self.m.add(offset), v: self.v.add(offset) }
    }

    #[inline(always)]
    fn prefetch(self, offset: usize, width: usize) {
        for table in [self.w, self.m, self.v] {
            prefetch(table.wrapping_add(offset), width * 4);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn adam<V: Vector>(state: AdamRows<'_>, g: &[f32], step: AdamStep) {
    assert_eq!(check::state(&state), g.len());
    let (n, state, g, zero) = (g.len(), State::new(state), g.as_ptr(), V::splat(0.0));
    let adam = Adam::<V>::new(step);
    let mut i = 0;
    while i + V::LANES <= n {
        adam.apply_at(state.add(i), V::load(g.add(i)));
        i += V::LANES;
    }
    if i < n {
        let (at, left) = (state.add(i), n - i);
        let load = |from: *const f32| V::load_first(from, left, zero);
        let (w, m, v) = adam.apply(load(at.w), load(at.m), load(at.v), load(g.add(i)));
        w.store_first(at.w, left);
        m.store_first(at.m, left);
        v.store_first(at.v, left);
    }
}

#[inline(always)]
pub(super) unsafe fn row_dots<V: Vector>(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((x.len(), out.len()), (width, rows.len()));
    let (w, ahead) = (w.as_ptr(), rows_ahead(width, 1));
    for (i, (out, &row)) in out.iter_mut().zip(rows).enumerate() {
        if let Some(&next) = rows.get(i + ahead) {
            prefetch(w.wrapping_add(next as usize * width), width * 4);
        }
        *out = dot_at::<V>(w.add(row as usize * width), x.as_ptr(), width);
    }
}

#[inline(always)]
pub(super) unsafe fn row_sum<V: Vector>(w: &[f32], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((coefficients.len(), out.len()), (rows.len(), width));
    let (w, out) = (w.as_ptr(), out.as_mut_ptr());
    by_blocks!(V, width, |N, at| sum_block::<V, N>(w.add(at), width, rows, coefficients, out.add(at)));
}

/// The sum stays in N registers over all rows.
#[inline(always)]
unsafe fn sum_block<V: Vector, const N: usize>(
    w: *const f32,
    width: usize,
    rows: &[u32],
    coefficients: &[f32],
    out: *mut f32,
) {
    let (mut sums, ahead) = (load_block::<V, N>(out), rows_ahead(N * V::LANES, 1));
    for (i, (&row, &coefficient)) in rows.iter().zip(coefficients).enumerate() {
        if let Some(&next) = rows.get(i + ahead) {
            prefetch(w.wrapping_add(next as usize * width), N * V::LANES * 4);
        }
        let (row, coefficient) = (w.add(row as usize * width), V::splat(coefficient));
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = coefficient.mul_add(V::load(row.add(j * V::LANES)), *sum);
        }
    }
    for (j, sum) in sums.iter().enumerate() {
        sum.store(out.add(j * V::LANES));
    }
}

#[inline(always)]
unsafe fn load_block<V: Vector, const N: usize>(from: *const f32) -> [V; N] {
    let mut block = [V::splat(0.0); N];
    for (j, vector) in block.iter_mut().enumerate() {
        *vector = V::load(from.add(j * V::LANES));
    }
    block
}

#[inline(always)]
pub(super) unsafe fn gather_rows<V: Vector>(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!(out.len(), rows.len() * width);
    let (w, ahead) = (w.as_ptr(), rows_ahead(width, 1));
    for (i, (out, &row)) in out.chunks_exact_mut(width).zip(rows).enumerate() {
        if let Some(&next) = rows.get(i + ahead) {
            prefetch(w.wrapping_add(next as usize * width), width * 4);
        }
        let (row, out) = (w.add(row as usize * width), out.as_mut_ptr());
        for at in (0..width).step_by(V::LANES) {
            V::load(row.add(at)).store(out.add(at));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn row_adam<V: Vector>(
    state: AdamRows<'_>,
    width: usize,
    rows: &[u32],
    gradients: &[f32],
    step: AdamStep,
) {
    check::rows(rows, width, check::state(&state));
    assert_eq!(gradients.len(), rows.len() * width);
    let (state, adam, ahead) = (State::new(state), Adam::<V>::new(step), rows_ahead(width, 3));
    for (i, (gradient, &row)) in gradients.chunks_exact(width).zip(rows).enumerate() {
        if let Some(&next) = rows.get(i + ahead) {
            state.prefetch(next as usize * width, width);
        }
        let row = state.add(row as usize * width);
        for at in (0..width).step_by(V::LANES) {
            adam.apply_at(row.add(at), V::load(gradient.as_ptr().add(at)));
        }
    }
}

#[inline(always)]
pub(super) unsafe fn pair_dots<V: Vector>(w: &[f32], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) {
    if !check::pairs(pairs, width, w.len(), x.len(), out.len()) {
        return;
    }
    let (w, x, ahead) = (w.as_ptr(), x.as_ptr(), rows_ahead(width, 1));
    for (i, &row) in pairs.rows.iter().enumerate() {
        if let Some(&next) = pairs.rows.get(i + ahead) {
            prefetch(w.wrapping_add(next as usize * width), width * 4);
        }
        let row = w.add(row as usize * width);
        let range = pairs.starts[i] as usize..pairs.starts[i + 1] as usize;
        let (columns, out) = (&pairs.columns[range.clone()], &mut out[range]);
        by_blocks!(V, width, |N, at| dots_block::<V, N>(row.add(at), x.add(at), width, columns, out, at == 0));
    }
}

/// One block of one row, held in registers, against its columns; sets `out` with the first block and adds the others.
#[inline(always)]
unsafe fn dots_block<V: Vector, const N: usize>(
    row: *const f32,
    x: *const f32,
    width: usize,
    columns: &[u32],
    out: &mut [f32],
    first: bool,
) {
    let weights = load_block::<V, N>(row);
    for (&column, out) in columns.iter().zip(out) {
        let x = x.add(column as usize * width);
        let mut sums = [V::splat(0.0); 2];
        for (j, weight) in weights.iter().enumerate() {
            sums[j % 2] = weight.mul_add(V::load(x.add(j * V::LANES)), sums[j % 2]);
        }
        let sum = sums[0].add(sums[1]).sum();
        *out = if first { sum } else { *out + sum };
    }
}

#[inline(always)]
pub(super) unsafe fn pair_update<V: Vector>(
    state: AdamRows<'_>,
    x: &[f32],
    dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, check::state(&state), x.len(), g.len()) {
        return;
    }
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len());
            update_rows::<V, true>(State::new(state), x.as_ptr(), dx.as_mut_ptr(), width, pairs, g, step);
        }
        None => {
            update_rows::<V, false>(State::new(state), x.as_ptr(), std::ptr::null_mut(), width, pairs, g, step);
        }
    }
}

#[inline(always)]
unsafe fn update_rows<V: Vector, const DX: bool>(
    state: State,
    x: *const f32,
    dx: *mut f32,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    let (adam, ahead) = (Adam::<V>::new(step), rows_ahead(width, 3));
    for (i, &row) in pairs.rows.iter().enumerate() {
        if let Some(&next) = pairs.rows.get(i + ahead) {
            state.prefetch(next as usize * width, width);
        }
        let row = state.add(row as usize * width);
        let range = pairs.starts[i] as usize..pairs.starts[i + 1] as usize;
        let (columns, g) = (&pairs.columns[range.clone()], &g[range]);
        by_blocks!(V, width, |N, at| {
            update_block::<V, DX, N>(&adam, row.add(at), x.add(at), dx.wrapping_add(at), width, columns, g)
        });
    }
}

/// One block of one row: its weights and gradient stay in registers while the columns pass, then Adam is applied, so w,
/// m and v are read once and written once.
#[inline(always)]
unsafe fn update_block<V: Vector, const DX: bool, const N: usize>(
    adam: &Adam<V>,
    at: State,
    x: *const f32,
    dx: *mut f32,
    width: usize,
    columns: &[u32],
    g: &[f32],
) {
    let weights = load_block::<V, N>(at.w);
    let mut gradient = [V::splat(0.0); N];
    for (&column, &g) in columns.iter().zip(g) {
        let (offset, g) = (column as usize * width, V::splat(g));
        for (j, gradient) in gradient.iter_mut().enumerate() {
            *gradient = g.mul_add(V::load(x.add(offset + j * V::LANES)), *gradient);
        }
        if DX {
            for (j, weight) in weights.iter().enumerate() {
                let dx = dx.add(offset + j * V::LANES);
                g.mul_add(*weight, V::load(dx)).store(dx);
            }
        }
    }
    for (j, gradient) in gradient.iter().enumerate() {
        adam.apply_at(at.add(j * V::LANES), *gradient);
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
        store_some(load_some(at, n, V::splat(0.0)).mul(scale), at, n);
    }
}

/// See [`super::roofline::Probes`].
#[inline(always)]
pub(super) unsafe fn read_rows<V: Vector>(w: &[f32], width: usize, rows: &[u32], ahead: usize) -> f32 {
    check::rows(rows, width, w.len());
    let w = w.as_ptr();
    let mut sums = [V::splat(0.0); 8];
    for (i, &row) in rows.iter().enumerate() {
        if ahead > 0 && i + ahead < rows.len() {
            prefetch(w.wrapping_add(rows[i + ahead] as usize * width), width * 4);
        }
        let row = w.add(row as usize * width);
        for at in (0..width).step_by(V::LANES) {
            let sum = &mut sums[at / V::LANES % 8];
            *sum = sum.add(V::load(row.add(at)));
        }
    }
    sums.into_iter().fold(0.0, |total, sum| total + sum.sum())
}

/// See [`super::roofline::Probes`].
#[inline(always)]
pub(super) unsafe fn change_rows<V: Vector>(w: &mut [f32], width: usize, rows: &[u32], ahead: usize) {
    check::rows(rows, width, w.len());
    let (w, one) = (w.as_mut_ptr(), V::splat(1.0));
    for (i, &row) in rows.iter().enumerate() {
        if ahead > 0 && i + ahead < rows.len() {
            prefetch(w.wrapping_add(rows[i + ahead] as usize * width), width * 4);
        }
        let row = w.add(row as usize * width);
        for at in (0..width).step_by(V::LANES) {
            V::load(row.add(at)).add(one).store(row.add(at));
        }
    }
}

/// See [`super::roofline::Probes`]. Twelve chains: more than two units times the latency of a multiply-add.
#[inline(always)]
pub(super) unsafe fn multiply_add<V: Vector>(rounds: usize) -> f64 {
    const CHAINS: usize = 12;
    let factor = V::splat(std::hint::black_box(0.5));
    let mut chains = [factor; CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = chain.mul_add(factor, factor);
        }
    }
    let mut total = factor;
    for chain in chains {
        total = total.add(chain);
    }
    std::hint::black_box(total.sum());
    (rounds * CHAINS * V::LANES * 2) as f64
}

/// Compiles the kernels for one set of target features.
macro_rules! kernel_set {
    ($name:literal, $features:literal, $V:ty) => {
        use $crate::kernels::{AdamRows, AdamStep, Kernels, Pairs, generic};

        /// This set; to be handed out only on a CPU that has its features.
        pub(super) const KERNELS: Kernels = Kernels {
            name: $name,
            dot,
            axpy,
            max,
            exp_sum,
            adam,
            row_dots,
            row_sum,
            gather_rows,
            row_adam,
            pair_dots,
            pair_update,
            pair_max,
            pair_exp,
            pair_scale,
            probes: $crate::kernels::roofline::Probes { read_rows, change_rows, multiply_add },
        };

        kernel_set! { @each $features, $V,
            dot(a: &[f32], b: &[f32]) -> f32;
            axpy(alpha: f32, x: &[f32], y: &mut [f32]) -> ();
            max(x: &[f32]) -> f32;
            exp_sum(x: &mut [f32], shift: f32) -> f32;
            adam(state: AdamRows<'_>, g: &[f32], step: AdamStep) -> ();
            row_dots(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) -> ();
            row_sum(w: &[f32], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) -> ();
            gather_rows(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) -> ();
            row_adam(state: AdamRows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) -> ();
            pair_dots(w: &[f32], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) -> ();
            pair_update(
                state: AdamRows<'_>, x: &[f32], dx: Option<&mut [f32]>, width: usize, pairs: Pairs<'_>, g: &[f32],
                step: AdamStep
            ) -> ();
            pair_max(logits: &[f32], columns: &[u32], largest: &mut [f32]) -> ();
            pair_exp(logits: &mut [f32], columns: &[u32], shift: &[f32], sums: &mut [f32]) -> ();
            pair_scale(g: &mut [f32], columns: &[u32], scale: &[f32]) -> ();
            read_rows(w: &[f32], width: usize, rows: &[u32], ahead: usize) -> f32;
            change_rows(w: &mut [f32], width: usize, rows: &[u32], ahead: usize) -> ();
            multiply_add(rounds: usize) -> f64;
        }
    };
    (@each $features:literal, $V:ty, $($kernel:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $kernel($($argument: $type),*) -> $result {
            #[target_feature(enable = $features)]
            fn compiled($($argument: $type),*) -> $result {
                // SAFETY: this function has the features.
                unsafe { generic::$kernel::<$V>($($argument),*) }
            }
            // SAFETY: `KERNELS`, the only way here, is handed out only where the CPU has the features.
            unsafe { compiled($($argument),*) }
        })*
    };
}
pub(super) use kernel_set;

//! Kernels over lists of rows and over pairs.
//!
//! A row is worked on in blocks of up to [`Vector::BLOCK`] registers (128 f32 with AVX-512: one block for the common
//! width). The rows lie anywhere in tables larger than any cache, so every kernel prefetches the rows to come.

#![allow(unsafe_op_in_unsafe_fn)]

use super::adam::Adam;
use super::storage::{Element, Rows, State, prefetch_vector};
use super::vector::{AHEAD_BYTES, Vector};
use crate::kernels::packed::GOLDEN;
use crate::kernels::{Pairs, check};
use crate::network::AdamStep;

/// Rows prefetched ahead, where a row is `width` times `bytes`.
#[inline(always)]
pub(super) fn rows_ahead(width: usize, bytes: usize) -> usize {
    (AHEAD_BYTES / (width * bytes)).max(4)
}

/// The rows, each with the one to prefetch meanwhile. The last rows prefetch themselves, which costs nothing.
#[inline(always)]
pub(super) fn with_next(rows: &[u32], ahead: usize) -> impl Iterator<Item = (usize, usize)> {
    rows.iter().enumerate().map(move |(i, &row)| (row as usize, *rows.get(i + ahead).unwrap_or(&row) as usize))
}

/// [`with_next`], once `prefetch(start of a row, vector)` has asked for the rows that come before any such next one: short
/// lists would else wait for a good part of their rows. The very first is read at once.
#[inline(always)]
pub(super) fn visits<V: Vector>(
    rows: &[u32],
    ahead: usize,
    width: usize,
    prefetch: impl Fn(usize, usize),
) -> impl Iterator<Item = (usize, usize)> {
    for &row in rows.iter().take(ahead).skip(1) {
        for vector in 0..width / V::LANES {
            prefetch(row as usize * width, vector);
        }
    }
    with_next(rows, ahead)
}

/// Evaluates `$block` for consecutive blocks of `$N` vectors from column `$at` on that together make `$width`. Block
/// sizes are constants, so that a block lies in registers and its loops are unrolled.
macro_rules! by_blocks {
    ($V:ident, $width:expr, |$N:ident, $at:ident| $block:expr) => {{
        let mut $at = 0;
        while $at < $width {
            let left = ($width - $at) / $V::LANES;
            if left >= 8 && $V::BLOCK >= 8 {
                by_blocks!(@block $V, $N = 8, $at, $block)
            } else if left >= 4 {
                by_blocks!(@block $V, $N = 4, $at, $block)
            } else {
                by_blocks!(@block $V, $N = 1, $at, $block)
            }
        }
    }};
    (@block $V:ident, $N:ident = $size:literal, $at:ident, $block:expr) => {{
        const $N: usize = $size;
        $block;
        $at += $N * $V::LANES;
    }};
}
pub(super) use by_blocks;

/// Evaluates `$body` for `$j` from 0 to `$N - 1`, at most 7: a loop that is certain to be unrolled. Where the compiler
/// finds the body too long and keeps the loop, the arrays it indexes go from registers to memory.
macro_rules! unrolled {
    ($N:ident, |$j:ident| $body:expr) => {
        unrolled!(@each $N, $j, $body, 0, 1, 2, 3, 4, 5, 6, 7)
    };
    (@each $N:ident, $j:ident, $body:expr, $($n:literal),*) => {
        $(if $n < $N {
            let $j: usize = $n;
            $body
        })*
    };
}

#[inline(always)]
pub(super) unsafe fn load_block<V: Vector, W: Element, const N: usize>(from: *const W) -> [V; N] {
    let mut block = [V::splat(0.0); N];
    for (j, vector) in block.iter_mut().enumerate() {
        *vector = W::load(from.add(j * V::LANES));
    }
    block
}

/// Loads a block and asks for another; in turns, because a burst of prefetches would fill the queue before the loads.
#[inline(always)]
pub(super) unsafe fn load_ahead<V: Vector, W: Element, const N: usize>(from: *const W, ahead: *const W) -> [V; N] {
    let mut block = [V::splat(0.0); N];
    for (j, vector) in block.iter_mut().enumerate() {
        prefetch_vector::<V, W>(ahead, j);
        *vector = W::load(from.add(j * V::LANES));
    }
    block
}

#[inline(always)]
pub(super) unsafe fn row_dots<V: Vector>(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((x.len(), out.len()), (width, rows.len()));
    let (w, ahead) = (w.as_ptr(), rows_ahead(width, size_of::<f32>()));
    let visits = visits::<V>(rows, ahead, width, |at, j| prefetch_vector::<V, f32>(w.wrapping_add(at), j));
    for ((row, next), out) in visits.zip(out) {
        *out = row_dot::<V, f32, true>(w.add(row * width), x.as_ptr(), width, w.wrapping_add(next * width));
    }
}

/// Product of two padded rows, which prefetches a third if `AHEAD`.
#[inline(always)]
unsafe fn row_dot<V: Vector, W: Element, const AHEAD: bool>(
    w: *const W,
    x: *const f32,
    width: usize,
    next: *const W,
) -> f32 {
    let mut sums = [V::splat(0.0); 2];
    by_blocks!(V, width, |N, at| {
        unrolled!(N, |j| {
            if AHEAD {
                prefetch_vector::<V, W>(next.wrapping_add(at), j);
            }
            let column = at + j * V::LANES;
            let weight: V = W::load(w.add(column));
            sums[j % 2] = weight.mul_add(V::load(x.add(column)), sums[j % 2]);
        });
    });
    sums[0].add(sums[1]).sum()
}

#[inline(always)]
pub(super) unsafe fn row_sum<V: Vector, W: Element>(
    w: &[W],
    width: usize,
    rows: &[u32],
    coefficients: &[f32],
    out: &mut [f32],
) {
    check::rows(rows, width, w.len());
    assert_eq!((coefficients.len(), out.len()), (rows.len(), width));
    let (w, out, ahead) = (w.as_ptr(), out.as_mut_ptr(), rows_ahead(width, size_of::<W>()));
    let visits = visits::<V>(rows, ahead, width, |at, j| prefetch_vector::<V, W>(w.wrapping_add(at), j));
    for ((row, next), &coefficient) in visits.zip(coefficients) {
        let coefficient = V::splat(coefficient);
        by_blocks!(V, width, |N, at| {
            let block: [V; N] = load_ahead(w.add(row * width + at), w.wrapping_add(next * width + at));
            for (j, vector) in block.into_iter().enumerate() {
                let out = out.add(at + j * V::LANES);
                coefficient.mul_add(vector, V::load(out)).store(out);
            }
        });
    }
}

#[inline(always)]
pub(super) unsafe fn gather_rows<V: Vector>(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!(out.len(), rows.len() * width);
    let (w, ahead) = (w.as_ptr(), rows_ahead(width, size_of::<f32>()));
    let visits = visits::<V>(rows, ahead, width, |at, j| prefetch_vector::<V, f32>(w.wrapping_add(at), j));
    for ((row, next), out) in visits.zip(out.chunks_exact_mut(width)) {
        for j in 0..width / V::LANES {
            prefetch_vector::<V, f32>(w.wrapping_add(next * width), j);
        }
        w.add(row * width).copy_to_nonoverlapping(out.as_mut_ptr(), width);
    }
}

#[inline(always)]
pub(super) unsafe fn row_adam<V: Vector, R: Rows>(
    state: R,
    width: usize,
    rows: &[u32],
    gradients: &[f32],
    step: AdamStep,
) {
    check::rows(rows, width, state.checked_len());
    assert_eq!(gradients.len(), rows.len() * width);
    let mut noise = state.seed();
    let (state, adam) = (state.state(), Adam::<V>::new(step));
    let ahead = rows_ahead(width, R::State::BYTES);
    let visits = visits::<V>(rows, ahead, width, |at, j| state.wrapping_add(at).prefetch::<V>(j));
    for ((row, next), gradient) in visits.zip(gradients.chunks_exact(width)) {
        by_blocks!(V, width, |N, at| {
            let (state, ahead) = (state.wrapping_add(row * width + at), state.wrapping_add(next * width + at));
            let gradient: [V; N] = load_block(gradient.as_ptr().add(at));
            noise = adam_block(&adam, state, &gradient, ahead, noise);
        });
    }
}

/// Adam on a block, prefetching another; takes and returns the noise of the next value.
#[inline(always)]
unsafe fn adam_block<V: Vector, S: State, const N: usize>(
    adam: &Adam<V>,
    state: S,
    gradient: &[V; N],
    ahead: S,
    noise: u32,
) -> u32 {
    unrolled!(N, |j| {
        ahead.prefetch::<V>(j);
        let state = state.wrapping_add(j * V::LANES);
        let (w, m, v) = state.load();
        let (w, m, v) = adam.apply(w, m, v, gradient[j]);
        state.store(w, m, v, noise.wrapping_add(GOLDEN.wrapping_mul((j * V::LANES) as u32)));
    });
    noise.wrapping_add(GOLDEN.wrapping_mul((N * V::LANES) as u32))
}

#[inline(always)]
pub(super) unsafe fn pair_dots<V: Vector, W: Element>(
    w: &[W],
    x: &[f32],
    width: usize,
    pairs: Pairs<'_>,
    out: &mut [f32],
) {
    if !check::pairs(pairs, width, w.len(), x.len(), out.len()) {
        return;
    }
    let (w, x, ahead) = (w.as_ptr(), x.as_ptr(), rows_ahead(width, size_of::<W>()));
    let visits = visits::<V>(pairs.rows, ahead, width, |at, j| prefetch_vector::<V, W>(w.wrapping_add(at), j));
    for ((row, next), range) in visits.zip(pairs.ranges()) {
        let (row, next) = (w.add(row * width), w.wrapping_add(next * width));
        let (columns, out) = (&pairs.columns[range.clone()], &mut out[range]);
        let mut each = columns.iter().zip(out);
        if let Some((&column, out)) = each.next() {
            *out = row_dot::<V, W, true>(row, x.add(column as usize * width), width, next);
        }
        for (&column, out) in each {
            *out = row_dot::<V, W, false>(row, x.add(column as usize * width), width, next);
        }
    }
}

#[inline(always)]
pub(super) unsafe fn pair_update<V: Vector, R: Rows>(
    state: R,
    x: &[f32],
    dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, state.checked_len(), x.len(), g.len()) {
        return;
    }
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len());
            update_rows::<V, R, true>(state, x.as_ptr(), dx.as_mut_ptr(), width, pairs, g, step);
        }
        None => update_rows::<V, R, false>(state, x.as_ptr(), std::ptr::null_mut(), width, pairs, g, step),
    }
}

#[inline(always)]
unsafe fn update_rows<V: Vector, R: Rows, const DX: bool>(
    state: R,
    x: *const f32,
    dx: *mut f32,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    let mut noise = state.seed();
    let (state, adam) = (state.state(), Adam::<V>::new(step));
    let ahead = rows_ahead(width, R::State::BYTES);
    let visits = visits::<V>(pairs.rows, ahead, width, |at, j| state.wrapping_add(at).prefetch::<V>(j));
    for ((row, next), range) in visits.zip(pairs.ranges()) {
        let (columns, g) = (&pairs.columns[range.clone()], &g[range]);
        by_blocks!(V, width, |N, at| {
            let (state, ahead) = (state.wrapping_add(row * width + at), state.wrapping_add(next * width + at));
            let (x, dx) = (x.add(at), dx.wrapping_add(at));
            let gradient: [V; N] = gradient_block::<V, _, DX, N>(state.weights(), x, dx, width, columns, g);
            noise = adam_block(&adam, state, &gradient, ahead, noise);
        });
    }
}

/// The gradient of one block of a row. It stays in registers while the columns pass, and so do the weights, where their
/// products go to `dx`: weights and moments are read once and written once.
#[inline(always)]
pub(super) unsafe fn gradient_block<V: Vector, W: Element, const DX: bool, const N: usize>(
    w: *const W,
    x: *const f32,
    dx: *mut f32,
    width: usize,
    columns: &[u32],
    g: &[f32],
) -> [V; N] {
    let weights: [V; N] = load_block(w);
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
    gradient
}

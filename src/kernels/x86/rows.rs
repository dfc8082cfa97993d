//! Kernels that read lists of rows, alone or in pairs with columns; [`super::updates`] holds those that move rows.
//!
//! A row is worked on in blocks of up to [`Vector::BLOCK`] registers (128 f32 with AVX-512: one block for the common
//! width). The rows lie anywhere in tables larger than any cache, so every kernel prefetches the rows to come.

#![allow(unsafe_op_in_unsafe_fn)]

use super::storage::{Element, prefetch_vector};
use super::vector::{FAR_BYTES, NEAR_BYTES, Vector};
use crate::kernels::{Pairs, check};

/// Rows prefetched ahead, where a row is `width` times `bytes`.
#[inline(always)]
pub(super) fn rows_ahead<V: Vector>(width: usize, bytes: usize) -> usize {
    let ahead = if V::NEAR { NEAR_BYTES } else { FAR_BYTES };
    (ahead / (width * bytes)).max(4)
}

/// A row's visit: its place in the list, where it starts, and where the row starts that is prefetched meanwhile.
#[derive(Clone, Copy)]
pub(super) struct Visit {
    pub i: usize,
    pub row: usize,
    pub next: usize,
}

/// Visits rows of `width` in turn. The last rows prefetch themselves, which costs nothing.
///
/// What belongs to the rows is found by `i`, not by iterators zipped to this one: those grow too large to be inlined, and
/// across a call no vector stays in its register.
#[inline(always)]
pub(super) fn with_next(rows: &[u32], ahead: usize, width: usize) -> impl Iterator<Item = Visit> {
    rows.iter().enumerate().map(move |(i, &row)| {
        let next = *rows.get(i + ahead).unwrap_or(&row);
        Visit { i, row: row as usize * width, next: next as usize * width }
    })
}

/// Asks by `prefetch(start of a row, vector)` for the rows that come before any [`Visit::next`]: short lists would else wait
/// for a good part of theirs. The very first is read at once.
#[inline(always)]
pub(super) fn ask_first<V: Vector>(rows: &[u32], ahead: usize, width: usize, prefetch: impl Fn(usize, usize)) {
    for &row in rows.iter().take(ahead).skip(1) {
        for vector in 0..width / V::LANES {
            prefetch(row as usize * width, vector);
        }
    }
}

/// Visits the rows of a table, prefetched from the first on.
#[inline(always)]
fn visits<V: Vector, W: Element>(w: *const W, rows: &[u32], width: usize) -> impl Iterator<Item = Visit> {
    let ahead = rows_ahead::<V>(width, size_of::<W>());
    ask_first::<V>(rows, ahead, width, |at, j| prefetch_vector::<V, W>(w.wrapping_add(at), j));
    with_next(rows, ahead, width)
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
pub(super) use unrolled;

/// Whether so many vectors are twos.
const fn in_twos(vectors: usize) -> bool {
    vectors.is_multiple_of(2)
}

#[inline(always)]
pub(super) unsafe fn load_block<V: Vector, W: Element, const N: usize>(from: *const W) -> [V; N] {
    load_and::<V, W, N>(from, |_| ())
}

/// Loads a block and asks for another; in turns, because a burst of prefetches would fill the queue before the loads.
#[inline(always)]
pub(super) unsafe fn load_ahead<V: Vector, W: Element, const N: usize>(from: *const W, ahead: *const W) -> [V; N] {
    load_and::<V, W, N>(from, |j| prefetch_vector::<V, W>(ahead, j))
}

/// Loads a block; `before` is called with each vector's place before it is loaded.
#[inline(always)]
unsafe fn load_and<V: Vector, W: Element, const N: usize>(from: *const W, before: impl Fn(usize)) -> [V; N] {
    let mut block = [V::splat(0.0); N];
    unrolled!(N, |j| {
        before(j);
        if !in_twos(N) {
            block[j] = W::load(from.add(j * V::LANES));
        } else if in_twos(j) {
            [block[j], block[j + 1]] = W::load_two(from.add(j * V::LANES));
        }
    });
    block
}

/// Stores a block whose first lane is so many places after `noise`.
#[inline(always)]
pub(super) unsafe fn store_block<V: Vector, W: Element, const N: usize>(
    to: *mut W,
    w: [V; N],
    noise: u32,
    places: usize,
) {
    unrolled!(N, |j| {
        let at = j * V::LANES;
        if !in_twos(N) {
            W::store(to.add(at), w[j], noise, places + at);
        } else if in_twos(j) {
            W::store_two(to.add(at), [w[j], w[j + 1]], noise, places + at);
        }
    });
}

#[inline(always)]
pub(super) unsafe fn row_dots<V: Vector>(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((x.len(), out.len()), (width, rows.len()));
    let w = w.as_ptr();
    for Visit { i, row, next } in visits::<V, f32>(w, rows, width) {
        out[i] = row_dot::<V>(w.add(row), x.as_ptr(), width, w.wrapping_add(next));
    }
}

/// Product of two padded rows, which prefetches a third.
#[inline(always)]
unsafe fn row_dot<V: Vector>(w: *const f32, x: *const f32, width: usize, next: *const f32) -> f32 {
    let mut sums = [V::splat(0.0); 2];
    by_blocks!(V, width, |N, at| {
        unrolled!(N, |j| {
            prefetch_vector::<V, f32>(next.wrapping_add(at), j);
            let column = at + j * V::LANES;
            sums[j % 2] = V::load(w.add(column)).mul_add(V::load(x.add(column)), sums[j % 2]);
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
    let (w, out) = (w.as_ptr(), out.as_mut_ptr());
    for Visit { i, row, next } in visits::<V, W>(w, rows, width) {
        let coefficient = V::splat(coefficients[i]);
        by_blocks!(V, width, |N, at| {
            let block: [V; N] = load_ahead(w.add(row + at), w.wrapping_add(next + at));
            for (j, vector) in block.into_iter().enumerate() {
                let out = out.add(at + j * V::LANES);
                coefficient.mul_add(vector, V::load(out)).store(out);
            }
        });
    }
}

/// Vectors of a row of 128 bf16 in AVX-512, which lies in registers sooner than a copy is called.
const SHORT: usize = 4;

#[inline(always)]
pub(super) unsafe fn gather_rows<V: Vector>(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!(out.len(), rows.len() * width);
    let w = w.as_ptr();
    for Visit { i, row, next } in visits::<V, f32>(w, rows, width) {
        for j in 0..width / V::LANES {
            prefetch_vector::<V, f32>(w.wrapping_add(next), j);
        }
        let to = out.as_mut_ptr().add(i * width);
        if width == SHORT * V::LANES {
            let vectors: [V; SHORT] = std::array::from_fn(|j| V::load(w.add(row + j * V::LANES)));
            for (j, vector) in vectors.into_iter().enumerate() {
                vector.store(to.add(j * V::LANES));
            }
            continue;
        }
        // A call of the C library's copy: of longer rows, vectors of our own took a third more time.
        w.add(row).copy_to_nonoverlapping(to, width);
    }
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
    let (w, x) = (w.as_ptr(), x.as_ptr());
    for Visit { i, row, next } in visits::<V, W>(w, pairs.rows, width) {
        let range = pairs.range(i);
        let (columns, out) = (&pairs.columns[range.clone()], &mut out[range]);
        by_blocks!(V, width, |N, at| {
            let weights: [V; N] = load_ahead(w.add(row + at), w.wrapping_add(next + at));
            for (&column, out) in columns.iter().zip(&mut *out) {
                let x = x.add(column as usize * width + at);
                let mut sums = [V::splat(0.0); 2];
                unrolled!(N, |j| {
                    sums[j % 2] = weights[j].mul_add(V::load(x.add(j * V::LANES)), sums[j % 2]);
                });
                let sum = sums[0].add(sums[1]).sum();
                *out = if at == 0 { sum } else { *out + sum };
            }
        });
    }
}

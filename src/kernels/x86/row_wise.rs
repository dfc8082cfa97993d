//! Rows with one second moment each: see [`crate::kernels::row_wise`].

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{by_blocks, gradient_block, load_block, rows_ahead, visits};
use super::storage::{Element, prefetch_vector};
use super::vector::{Vector, prefetch};
use crate::kernels::packed::{GOLDEN, mixed};
use crate::kernels::row_wise::{RowWiseRows, rate};
use crate::kernels::{GRADIENT, Pairs, check};
use crate::network::AdamStep;

#[inline(always)]
pub(super) unsafe fn row_update<V: Vector, W: Element>(
    state: RowWiseRows<'_, W>,
    width: usize,
    rows: &[u32],
    gradients: &[f32],
    step: AdamStep,
) {
    check::rows(rows, width, state.checked_len(width));
    assert_eq!(gradients.len(), rows.len() * width);
    let mut gradients = gradients.chunks_exact(width);
    update_rows::<V, W>(state, width, rows, step, |_, kept| {
        let gradient = gradients.next().expect("a gradient a row").as_ptr();
        let mut squares = V::splat(0.0);
        by_blocks!(V, width, |N, at| {
            let block: [V; N] = load_block(gradient.add(at));
            squares = keep_block(block, kept.add(at), squares);
        });
        squares.sum()
    });
}

#[inline(always)]
pub(super) unsafe fn pair_update<V: Vector, W: Element>(
    state: RowWiseRows<'_, W>,
    x: &[f32],
    dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, state.checked_len(width), x.len(), g.len()) {
        return;
    }
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len());
            update_pairs::<V, W, true>(state, x.as_ptr(), dx.as_mut_ptr(), width, pairs, g, step);
        }
        None => update_pairs::<V, W, false>(state, x.as_ptr(), std::ptr::null_mut(), width, pairs, g, step),
    }
}

#[inline(always)]
unsafe fn update_pairs<V: Vector, W: Element, const DX: bool>(
    state: RowWiseRows<'_, W>,
    x: *const f32,
    dx: *mut f32,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    let mut ranges = pairs.ranges();
    update_rows::<V, W>(state, width, pairs.rows, step, |w, kept| {
        let range = ranges.next().expect("pairs of every row");
        let (columns, g) = (&pairs.columns[range.clone()], &g[range]);
        let mut squares = V::splat(0.0);
        by_blocks!(V, width, |N, at| {
            let (w, x, dx) = (w.add(at), x.add(at), dx.wrapping_add(at));
            let block: [V; N] = gradient_block::<V, W, DX, N>(w, x, dx, width, columns, g);
            squares = keep_block(block, kept.add(at), squares);
        });
        squares.sum()
    });
}

/// Stores a block of gradients and adds their squares to `squares`.
#[inline(always)]
unsafe fn keep_block<V: Vector, const N: usize>(block: [V; N], kept: *mut f32, mut squares: V) -> V {
    for (j, g) in block.into_iter().enumerate() {
        let g = g.keep(GRADIENT);
        g.store(kept.add(j * V::LANES));
        squares = g.mul_add(g, squares);
    }
    squares
}

/// Moves the rows listed; `gradient` is given the weights of each in turn, writes its gradient and returns the sum of
/// that one's squares.
#[inline(always)]
unsafe fn update_rows<V: Vector, W: Element>(
    state: RowWiseRows<'_, W>,
    width: usize,
    rows: &[u32],
    step: AdamStep,
    mut gradient: impl FnMut(*const W, *mut f32) -> f32,
) {
    let RowWiseRows { w, v, columns, seed } = state;
    let (w, v, mut noise) = (w.as_mut_ptr(), v.as_mut_ptr(), mixed(seed));
    let mut kept = vec![0.0; width];
    let kept = kept.as_mut_ptr();
    let visits = visits::<V>(rows, rows_ahead(width, size_of::<W>()), width, |at, j| {
        prefetch_vector::<V, W>(w.wrapping_add(at), j);
    });
    for (row, next) in visits {
        prefetch(v.wrapping_add(next).cast());
        let (own, ahead) = (w.add(row * width), w.wrapping_add(next * width));
        let squares = gradient(own, kept);
        let rate = V::splat(-rate(&mut *v.add(row), squares, columns, step));
        for j in 0..width / V::LANES {
            prefetch_vector::<V, W>(ahead, j);
            let at = own.add(j * V::LANES);
            let moved = rate.mul_add(V::load(kept.add(j * V::LANES)), W::load(at));
            W::store(at, moved, noise.wrapping_add(GOLDEN.wrapping_mul((j * V::LANES) as u32)));
        }
        noise = noise.wrapping_add(GOLDEN.wrapping_mul(width as u32));
    }
}

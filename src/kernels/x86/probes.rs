//! The probes of [`crate::kernels::roofline`]: nothing but the traffic, nothing but the arithmetic.

#![allow(unsafe_op_in_unsafe_fn)]

use super::rows::{Visit, by_blocks, load_ahead, load_block, with_next};
use super::vector::Vector;
use crate::kernels::check;

#[inline(always)]
unsafe fn probe_block<V: Vector, const N: usize>(from: *const f32, next: *const f32, ahead: usize) -> [V; N] {
    if ahead > 0 { load_ahead(from, next) } else { load_block(from) }
}

/// See [`super::roofline::Probes`].
#[inline(always)]
pub(super) unsafe fn read_rows<V: Vector>(w: &[f32], width: usize, rows: &[u32], ahead: usize) -> f32 {
    check::rows(rows, width, w.len());
    let w = w.as_ptr();
    let mut sum = V::splat(0.0);
    for Visit { row, next, .. } in with_next(rows, ahead, width) {
        by_blocks!(V, width, |N, at| {
            let mut block = probe_block::<V, N>(w.add(row + at), w.wrapping_add(next + at), ahead);
            // Pairwise, or the additions would wait for one another.
            let mut n = N;
            while n > 1 {
                n /= 2;
                for j in 0..n {
                    block[j] = block[j].add(block[j + n]);
                }
            }
            sum = sum.add(block[0]);
        });
    }
    sum.sum()
}

/// See [`super::roofline::Probes`].
#[inline(always)]
pub(super) unsafe fn change_rows<V: Vector>(w: &mut [f32], width: usize, rows: &[u32], ahead: usize) {
    check::rows(rows, width, w.len());
    // What changes nothing, but the compiler cannot know.
    let (w, highest) = (w.as_mut_ptr(), V::splat(std::hint::black_box(f32::INFINITY)));
    for Visit { row, next, .. } in with_next(rows, ahead, width) {
        by_blocks!(V, width, |N, at| {
            let block = probe_block::<V, N>(w.add(row + at), w.wrapping_add(next + at), ahead);
            for (j, vector) in block.into_iter().enumerate() {
                vector.min(highest).store(w.add(row + at + j * V::LANES));
            }
        });
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

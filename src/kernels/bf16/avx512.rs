//! The products in AVX512-BF16: the f32 kernel's tile of 8 rows by two vectors ([`crate::kernels::gemm`]), with a pair
//! of numbers in every lane.

// Rows and vectors of a tile are counted, not iterated: the same counters address A, B and C.
#![allow(clippy::needless_range_loop)]

use super::{CHUNK, PairProduct, TILE};
use crate::kernels::gemm::{Ahead, broadcast};
use std::arch::x86_64::*;

/// Rows of a tile.
const ROWS: usize = 8;

/// Runs the product.
///
/// # Safety
/// Needs AVX512-BF16; sizes must be multiples of 32 and the operands hold them.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn run(p: &PairProduct<'_>, c: *mut f32, ahead: &mut Ahead) {
    for j in (0..p.n).step_by(32) {
        for i in (0..p.m).step_by(ROWS) {
            let (line, lines) = ahead.take(p.parts.terms().len() * p.k / 8);
            // SAFETY: the tile lies inside C, its rows inside A, its columns inside B.
            unsafe {
                let (a, b) = (p.a.as_ptr().add(i * p.pairs()), p.b.as_ptr().add(j * p.pairs()));
                let (ahead, step) = if lines == 0 { (b.cast(), 0) } else { (line, 64) };
                multiply(p, a, b, c.add(i * p.n + j), ahead, step);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
unsafe fn multiply(
    p: &PairProduct<'_>,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    mut ahead: *const i8,
    ahead_step: usize,
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    if p.accumulate {
        for i in 0..ROWS {
            for j in 0..2 {
                // SAFETY: inside C.
                sums[i][j] = unsafe { _mm512_loadu_ps(c.add(i * p.n + 16 * j)) };
            }
        }
    }
    // One pointer for three rows: x86 addresses base, base + s and base + 2s.
    let a = [0, 1, 2].map(|i| a.wrapping_add(3 * i * p.pairs()).cast::<f32>());
    let stride = 4 * p.pairs();
    macro_rules! step {
        ($at:literal, $a:ident, $b:ident) => {{
            // SAFETY: inside B, and 16 pairs are 32 numbers.
            let vectors: [__m512bh; 2] = unsafe { [0, 16].map(|j| $b.add(j).cast::<__m512bh>().read_unaligned()) };
            $b = $b.wrapping_add(32);
            for i in 0..ROWS {
                // SAFETY: inside A; a pair is 32 bits whatever they mean.
                let pair: __m512bh = unsafe { std::mem::transmute(broadcast::<{ 4 * $at }>($a[i / 3], stride, i % 3)) };
                for j in 0..2 {
                    sums[i][j] = _mm512_dpbf16_ps(sums[i][j], pair, vectors[j]);
                }
            }
        }};
    }
    for chunk in (0..p.pairs()).step_by(p.parts as usize * CHUNK) {
        for (x, y) in p.parts.terms() {
            let mut a = a.map(|a| a.wrapping_add(chunk + x * CHUNK));
            let mut b = b.wrapping_add((chunk + y * CHUNK) * TILE);
            for _ in 0..CHUNK / 4 {
                _mm_prefetch::<_MM_HINT_T1>(ahead);
                ahead = ahead.wrapping_add(ahead_step);
                step!(0, a, b);
                step!(1, a, b);
                step!(2, a, b);
                step!(3, a, b);
                a = a.map(|a| a.wrapping_add(4));
            }
        }
    }
    for i in 0..ROWS {
        for j in 0..2 {
            // SAFETY: inside C.
            unsafe { _mm512_storeu_ps(c.add(i * p.n + 16 * j), sums[i][j]) };
        }
    }
}

//! AVX-512: 16 lanes, 32 registers, masks for partial vectors.

use super::generic::kernel_set;
use super::vector::Vector;
use std::arch::x86_64::*;

kernel_set!("avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", __m512);

/// A mask of the first `n < 16` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    (1 << n) - 1
}

#[allow(unsafe_op_in_unsafe_fn)]
impl Vector for __m512 {
    const LANES: usize = 16;
    const BLOCK: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        _mm512_storeu_ps(to, self);
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, fill: Self) -> Self {
        _mm512_mask_loadu_ps(fill, first(n), from)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        _mm512_mask_storeu_ps(to, first(n), self);
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, indices: *const u32) -> Self {
        _mm512_i32gather_ps::<4>(_mm512_loadu_si512(indices.cast()), from)
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        _mm512_add_ps(self, other)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        _mm512_sub_ps(self, other)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        _mm512_mul_ps(self, other)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        _mm512_fmadd_ps(self, factor, term)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        _mm512_max_ps(self, other)
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        _mm512_min_ps(self, other)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        _mm512_div_ps(self, other)
    }

    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        _mm512_sqrt_ps(self)
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(self)
    }

    #[inline(always)]
    unsafe fn scale(self, exponent: Self) -> Self {
        _mm512_scalef_ps(self, exponent)
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        _mm512_reduce_add_ps(self)
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        _mm512_reduce_max_ps(self)
    }
}

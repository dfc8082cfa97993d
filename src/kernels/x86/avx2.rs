//! AVX2 with FMA: 8 lanes, 16 registers.

use super::kernel_set;
use super::vector::Vector;
use crate::kernels::packed::GOLDEN;
use half::bf16;
use std::arch::x86_64::*;

kernel_set!("avx2", "avx2,fma", __m256);

/// The same for a CPU on which rows are better prefetched into the first-level cache.
pub(in crate::kernels) mod near {
    use super::super::{kernel_set, near::Near};
    use half::bf16;
    use std::arch::x86_64::__m256;

    kernel_set!("avx2", "avx2,fma", Near<__m256>);
}

/// All bits set in the first `n < 8` lanes.
#[inline(always)]
unsafe fn first(n: usize) -> __m256i {
    static BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: eight values from index 8 - n lie inside the sixteen.
    unsafe { _mm256_loadu_si256(BITS.as_ptr().add(8 - n).cast()) }
}

/// What each lane is rounded with, so many places after `noise`, which has 16 bits. Where the places are known to the
/// compiler, one addition.
#[inline(always)]
unsafe fn lanes(noise: u32, places: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let lane = _mm256_add_epi32(lane, _mm256_set1_epi32(places as i32));
        let steps = _mm256_mullo_epi32(lane, _mm256_set1_epi32(GOLDEN as i32));
        let steps = _mm256_and_si256(steps, _mm256_set1_epi32(0xffff));
        _mm256_add_epi16(_mm256_set1_epi32(noise as i32), steps)
    }
}

/// Of every set of lanes the numbers, a byte each, lowest first.
static CHOSEN: [u64; 256] = {
    let mut chosen = [0; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut found) = (0, 0);
        while lane < 8 {
            if set >> lane & 1 == 1 {
                chosen[set] |= lane << (8 * found);
                found += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    chosen
};

#[allow(unsafe_op_in_unsafe_fn)]
impl Vector for __m256 {
    const LANES: usize = 8;
    const BLOCK: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        _mm256_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        _mm256_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        _mm256_storeu_ps(to, self);
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, fill: Self) -> Self {
        let mask = first(n);
        _mm256_blendv_ps(fill, _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask))
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        _mm256_maskstore_ps(to, first(n), self);
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, indices: *const u32) -> Self {
        _mm256_i32gather_ps::<4>(from, _mm256_loadu_si256(indices.cast()))
    }

    #[inline(always)]
    unsafe fn load_moments(from: *const u32) -> (Self, Self) {
        let words = _mm256_loadu_si256(from.cast());
        let m = _mm256_and_si256(words, _mm256_set1_epi32(0xffff_0000u32 as i32));
        (_mm256_castsi256_ps(m), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)))
    }

    #[inline(always)]
    unsafe fn store_moments(to: *mut u32, m: Self, v: Self, noise: u32, places: usize) {
        let noise = lanes(noise >> 16, places);
        let m = _mm256_add_epi32(_mm256_castps_si256(m), _mm256_set1_epi32(0x8000));
        let v = _mm256_srli_epi32::<16>(_mm256_add_epi32(_mm256_castps_si256(v), noise));
        let m = _mm256_and_si256(m, _mm256_set1_epi32(0xffff_0000u32 as i32));
        _mm256_storeu_si256(to.cast(), _mm256_or_si256(m, v));
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, noise: u32, places: usize) {
        let noise = lanes(noise & 0xffff, places);
        let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(_mm256_castps_si256(self), noise));
        // Each 128 bits packed on their own; the first and the third quarter are what is wanted.
        let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(rounded, rounded));
        _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(packed));
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        _mm256_add_ps(self, other)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        _mm256_sub_ps(self, other)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        _mm256_mul_ps(self, other)
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
        _mm256_fmadd_ps(self, factor, term)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        _mm256_max_ps(self, other)
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        _mm256_min_ps(self, other)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        _mm256_div_ps(self, other)
    }

    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        _mm256_sqrt_ps(self)
    }

    #[inline(always)]
    unsafe fn keep(self, bits: u32) -> Self {
        let set = _mm256_and_si256(_mm256_castps_si256(self), _mm256_set1_epi32(bits as i32));
        let none = _mm256_cmpeq_epi32(set, _mm256_setzero_si256());
        _mm256_andnot_ps(_mm256_castsi256_ps(none), self)
    }

    #[inline(always)]
    unsafe fn beyond(self, least: Self) -> u32 {
        let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), self);
        _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(magnitude, least)) as u32
    }

    #[inline(always)]
    unsafe fn at_least(self, least: Self) -> Self {
        let sign = _mm256_set1_ps(-0.0);
        let magnitude = _mm256_max_ps(_mm256_andnot_ps(sign, self), least);
        _mm256_or_ps(_mm256_and_ps(sign, self), magnitude)
    }

    #[inline(always)]
    unsafe fn store_chosen(self, lanes: u32, to: *mut f32) {
        let order = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(CHOSEN[lanes as usize] as i64));
        _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(self, order));
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self)
    }

    /// In two steps, each with a factor that is a normal number, so that results below the normal ones come out right.
    #[inline(always)]
    unsafe fn scale(self, exponent: Self) -> Self {
        let whole = _mm256_cvtps_epi32(exponent);
        let half = _mm256_srai_epi32::<1>(whole);
        let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
        _mm256_mul_ps(_mm256_mul_ps(self, power(half)), power(_mm256_sub_epi32(whole, half)))
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        let four = _mm_max_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }
}

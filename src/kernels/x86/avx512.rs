//! AVX-512: 16 lanes, 32 registers, masks for partial vectors.

use super::kernel_set;
use super::vector::Vector;
use crate::kernels::packed::GOLDEN;
use half::bf16;
use std::arch::x86_64::*;

kernel_set!("avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", __m512);

/// The same for a CPU on which rows are better prefetched into the first-level cache.
pub(in crate::kernels) mod near {
    use super::super::{kernel_set, near::Near};
    use half::bf16;
    use std::arch::x86_64::__m512;

    kernel_set!("avx512", "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma", Near<__m512>);
}

/// A mask of the first `n < 16` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    (1 << n) - 1
}

/// What each lane is rounded with, so many places after `noise`, which has 16 bits. Where the places are known to the
/// compiler, one addition.
#[inline(always)]
unsafe fn lanes(noise: u32, places: usize) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let lane = _mm512_add_epi32(lane, _mm512_set1_epi32(places as i32));
        let steps = _mm512_mullo_epi32(lane, _mm512_set1_epi32(GOLDEN as i32));
        let steps = _mm512_and_si512(steps, _mm512_set1_epi32(0xffff));
        _mm512_add_epi16(_mm512_set1_epi32(noise as i32), steps)
    }
}

/// Takes the 16 halves from `first` on, each to the upper half of a lane.
#[inline(always)]
unsafe fn upper_from(first: u16) -> __m512i {
    let index: [u16; 32] = std::array::from_fn(|i| first + i as u16 / 2);
    // SAFETY: 64 bytes are read of 64.
    unsafe { _mm512_loadu_si512(index.as_ptr().cast()) }
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
    unsafe fn load_moments(from: *const u32) -> (Self, Self) {
        let words = _mm512_loadu_si512(from.cast());
        let m = _mm512_and_si512(words, _mm512_set1_epi32(0xffff_0000u32 as i32));
        (_mm512_castsi512_ps(m), _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)))
    }

    #[inline(always)]
    unsafe fn store_moments(to: *mut u32, m: Self, v: Self, noise: u32, places: usize) {
        let noise = lanes(noise >> 16, places);
        let m = _mm512_add_epi32(_mm512_castps_si512(m), _mm512_set1_epi32(0x8000));
        let v = _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_castps_si512(v), noise));
        // (m & upper half) | v, said in a way that the compiler does not make a slower permutation of.
        let upper = _mm512_set1_epi32(0xffff_0000u32 as i32);
        _mm512_storeu_si512(to.cast(), _mm512_ternarylogic_epi32::<0b1110_1010>(m, upper, v));
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
    }

    /// Every half of 64 bytes goes to the upper half of its lane: fewer instructions than widening and shifting.
    #[inline(always)]
    unsafe fn load_two_bf16(from: *const bf16) -> [Self; 2] {
        const UPPER: __mmask32 = 0xaaaa_aaaa;
        let halves = _mm512_loadu_si512(from.cast());
        let first = _mm512_maskz_permutexvar_epi16(UPPER, upper_from(0), halves);
        let second = _mm512_maskz_permutexvar_epi16(UPPER, upper_from(16), halves);
        [_mm512_castsi512_ps(first), _mm512_castsi512_ps(second)]
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, noise: u32, places: usize) {
        let noise = lanes(noise & 0xffff, places);
        let rounded = _mm512_add_epi32(_mm512_castps_si512(self), noise);
        _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)));
    }

    /// One permutation takes the upper halves of both.
    #[inline(always)]
    unsafe fn store_two_bf16([first, second]: [Self; 2], to: *mut bf16, noise: u32, places: usize) {
        let rounded = |w: Self, places| _mm512_add_epi32(_mm512_castps_si512(w), lanes(noise & 0xffff, places));
        let [first, second] = [rounded(first, places), rounded(second, places + Self::LANES)];
        let index: [u16; 32] = std::array::from_fn(|i| (2 * i + 1) as u16);
        let index = _mm512_loadu_si512(index.as_ptr().cast());
        _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi16(first, index, second));
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

    /// By two estimates, each to within 2⁻¹⁴: a root and a division keep the unit they share busy for 22 cycles or so.
    #[inline(always)]
    unsafe fn over_root_about(self, square: Self, epsilon: Self) -> Self {
        let root = _mm512_mul_ps(square, _mm512_rsqrt14_ps(square));
        _mm512_mul_ps(self, _mm512_rcp14_ps(_mm512_add_ps(root, epsilon)))
    }

    #[inline(always)]
    unsafe fn keep(self, bits: u32) -> Self {
        let any = _mm512_test_epi32_mask(_mm512_castps_si512(self), _mm512_set1_epi32(bits as i32));
        _mm512_maskz_mov_ps(any, self)
    }

    #[inline(always)]
    unsafe fn beyond(self, least: Self) -> u32 {
        u32::from(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_abs_ps(self), least))
    }

    #[inline(always)]
    unsafe fn at_least(self, least: Self) -> Self {
        let sign = _mm512_set1_ps(-0.0);
        _mm512_or_ps(_mm512_and_ps(sign, self), _mm512_max_ps(_mm512_abs_ps(self), least))
    }

    /// Compressed in a register: some CPUs are slow to do so on the way to memory.
    #[inline(always)]
    unsafe fn store_chosen(self, lanes: u32, to: *mut f32) {
        _mm512_storeu_ps(to, _mm512_maskz_compress_ps(lanes as u16, self));
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

/// Dot products of bf16 pairs, for the roofline: `rounds` times a fixed number; returns how many operations. None where
/// the CPU has no such instruction.
pub(in crate::kernels) fn bf16_dot() -> Option<fn(rounds: usize) -> f64> {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn compiled(rounds: usize) -> f64 {
        const CHAINS: usize = 12;
        let one = _mm512_set1_epi16(std::hint::black_box(0x3f80i16));
        // SAFETY: both are 512 bits of numbers.
        let pairs: __m512bh = unsafe { std::mem::transmute(one) };
        let mut chains = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..rounds {
            for chain in &mut chains {
                *chain = _mm512_dpbf16_ps(*chain, pairs, pairs);
            }
        }
        let total = chains.into_iter().fold(_mm512_setzero_ps(), |total, chain| _mm512_add_ps(total, chain));
        std::hint::black_box(_mm512_reduce_add_ps(total));
        (rounds * CHAINS * 64) as f64
    }
    // SAFETY: the CPU has the feature where this is handed out.
    is_x86_feature_detected!("avx512bf16").then_some(|rounds| unsafe { compiled(rounds) })
}

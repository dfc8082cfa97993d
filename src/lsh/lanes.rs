//! The handful of sixteen-lane operations that the bulk hash kernels are made of, in three instruction sets.
//!
//! A kernel is written once, generic over [`Lanes`]; [`simd_versions`](super::block::simd_versions) compiles it for
//! each set. A value of [`Avx512`] or [`Avx2`] is the proof that the CPU has been asked, which is what makes the
//! methods safe. [`Portable`] is the meaning of each operation, spelt out; the others must agree with it bit for bit.

/// Rows hashed side by side.
pub(super) const LANES: usize = 16;

/// Operations on sixteen f32 or i32, one of each row.
pub(super) trait Lanes: Copy {
    type F: Copy;
    type I: Copy;

    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn load_int(self, x: &[i32; LANES]) -> Self::I;
    fn store(self, x: Self::F) -> [f32; LANES];
    fn store_int(self, x: Self::I) -> [i32; LANES];
    fn splat(self, x: f32) -> Self::F;
    fn splat_int(self, x: i32) -> Self::I;
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;
    /// The larger of `largest` and |x|; `largest` is not negative.
    fn larger_magnitude(self, largest: Self::F, x: Self::F) -> Self::F;
    /// Rounds towards zero; for values that fit an i32.
    fn truncate(self, x: Self::F) -> Self::I;
    /// `(best, code)`, or `(value, position)` in the lanes where `value > best`.
    fn winner(self, best: Self::F, code: Self::I, value: Self::F, position: i32) -> (Self::F, Self::I);
    /// `(index << shift) + code`.
    fn pack(self, index: Self::I, shift: u32, code: Self::I) -> Self::I;
    /// 1 where `x < 0`, else 0.
    fn negative(self, x: Self::F) -> Self::I;
    fn negative_int(self, x: Self::I) -> Self::I;
}

/// Plain loops.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type F = [f32; LANES];
    type I = [i32; LANES];

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }
    #[inline(always)]
    fn load_int(self, x: &[i32; LANES]) -> Self::I {
        *x
    }
    #[inline(always)]
    fn store(self, x: Self::F) -> [f32; LANES] {
        x
    }
    #[inline(always)]
    fn store_int(self, x: Self::I) -> [i32; LANES] {
        x
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn splat_int(self, x: i32) -> Self::I {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn larger_magnitude(self, largest: Self::F, x: Self::F) -> Self::F {
        std::array::from_fn(|i| if x[i].abs() > largest[i] { x[i].abs() } else { largest[i] })
    }
    #[inline(always)]
    fn truncate(self, x: Self::F) -> Self::I {
        x.map(|x| x as i32)
    }
    #[inline(always)]
    fn winner(self, best: Self::F, code: Self::I, value: Self::F, position: i32) -> (Self::F, Self::I) {
        (
            std::array::from_fn(|i| if value[i] > best[i] { value[i] } else { best[i] }),
            std::array::from_fn(|i| if value[i] > best[i] { position } else { code[i] }),
        )
    }
    #[inline(always)]
    fn pack(self, index: Self::I, shift: u32, code: Self::I) -> Self::I {
        std::array::from_fn(|i| (index[i] << shift) + code[i])
    }
    #[inline(always)]
    fn negative(self, x: Self::F) -> Self::I {
        x.map(|x| i32::from(x < 0.0))
    }
    #[inline(always)]
    fn negative_int(self, x: Self::I) -> Self::I {
        x.map(|x| i32::from(x < 0))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

// SAFETY, for every `unsafe` here: the intrinsics need only that the CPU has the instructions, and a value of `Avx2` or
// `Avx512` exists only where it has; loads and stores go through references to sixteen numbers.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Lanes};
    use std::arch::x86_64::*;

    /// Two vectors of eight.
    #[derive(Clone, Copy)]
    pub struct Avx2(());

    impl Avx2 {
        /// # Safety
        /// The CPU must have AVX2.
        #[inline(always)]
        pub unsafe fn new() -> Self {
            Self(())
        }
    }

    impl Lanes for Avx2 {
        type F = [__m256; 2];
        type I = [__m256i; 2];

        #[inline(always)]
        fn load(self, x: &[f32; LANES]) -> Self::F {
            unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x[8..].as_ptr())] }
        }
        #[inline(always)]
        fn load_int(self, x: &[i32; LANES]) -> Self::I {
            unsafe { [_mm256_loadu_si256(x.as_ptr().cast()), _mm256_loadu_si256(x[8..].as_ptr().cast())] }
        }
        #[inline(always)]
        fn store(self, x: Self::F) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr(), x[0]);
                _mm256_storeu_ps(out[8..].as_mut_ptr(), x[1]);
            }
            out
        }
        #[inline(always)]
        fn store_int(self, x: Self::I) -> [i32; LANES] {
            let mut out = [0; LANES];
            unsafe {
                _mm256_storeu_si256(out.as_mut_ptr().cast(), x[0]);
                _mm256_storeu_si256(out[8..].as_mut_ptr().cast(), x[1]);
            }
            out
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            unsafe { [_mm256_set1_ps(x); 2] }
        }
        #[inline(always)]
        fn splat_int(self, x: i32) -> Self::I {
            unsafe { [_mm256_set1_epi32(x); 2] }
        }
        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
            unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        fn larger_magnitude(self, largest: Self::F, x: Self::F) -> Self::F {
            let half = |largest, x| unsafe { _mm256_max_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x), largest) };
            [half(largest[0], x[0]), half(largest[1], x[1])]
        }
        #[inline(always)]
        fn truncate(self, x: Self::F) -> Self::I {
            unsafe { [_mm256_cvttps_epi32(x[0]), _mm256_cvttps_epi32(x[1])] }
        }
        #[inline(always)]
        fn winner(self, best: Self::F, code: Self::I, value: Self::F, position: i32) -> (Self::F, Self::I) {
            let half = |best, code, value| unsafe {
                let wins = _mm256_cmp_ps::<_CMP_GT_OQ>(value, best);
                let code = _mm256_blendv_epi8(code, _mm256_set1_epi32(position), _mm256_castps_si256(wins));
                // max(a, b) is a > b ? a : b, also where one is not a number.
                (_mm256_max_ps(value, best), code)
            };
            let (low, high) = (half(best[0], code[0], value[0]), half(best[1], code[1], value[1]));
            ([low.0, high.0], [low.1, high.1])
        }
        #[inline(always)]
        fn pack(self, index: Self::I, shift: u32, code: Self::I) -> Self::I {
            unsafe {
                let shift = _mm_cvtsi32_si128(shift as i32);
                [
                    _mm256_add_epi32(_mm256_sll_epi32(index[0], shift), code[0]),
                    _mm256_add_epi32(_mm256_sll_epi32(index[1], shift), code[1]),
                ]
            }
        }
        #[inline(always)]
        fn negative(self, x: Self::F) -> Self::I {
            x.map(|x| unsafe {
                let below = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_setzero_ps());
                _mm256_srli_epi32::<31>(_mm256_castps_si256(below))
            })
        }
        #[inline(always)]
        fn negative_int(self, x: Self::I) -> Self::I {
            x.map(|x| unsafe { _mm256_srli_epi32::<31>(x) })
        }
    }

    /// One vector of sixteen.
    #[derive(Clone, Copy)]
    pub struct Avx512(());

    impl Avx512 {
        /// # Safety
        /// The CPU must have AVX-512F.
        #[inline(always)]
        pub unsafe fn new() -> Self {
            Self(())
        }
    }

    impl Lanes for Avx512 {
        type F = __m512;
        type I = __m512i;

        #[inline(always)]
        fn load(self, x: &[f32; LANES]) -> Self::F {
            unsafe { _mm512_loadu_ps(x.as_ptr()) }
        }
        #[inline(always)]
        fn load_int(self, x: &[i32; LANES]) -> Self::I {
            unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
        }
        #[inline(always)]
        fn store(self, x: Self::F) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
            out
        }
        #[inline(always)]
        fn store_int(self, x: Self::I) -> [i32; LANES] {
            let mut out = [0; LANES];
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
            out
        }
        #[inline(always)]
        fn splat(self, x: f32) -> Self::F {
            unsafe { _mm512_set1_ps(x) }
        }
        #[inline(always)]
        fn splat_int(self, x: i32) -> Self::I {
            unsafe { _mm512_set1_epi32(x) }
        }
        #[inline(always)]
        fn add(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        fn larger_magnitude(self, largest: Self::F, x: Self::F) -> Self::F {
            unsafe { _mm512_max_ps(_mm512_abs_ps(x), largest) }
        }
        #[inline(always)]
        fn truncate(self, x: Self::F) -> Self::I {
            unsafe { _mm512_cvttps_epi32(x) }
        }
        #[inline(always)]
        fn winner(self, best: Self::F, code: Self::I, value: Self::F, position: i32) -> (Self::F, Self::I) {
            unsafe {
                let wins = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, best);
                (_mm512_max_ps(value, best), _mm512_mask_set1_epi32(code, wins, position))
            }
        }
        #[inline(always)]
        fn pack(self, index: Self::I, shift: u32, code: Self::I) -> Self::I {
            unsafe { _mm512_add_epi32(_mm512_sll_epi32(index, _mm_cvtsi32_si128(shift as i32)), code) }
        }
        #[inline(always)]
        fn negative(self, x: Self::F) -> Self::I {
            unsafe {
                let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_setzero_ps());
                _mm512_maskz_set1_epi32(below, 1)
            }
        }
        #[inline(always)]
        fn negative_int(self, x: Self::I) -> Self::I {
            unsafe { _mm512_srli_epi32::<31>(x) }
        }
    }
}

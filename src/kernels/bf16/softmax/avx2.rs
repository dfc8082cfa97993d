//! With AVX2 and FMA.

use super::super::TILE;
use crate::kernels::GRADIENT;
use std::arch::x86_64::*;
use std::array::from_fn;
use std::f32::consts::LOG2_E;

/// Numbers of a vector.
const V: usize = 8;

/// Logits this far below the largest, and farther, count alike in a sum, to which they bring nothing: 2^x is still a
/// normal number.
const LOWEST: f32 = -125.0;

/// See [`super::exp_rows`]. 32 samples at a time: first maxima, then exponentials.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn exp_rows(z: &[f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32], e: &mut [u32]) {
    for at in (0..samples).step_by(TILE) {
        // SAFETY: the caller has checked the lengths.
        unsafe {
            let load = |row: usize| from_fn(|i| _mm256_loadu_ps(z.as_ptr().add(row * samples + at + V * i)));
            let mut largest = [_mm256_set1_ps(f32::NEG_INFINITY); 4];
            for (row, &bias) in bias.iter().enumerate() {
                let (z, bias): ([_; 4], _) = (load(row), _mm256_set1_ps(bias));
                largest = from_fn(|i| _mm256_max_ps(_mm256_add_ps(z[i], bias), largest[i]));
            }
            let to_base_2 = _mm256_set1_ps(LOG2_E);
            let shift = largest.map(|largest| _mm256_mul_ps(largest, to_base_2));
            let mut total = [_mm256_setzero_ps(); 4];
            for (row, &bias) in bias.iter().enumerate() {
                let (z, bias): ([_; 4], _) = (load(row), _mm256_set1_ps(bias * LOG2_E));
                let powers: [_; 4] = from_fn(|i| exp2(_mm256_sub_ps(_mm256_fmadd_ps(z[i], to_base_2, bias), shift[i])));
                total = from_fn(|i| _mm256_add_ps(total[i], powers[i]));
                for half in [0, 2] {
                    let rounded: [_; 2] = from_fn(|i| rounded(powers[half + i]));
                    // Each 128 bits are packed on their own.
                    let packed = _mm256_packus_epi32(rounded[0], rounded[1]);
                    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
                    let to = e.as_mut_ptr().add((row * samples + at) / 2 + V / 2 * half);
                    _mm256_storeu_si256(to.cast(), packed);
                }
            }
            for i in 0..4 {
                _mm256_storeu_ps(max.as_mut_ptr().add(at + V * i), largest[i]);
                _mm256_storeu_ps(sum.as_mut_ptr().add(at + V * i), total[i]);
            }
        }
    }
}

/// To the nearest bf16, halves up, in the lower halves.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(x: __m256) -> __m256i {
    _mm256_srli_epi32::<16>(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x8000)))
}

/// 2^x for x at most 0, with the polynomial of `avx512`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn exp2(x: __m256) -> __m256 {
    let x = _mm256_max_ps(_mm256_set1_ps(LOWEST), x);
    let below = _mm256_floor_ps(x);
    let r = _mm256_sub_ps(x, below);
    let mut power = _mm256_set1_ps(0.013_426_686);
    for coefficient in [0.052_242_473, 0.241_280_21, 0.693_044_84, 1.0] {
        power = _mm256_fmadd_ps(power, r, _mm256_set1_ps(coefficient));
    }
    // Between 1 and 2: the exponent can be added to.
    let exponent = _mm256_slli_epi32::<23>(_mm256_cvtps_epi32(below));
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(power), exponent))
}

/// See [`super::scale_rows`].
#[target_feature(enable = "avx2")]
pub unsafe fn scale_rows(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32]) {
    let pairs = scale.len() / 2;
    for at in (0..pairs).step_by(TILE / 2) {
        // SAFETY: the caller has checked the lengths: `pairs` of every row, twice as many scales.
        unsafe { scale_columns(e, scale, g, sums, at) };
    }
}

/// The same for 16 pairs of every row from pair `at` on.
#[target_feature(enable = "avx2")]
unsafe fn scale_columns(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32], at: usize) {
    let pairs = scale.len() / 2;
    let half = _mm256_set1_epi32(0x8000);
    let upper_half = _mm256_set1_epi32(0xFFFF_0000u32 as i32);
    let counts = _mm256_set1_epi16((GRADIENT >> 16) as i16);
    let none = _mm256_setzero_si256();
    // SAFETY: by the caller.
    unsafe {
        // Of 16 numbers those in lower halves, then those in upper ones.
        let scales: [_; 2] = from_fn(|i| {
            let from = scale.as_ptr().add(2 * at + 2 * V * i);
            let (first, second) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(V)));
            let in_order = |x| _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(x)));
            (
                in_order(_mm256_shuffle_ps::<0b10_00_10_00>(first, second)),
                in_order(_mm256_shuffle_ps::<0b11_01_11_01>(first, second)),
            )
        });
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut total = _mm256_setzero_ps();
            for (i, (lower_scale, upper_scale)) in scales.into_iter().enumerate() {
                let place = row * pairs + at + V * i;
                let words = _mm256_loadu_si256(e.as_ptr().add(place).cast());
                let lower = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), lower_scale);
                let upper = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_and_si256(words, upper_half)), upper_scale);
                total = _mm256_add_ps(total, _mm256_add_ps(lower, upper));
                let lower = _mm256_srli_epi32::<16>(_mm256_add_epi32(_mm256_castps_si256(lower), half));
                let upper = _mm256_add_epi32(_mm256_castps_si256(upper), half);
                let words = _mm256_blend_epi16::<0b1010_1010>(lower, upper);
                let vanish = _mm256_cmpeq_epi16(_mm256_and_si256(words, counts), none);
                _mm256_storeu_si256(g.as_mut_ptr().add(place).cast(), _mm256_andnot_si256(vanish, words));
            }
            let four = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            let total = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
            *sum = if at == 0 { total } else { *sum + total };
        }
    }
}

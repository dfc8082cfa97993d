//! With AVX-512, and AVX512-BF16 for rounding.

use super::super::TILE;
use crate::kernels::GRADIENT;
use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

/// Logits this far below the largest, and farther, count alike in a sum, to which they bring nothing: 2^x is still a
/// normal number.
const LOWEST: f32 = -125.0;

/// See [`super::exp_rows`].
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
pub unsafe fn exp_rows(z: &[f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32], e: &mut [u32]) {
    let mut at = 0;
    // SAFETY: the caller has checked the lengths.
    unsafe {
        while at + 4 * TILE <= samples {
            exp_columns::<4>(z, samples, bias, max, sum, e, at);
            at += 4 * TILE;
        }
        while at < samples {
            exp_columns::<1>(z, samples, bias, max, sum, e, at);
            at += TILE;
        }
    }
}

/// The same for 32·N samples from `at` on: first maxima, then exponentials.
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
unsafe fn exp_columns<const N: usize>(
    z: &[f32],
    samples: usize,
    bias: &[f32],
    max: &mut [f32],
    sum: &mut [f32],
    e: &mut [u32],
    at: usize,
) {
    use std::array::from_fn;
    // SAFETY: by the caller.
    unsafe {
        let load = |row: usize, i: usize| {
            let from = z.as_ptr().add(row * samples + at + TILE * i);
            [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))]
        };
        let mut largest = [[_mm512_set1_ps(f32::NEG_INFINITY); 2]; N];
        for (row, &bias) in bias.iter().enumerate() {
            let bias = _mm512_set1_ps(bias);
            for (i, largest) in largest.iter_mut().enumerate() {
                let z = load(row, i);
                *largest = from_fn(|half| _mm512_max_ps(_mm512_add_ps(z[half], bias), largest[half]));
            }
        }
        let to_base_2 = _mm512_set1_ps(LOG2_E);
        let shift = largest.map(|largest| largest.map(|largest| _mm512_mul_ps(largest, to_base_2)));
        let mut total = [[_mm512_setzero_ps(); 2]; N];
        for (row, &bias) in bias.iter().enumerate() {
            let bias = _mm512_set1_ps(bias * LOG2_E);
            for (i, (total, shift)) in total.iter_mut().zip(&shift).enumerate() {
                let z = load(row, i);
                let powers: [__m512; 2] =
                    from_fn(|half| exp2(_mm512_sub_ps(_mm512_fmadd_ps(z[half], to_base_2, bias), shift[half])));
                *total = from_fn(|half| _mm512_add_ps(total[half], powers[half]));
                let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(powers[1], powers[0]));
                _mm512_storeu_si512(e.as_mut_ptr().add((row * samples + at) / 2 + 16 * i).cast(), rounded);
            }
        }
        for (i, (largest, total)) in largest.iter().zip(&total).enumerate() {
            for half in 0..2 {
                let at = at + TILE * i + 16 * half;
                _mm512_storeu_ps(max.as_mut_ptr().add(at), largest[half]);
                _mm512_storeu_ps(sum.as_mut_ptr().add(at), total[half]);
            }
        }
    }
}

/// 2^x for x at most 0: x = n + r with 0 <= r < 1. Of the polynomials in r of degree 4 that begin with 1 this one has the
/// smallest relative error.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn exp2(x: __m512) -> __m512 {
    let x = _mm512_max_ps(x, _mm512_set1_ps(LOWEST));
    let r = _mm512_reduce_ps::<_MM_FROUND_TO_NEG_INF>(x);
    let mut power = _mm512_set1_ps(0.013_426_686);
    for coefficient in [0.052_242_473, 0.241_280_21, 0.693_044_84, 1.0] {
        power = _mm512_fmadd_ps(power, r, _mm512_set1_ps(coefficient));
    }
    // By the integer below x.
    _mm512_scalef_ps(power, x)
}

#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn scale_rows(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32]) {
    let (pairs, mut at) = (scale.len() / 2, 0);
    // SAFETY: the caller has checked the lengths: `pairs` of every row, twice as many scales.
    unsafe {
        while at + 64 <= pairs {
            scale_columns::<4>(e, scale, g, sums, at);
            at += 64;
        }
        while at < pairs {
            scale_columns::<1>(e, scale, g, sums, at);
            at += 16;
        }
    }
}

/// The same for `16·N` pairs of every row from pair `at` on.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn scale_columns<const N: usize>(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32], at: usize) {
    let pairs = scale.len() / 2;
    let half = _mm512_set1_epi32(0x8000);
    let upper_half = _mm512_set1_epi32(0xFFFF_0000u32 as i32);
    let counts = _mm512_set1_epi16((GRADIENT >> 16) as i16);
    // Of 32 numbers those in lower halves.
    let in_lower = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let in_upper = _mm512_add_epi32(in_lower, _mm512_set1_epi32(1));
    // SAFETY: by the caller.
    unsafe {
        let scales: [_; N] = std::array::from_fn(|i| {
            let from = scale.as_ptr().add(2 * at + 32 * i);
            let (first, second) = (_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)));
            let half = |numbers| _mm512_permutex2var_ps(first, numbers, second);
            (half(in_lower), half(in_upper))
        });
        for (row, sum) in sums.iter_mut().enumerate() {
            let mut total = _mm512_setzero_ps();
            for (i, (lower_scale, upper_scale)) in scales.into_iter().enumerate() {
                let place = row * pairs + at + 16 * i;
                let words = _mm512_loadu_si512(e.as_ptr().add(place).cast());
                let lower = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(words)), lower_scale);
                let upper = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_and_si512(words, upper_half)), upper_scale);
                total = _mm512_add_ps(total, _mm512_add_ps(lower, upper));
                let lower = _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_castps_si512(lower), half));
                let upper = _mm512_add_epi32(_mm512_castps_si512(upper), half);
                // (upper & upper_half) | lower.
                let words = _mm512_ternarylogic_epi32::<0b1110_1010>(upper, upper_half, lower);
                let words = _mm512_maskz_mov_epi16(_mm512_test_epi16_mask(words, counts), words);
                _mm512_storeu_si512(g.as_mut_ptr().add(place).cast(), words);
            }
            let total = _mm512_reduce_add_ps(total);
            *sum = if at == 0 { total } else { *sum + total };
        }
    }
}

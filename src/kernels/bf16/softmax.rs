//! Softmax over a block of logits, as in [`softmax`](crate::kernels::softmax), whose exponentials wait in bf16 for the
//! pass that makes gradients of them: half the memory traffic of f32, and less work than to compute them again.

use super::pack::{native, pack_rows};
use super::{Parts, TILE};
use crate::kernels::GRADIENT;
use crate::kernels::softmax::exp_block;
use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;

/// As [`exp_block`], but the exponentials go to `e`, in pairs along rows of `samples` numbers; `z` is work space afterwards.
/// What CPUs with bf16 compute is off by 3e-6 at most, a six-hundredth of what rounding takes.
///
/// # Panics
/// If `samples` is no multiple of [`TILE`], or the lengths differ.
pub fn exp_rows(z: &mut [f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32], e: &mut [u32]) {
    assert!(samples.is_multiple_of(TILE) && z.len() == samples * bias.len() && z.len() == 2 * e.len());
    assert!(max.len() == samples && sum.len() == samples);
    #[cfg(target_arch = "x86_64")]
    if native() {
        // SAFETY: the CPU has the features; the lengths are as asserted.
        return unsafe { avx512::exp_rows(z, samples, bias, max, sum, e) };
    }
    exp_block(z, samples, bias, max, sum);
    pack_rows(z, Parts::One, e);
}

/// `g[r][b] = e[r][b]·scale[b]`, both in pairs along rows of `scale.len()` numbers, and `sums[r]`, what row r of `g` adds up
/// to before rounding. What is too small to count in Adam becomes 0 ([`softmax`](crate::kernels::softmax)). No number is
/// negative.
///
/// # Panics
/// If the number of scales is no multiple of [`TILE`], or the lengths differ.
pub fn scale_rows(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32]) {
    assert!(scale.len().is_multiple_of(TILE));
    assert!(e.len() == g.len() && 2 * e.len() == scale.len() * sums.len());
    #[cfg(target_arch = "x86_64")]
    if crate::kernels::kernels().name == "avx512" {
        // SAFETY: the kernel set is chosen only where the CPU has its features; the lengths are as asserted.
        return unsafe { avx512::scale_rows(e, scale, g, sums) };
    }
    portable(e, scale, g, sums);
}

/// `g[at] = e[at]·scale − target`, of numbers counted along the rows, rounded once: the gradient of a true label's logit.
pub fn scale_less_target(e: &[u32], scale: f32, target: f32, at: usize, g: &mut [u32]) {
    let e = cast_slice::<u32, bf16>(e)[at].to_f32();
    cast_slice_mut::<u32, bf16>(g)[at] = bf16::from_f32(e * scale - target);
}

/// To the nearest bf16, halves up.
fn rounded(x: f32) -> u32 {
    let upper = (x.to_bits() + 0x8000) >> 16;
    if upper & GRADIENT >> 16 == 0 { 0 } else { upper }
}

fn portable(e: &[u32], scale: &[f32], g: &mut [u32], sums: &mut [f32]) {
    let pairs = (scale.len() / 2).max(1);
    for ((e, g), sum) in e.chunks_exact(pairs).zip(g.chunks_exact_mut(pairs)).zip(sums) {
        *sum = 0.0;
        for ((e, g), scale) in e.iter().zip(g).zip(scale.chunks_exact(2)) {
            let (lower, upper) = (f32::from_bits(e << 16) * scale[0], f32::from_bits(e & 0xFFFF_0000) * scale[1]);
            *sum += lower + upper;
            *g = rounded(lower) | rounded(upper) << 16;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{GRADIENT, TILE};
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_f32_rounded() {
        for (rows, samples) in [(1, 32), (7, 96), (40, 128)] {
            let value = |i: usize| if i.is_multiple_of(13) { -200.0 } else { (i * 29 % 97) as f32 / 10.0 - 4.0 };
            let bias: Vec<f32> = (0..rows).map(|r| value(r + 1) / 3.0).collect();
            let z: Vec<f32> = (0..rows * samples).map(value).collect();
            let outputs = || (z.clone(), vec![0.0; samples], vec![0.0; samples]);
            let ((mut plain, mut plain_max, mut plain_sum), (mut z, mut max, mut sum)) = (outputs(), outputs());
            exp_block(&mut plain, samples, &bias, &mut plain_max, &mut plain_sum);
            let mut e = vec![9; z.len() / 2];
            exp_rows(&mut z, samples, &bias, &mut max, &mut sum, &mut e);
            assert_eq!(max, plain_max);
            for (sum, plain) in sum.iter().zip(&plain_sum) {
                assert!((sum - plain).abs() <= 1e-5 * plain, "{sum} against {plain}");
            }
            for (i, plain) in plain.iter().enumerate() {
                let e = bf16::from_bits((e[i / 2] >> (i % 2 * 16)) as u16).to_f32();
                assert!((e - plain).abs() <= plain / 255.0 + 1e-30, "{e} for {plain}");
            }
        }
    }

    #[test]
    fn gradients_are_scaled_exponentials() {
        for (rows, samples) in [(1, 32), (3, 96), (40, 128), (7, 160)] {
            let exponential = |i: usize| if i.is_multiple_of(11) { 1e-30 } else { (i * 29 % 97 + 1) as f32 / 97.0 };
            let e: Vec<f32> = (0..rows * samples).map(exponential).collect();
            let scale: Vec<f32> = (0..samples).map(|b| (b % 5) as f32 / 10.0).collect();
            let mut kept = vec![0; e.len() / 2];
            pack_rows(&e, Parts::One, &mut kept);
            let (mut g, mut sums) = (vec![9; kept.len()], vec![9.0; rows]);
            scale_rows(&kept, &scale, &mut g, &mut sums);
            let (mut plain, mut plain_sums) = (vec![9; kept.len()], vec![9.0; rows]);
            portable(&kept, &scale, &mut plain, &mut plain_sums);
            assert_eq!(g, plain);
            for (sum, plain) in sums.iter().zip(&plain_sums) {
                assert!((sum - plain).abs() <= 1e-5 * plain, "{sum} against {plain}");
            }
            for (i, e) in e.iter().enumerate() {
                let got = bf16::from_bits((g[i / 2] >> (i % 2 * 16)) as u16).to_f32();
                let exact = e * scale[i % samples];
                let counts = if got == 0.0 { exact < 2e-19 } else { exact > 1e-19 };
                assert!(counts && (got == 0.0 || (got - exact).abs() <= exact / 127.0), "{got} for {exact}");
            }
            let last = e.len() - 1;
            scale_less_target(&kept, 0.75, 0.5, last, &mut g);
            let got = bf16::from_bits((g[last / 2] >> 16) as u16).to_f32();
            assert!((got - (e[last] * 0.75 - 0.5)).abs() <= 1.0 / 256.0);
            assert_eq!((g[last / 2] & 0xFFFF, &g[..last / 2]), (plain[last / 2] & 0xFFFF, &plain[..last / 2]));
            let exact: f32 = e[..samples].iter().zip(&scale).map(|(e, scale)| e * scale).sum();
            assert!((sums[0] - exact).abs() <= exact / 256.0);
        }
    }
}

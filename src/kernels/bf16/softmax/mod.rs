//! Softmax over a block of logits, as in [`softmax`](crate::kernels::softmax), whose exponentials wait in bf16 for the
//! pass that makes gradients of them: half the memory traffic of f32, and less work than to compute them again.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::pack::pack_rows;
use super::{Parts, TILE, vectors};
use crate::kernels::GRADIENT;
use crate::kernels::softmax::exp_block;
use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;

/// As [`exp_block`], but the exponentials go to `e`, in pairs along rows of `samples` numbers; `z` is work space afterwards.
/// What vectors compute is off by 3e-6 at most, a six-hundredth of what rounding takes.
///
/// # Panics
/// If `samples` is no multiple of [`TILE`], or the lengths differ.
pub fn exp_rows(z: &mut [f32], samples: usize, bias: &[f32], max: &mut [f32], sum: &mut [f32], e: &mut [u32]) {
    assert!(samples.is_multiple_of(TILE) && z.len() == samples * bias.len() && z.len() == 2 * e.len());
    assert!(max.len() == samples && sum.len() == samples);
    // SAFETY: the lengths are as asserted.
    vectors!(exp_rows(z, samples, bias, max, sum, e); return);
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
    // SAFETY: the lengths are as asserted.
    vectors!(scale_rows(e, scale, g, sums); return);
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

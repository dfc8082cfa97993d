//! f32 matrices rounded into pairs of bf16.

use crate::kernels::kernels;
use half::bf16;

/// Rounds to nearest even.
fn round(x: f32) -> u32 {
    u32::from(bf16::from_f32(x).to_bits())
}

/// Whether the CPU rounds to bf16 itself.
fn native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return kernels().name == "avx512" && std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Pairs along rows: `out[i]` holds elements 2i and 2i + 1. What lies beyond `from` is filled with zeros.
///
/// # Panics
/// If `from` does not fit, or its length is no multiple of 32.
pub fn pack_rows(from: &[f32], out: &mut [u32]) {
    assert!(from.len().is_multiple_of(32) && 2 * out.len() >= from.len());
    let (out, rest) = out.split_at_mut(from.len() / 2);
    rest.fill(0);
    #[cfg(target_arch = "x86_64")]
    if native() {
        // SAFETY: the CPU has the features; lengths are multiples of 32 and 16.
        return unsafe { vectors::pack_rows(from, out) };
    }
    for (pair, out) in from.chunks_exact(2).zip(out) {
        *out = round(pair[0]) | round(pair[1]) << 16;
    }
}

/// Pairs along columns: row q of `out` (`pairs x width`) interleaves rows 2q and 2q + 1 of `from`. What lies beyond
/// `from` is filled with zeros.
///
/// # Panics
/// If `from` is no whole number of rows of `width`, a multiple of 16, or does not fit.
pub fn pack_pairs(from: &[f32], width: usize, out: &mut [u32]) {
    assert!(width.is_multiple_of(16) && from.len().is_multiple_of(width));
    let rows = from.len() / width;
    let (out, rest) = out.split_at_mut(rows.div_ceil(2) * width);
    rest.fill(0);
    for (rows, out) in from.chunks(2 * width).zip(out.chunks_exact_mut(width)) {
        let (even, odd) = rows.split_at(width);
        #[cfg(target_arch = "x86_64")]
        if native() && !odd.is_empty() {
            // SAFETY: the CPU has the features; all three are `width` long.
            unsafe { vectors::interleave(even, odd, out) };
            continue;
        }
        for (i, (even, out)) in even.iter().zip(out).enumerate() {
            *out = round(*even) | odd.get(i).map_or(0, |&odd| round(odd) << 16);
        }
    }
}

/// The transpose of `from` (`rows x width`) into `out` (`width x rows`): pairs along columns become pairs along rows.
///
/// # Panics
/// If the lengths differ or are no multiple of `width`.
pub fn transpose_pairs(from: &[u32], width: usize, out: &mut [u32]) {
    assert!(from.len() == out.len() && from.len().is_multiple_of(width));
    let rows = from.len() / width;
    for q in (0..rows).step_by(16) {
        for i in (0..width).step_by(16) {
            for i in i..(i + 16).min(width) {
                for q in q..(q + 16).min(rows) {
                    out[i * rows + q] = from[q * width + i];
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::*;

    /// Lengths: a multiple of 32, and half of it.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn pack_rows(from: &[f32], out: &mut [u32]) {
        for (from, out) in from.chunks_exact(32).zip(out.chunks_exact_mut(16)) {
            // SAFETY: 32 and 16 elements.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16)));
                let packed: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), packed);
            }
        }
    }

    /// All three of one length, a multiple of 16.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn interleave(even: &[f32], odd: &[f32], out: &mut [u32]) {
        // Lane 2i of the result is number i of the first half, lane 2i + 1 number i of the second.
        let order: [u16; 32] = std::array::from_fn(|lane| (lane / 2 + 16 * (lane % 2)) as u16);
        // SAFETY: 32 numbers of 16 bits; then 16 elements each.
        unsafe {
            let order = _mm512_loadu_si512(order.as_ptr().cast());
            for ((even, odd), out) in even.chunks_exact(16).zip(odd.chunks_exact(16)).zip(out.chunks_exact_mut(16)) {
                let (even, odd) = (_mm512_loadu_ps(even.as_ptr()), _mm512_loadu_ps(odd.as_ptr()));
                let packed: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(odd, even));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_permutexvar_epi16(order, packed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn low(pair: u32) -> f32 {
        f32::from_bits(pair << 16)
    }

    fn high(pair: u32) -> f32 {
        f32::from_bits(pair & 0xFFFF_0000)
    }

    #[test]
    fn pairs_hold_the_rounded_numbers_in_order() {
        let from: Vec<f32> = (0..5 * 32).map(|i| 1.0 + (i * 7919 % 1000) as f32 / 999.0).collect();
        let rounded = |i: usize| bf16::from_f32(from[i]).to_f32();
        let mut rows = vec![9; 5 * 16 + 3];
        pack_rows(&from, &mut rows);
        assert!((0..80).all(|i| low(rows[i]) == rounded(2 * i) && high(rows[i]) == rounded(2 * i + 1)));
        assert_eq!(rows[80..], [0; 3]);

        let mut pairs = vec![9; 4 * 32];
        pack_pairs(&from, 32, &mut pairs);
        for q in 0..2 {
            for i in 0..32 {
                assert_eq!(low(pairs[q * 32 + i]), rounded(2 * q * 32 + i));
                assert_eq!(high(pairs[q * 32 + i]), rounded((2 * q + 1) * 32 + i));
            }
        }
        // The fifth row has no partner, and there is no seventh.
        assert!((0..32).all(|i| low(pairs[64 + i]) == rounded(128 + i) && high(pairs[64 + i]) == 0.0));
        assert_eq!(pairs[96..], [0; 32]);

        let mut transposed = vec![0; 4 * 32];
        transpose_pairs(&pairs, 32, &mut transposed);
        assert!((0..4).all(|q| (0..32).all(|i| transposed[i * 4 + q] == pairs[q * 32 + i])));
    }
}

//! f32 matrices rounded into pairs of bf16.

use super::TILE;
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

/// Pairs along columns: `out` interleaves rows 2q and 2q + 1 of `from`, in panels of [`TILE`] columns
/// (`width/32 x pairs x 32`). Pairs beyond `from` are filled with zeros.
///
/// # Panics
/// If `from` is no whole number of rows of `width`, a multiple of [`TILE`], or `out` no whole number or too few.
pub fn pack_pairs(from: &[f32], width: usize, out: &mut [u32]) {
    assert!(width.is_multiple_of(TILE) && from.len().is_multiple_of(width) && out.len().is_multiple_of(width));
    let (rows, pairs) = (from.len() / width, out.len() / width);
    assert!(rows <= 2 * pairs);
    if rows < 2 * pairs {
        out.fill(0);
    }
    for (q, rows) in from.chunks(2 * width).enumerate() {
        let (even, odd) = rows.split_at(width);
        for panel in 0..width / TILE {
            let columns = panel * TILE..(panel + 1) * TILE;
            let out = &mut out[(panel * pairs + q) * TILE..][..TILE];
            #[cfg(target_arch = "x86_64")]
            if native() && !odd.is_empty() {
                // SAFETY: the CPU has the features; all three are of TILE elements.
                unsafe { vectors::interleave(&even[columns.clone()], &odd[columns], out) };
                continue;
            }
            for (i, out) in columns.zip(out) {
                *out = round(even[i]) | odd.get(i).map_or(0, |&odd| round(odd) << 16);
            }
        }
    }
}

/// Pairs along rows (`rows x width/2`, an even number of rows) become pairs along columns, as [`pack_pairs`] makes them
/// of the same numbers.
///
/// # Panics
/// If `from` is no whole number of pairs of rows, or `width` no multiple of [`TILE`], or the lengths differ.
pub fn interleave_rows(from: &[u32], width: usize, out: &mut [u32]) {
    assert!(width.is_multiple_of(TILE) && from.len().is_multiple_of(width) && from.len() == out.len());
    let pairs = from.len() / width;
    for (q, rows) in from.chunks_exact(width).enumerate() {
        let (even, odd) = rows.split_at(width / 2);
        for (panel, (even, odd)) in even.chunks_exact(TILE / 2).zip(odd.chunks_exact(TILE / 2)).enumerate() {
            let out = &mut out[(panel * pairs + q) * TILE..][..TILE];
            #[cfg(target_arch = "x86_64")]
            if native() {
                // SAFETY: the CPU has the features; lengths are TILE / 2 and TILE.
                unsafe { vectors::interleave_pairs(even, odd, out) };
                continue;
            }
            for ((even, odd), out) in even.iter().zip(odd).zip(out.chunks_exact_mut(2)) {
                out[0] = even & 0xFFFF | odd << 16;
                out[1] = even >> 16 | odd & 0xFFFF_0000;
            }
        }
    }
}

/// Pairs along columns in panels (`width/32 x pairs x 32`) become pairs along rows (`width x pairs`): the transpose.
///
/// # Panics
/// If the lengths differ, or `width` is no multiple of [`TILE`] or does not divide them.
pub fn transpose_pairs(from: &[u32], width: usize, out: &mut [u32]) {
    assert!(from.len() == out.len() && from.len().is_multiple_of(width) && width.is_multiple_of(TILE));
    let pairs = from.len() / width;
    if pairs == 0 {
        return;
    }
    for (from, out) in from.chunks_exact(TILE * pairs).zip(out.chunks_exact_mut(TILE * pairs)) {
        #[cfg(target_arch = "x86_64")]
        if native() && pairs.is_multiple_of(16) {
            // SAFETY: the CPU has the features; both are TILE x pairs.
            unsafe { vectors::transpose(from, pairs, out) };
            continue;
        }
        for (q, from) in from.chunks_exact(TILE).enumerate() {
            for (i, &from) in from.iter().enumerate() {
                out[i * pairs + q] = from;
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

    /// Lengths: 16, 16 and 32.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn interleave_pairs(even: &[u32], odd: &[u32], out: &mut [u32]) {
        let (low, high) = (const { order_of(0) }, const { order_of(16) });
        // SAFETY: as many elements as the lengths say.
        unsafe {
            let (even, odd) = (_mm512_loadu_si512(even.as_ptr().cast()), _mm512_loadu_si512(odd.as_ptr().cast()));
            for (order, at) in [(low, 0), (high, 16)] {
                let order = _mm512_loadu_si512(order.as_ptr().cast());
                _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), _mm512_permutex2var_epi16(even, order, odd));
            }
        }
    }

    /// Lanes 2i and 2i + 1 take number `first + i` of the even and of the odd row, which is 32 further on.
    const fn order_of(first: u16) -> [u16; 32] {
        let mut order = [0; 32];
        let mut lane = 0;
        while lane < 32 {
            order[lane] = first + lane as u16 / 2 + 32 * (lane as u16 % 2);
            lane += 1;
        }
        order
    }

    /// `pairs x 32` to `32 x pairs`, `pairs` a multiple of 16.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn transpose(from: &[u32], pairs: usize, out: &mut [u32]) {
        // Offsets of 16 pairs, one below the other.
        let below: [u32; 16] = std::array::from_fn(|lane| 32 * lane as u32);
        // SAFETY: q + lane < pairs and i < 32.
        unsafe {
            let below = _mm512_loadu_si512(below.as_ptr().cast());
            for q in (0..pairs).step_by(16) {
                for i in 0..32 {
                    let column = _mm512_i32gather_epi32::<4>(below, from.as_ptr().add(q * 32 + i).cast());
                    _mm512_storeu_si512(out.as_mut_ptr().add(i * pairs + q).cast(), column);
                }
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

        // Five rows of 64 columns: two panels, three pairs and one more of zeros.
        let from = [from, vec![1.5; 5 * 32]].concat();
        let rounded = |i: usize| bf16::from_f32(from[i]).to_f32();
        let mut panels = vec![9; 4 * 64];
        pack_pairs(&from, 64, &mut panels);
        for q in 0..4 {
            for i in 0..64 {
                let pair = panels[(i / 32 * 4 + q) * 32 + i % 32];
                let expected = |row: usize| if row < 5 { rounded(row * 64 + i) } else { 0.0 };
                assert_eq!((low(pair), high(pair)), (expected(2 * q), expected(2 * q + 1)));
            }
        }

        // The same numbers paired along rows first.
        let from = &from[..2 * 64 * 2];
        let (mut rows, mut direct, mut turned) = (vec![0; 128], vec![0; 128], vec![9; 128]);
        pack_rows(from, &mut rows);
        pack_pairs(from, 64, &mut direct);
        interleave_rows(&rows, 64, &mut turned);
        assert_eq!(turned, direct);

        for pairs in [4, 16, 48] {
            let panels: Vec<u32> = (0..2 * pairs * 32).collect();
            let (pairs, mut rows) = (pairs as usize, vec![0; panels.len()]);
            transpose_pairs(&panels, 64, &mut rows);
            for i in 0..64 {
                assert!((0..pairs).all(|q| rows[i * pairs + q] == panels[(i / 32 * pairs + q) * 32 + i % 32]));
            }
        }
    }
}

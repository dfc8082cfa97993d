//! f32 matrices rounded into pairs of bf16.

use super::{CHUNK, Parts, TILE};
use crate::kernels::kernels;
use half::bf16;

/// Two numbers rounded to nearest even.
fn pair(x: f32, y: f32) -> u32 {
    u32::from(bf16::from_f32(x).to_bits()) | u32::from(bf16::from_f32(y).to_bits()) << 16
}

/// What rounding takes from a number.
fn rest(x: f32) -> f32 {
    x - bf16::from_f32(x).to_f32()
}

/// Whether the CPU rounds to bf16 itself.
pub(super) fn native() -> bool {
    #[cfg(target_arch = "x86_64")]
    return kernels().name == "avx512" && std::arch::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Pairs along rows: of one part, `out[i]` holds elements 2i and 2i + 1. What lies beyond `from` is filled with zeros.
///
/// # Panics
/// If `from` does not fit, or its length is no multiple of 32.
pub fn pack_rows(from: &[f32], parts: Parts, out: &mut [u32]) {
    assert!(from.len().is_multiple_of(TILE) && out.len() >= parts.pairs(from.len()));
    let (out, beyond) = out.split_at_mut(parts.pairs(from.len()));
    beyond.fill(0);
    #[cfg(target_arch = "x86_64")]
    if native() {
        // SAFETY: the CPU has the features, and the lengths are as asserted.
        return unsafe { vectors::pack_rows(from, parts, out) };
    }
    for (from, out) in from.chunks_exact(TILE).zip(out.chunks_exact_mut(parts as usize * CHUNK)) {
        let (high, low) = out.split_at_mut(CHUNK);
        for (from, high) in from.chunks_exact(2).zip(high) {
            *high = pair(from[0], from[1]);
        }
        for (from, low) in from.chunks_exact(2).zip(low) {
            *low = pair(rest(from[0]), rest(from[1]));
        }
    }
}

/// Pairs along columns: `out` interleaves rows 2q and 2q + 1 of `from`, in panels of [`TILE`] columns
/// (of one part, `width/32 x pairs x 32`). Pairs beyond `from` are filled with zeros.
///
/// # Panics
/// If `from` is no whole number of rows of `width`, a multiple of [`TILE`], or `out` no whole number of chunks or too few.
pub fn pack_pairs(from: &[f32], width: usize, parts: Parts, out: &mut [u32]) {
    let chunk = parts as usize * CHUNK * TILE;
    assert!(width.is_multiple_of(TILE) && from.len().is_multiple_of(width));
    assert!(out.len().is_multiple_of(chunk * (width / TILE)) && out.len() >= parts.pairs(from.len()));
    // Chunks of a panel.
    let chunks = out.len() / chunk / (width / TILE).max(1);
    if from.len() < chunks * TILE * width {
        out.fill(0);
    }
    #[cfg(target_arch = "x86_64")]
    let native = native();
    for (q, rows) in from.chunks(2 * width).enumerate() {
        let (even, odd) = rows.split_at(width);
        for panel in 0..width / TILE {
            let columns = panel * TILE..(panel + 1) * TILE;
            let chunk = &mut out[(panel * chunks + q / CHUNK) * chunk..][..chunk];
            let (high, low) = chunk.split_at_mut(CHUNK * TILE);
            let at = q % CHUNK;
            let high = &mut high[at * TILE..][..TILE];
            let low = low.chunks_exact_mut(TILE).nth(at).unwrap_or_default();
            #[cfg(target_arch = "x86_64")]
            if native && !odd.is_empty() {
                // SAFETY: the CPU has the features.
                unsafe { vectors::interleave(&even[columns.clone()], &odd[columns], high, low) };
                continue;
            }
            let number = |i: usize| (even[columns.start + i], odd.get(columns.start + i).copied().unwrap_or(0.0));
            for (i, high) in high.iter_mut().enumerate() {
                *high = pair(number(i).0, number(i).1);
            }
            for (i, low) in low.iter_mut().enumerate() {
                *low = pair(rest(number(i).0), rest(number(i).1));
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

/// Pairs along rows (`rows x width/2`, rows a multiple of [`TILE`]) become pairs along the rows of the transpose
/// (`width x rows/2`).
///
/// # Panics
/// If `from` is no whole number of tiles of rows, or `width` no multiple of [`TILE`], or the lengths differ.
pub fn transpose_rows(from: &[u32], width: usize, out: &mut [u32]) {
    assert!(width.is_multiple_of(TILE) && from.len().is_multiple_of(width / 2 * TILE) && from.len() == out.len());
    let (stride, pairs) = (width / 2, from.len() / width.max(1));
    for (panel, out) in out.chunks_exact_mut((TILE * pairs).max(1)).enumerate() {
        let from = &from[panel * TILE / 2..];
        #[cfg(target_arch = "x86_64")]
        if native() {
            // SAFETY: the CPU has the features; there are 2·pairs rows, a multiple of 32, and this panel of each.
            unsafe { vectors::transpose_rows(from.as_ptr(), stride, pairs, out.as_mut_ptr()) };
            continue;
        }
        for (i, out) in out.chunks_exact_mut(pairs).enumerate() {
            let number = |row: usize| from[row * stride + i / 2] >> (i % 2 * 16) & 0xFFFF;
            for (q, out) in out.iter_mut().enumerate() {
                *out = number(2 * q) | number(2 * q + 1) << 16;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::{CHUNK, Parts, TILE};
    use std::arch::x86_64::*;

    /// 32 numbers as bf16, those of `x` before those of `y`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn round(x: __m512, y: __m512) -> __m512i {
        // SAFETY: both are 512 bits of integers.
        unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(y, x)) }
    }

    /// `out` of as many pairs as stand for the numbers, a multiple of [`TILE`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn pack_rows(from: &[f32], parts: Parts, out: &mut [u32]) {
        for (from, out) in from.chunks_exact(TILE).zip(out.chunks_exact_mut(parts as usize * CHUNK)) {
            // SAFETY: the chunks are of 32 numbers and of 16 pairs a part.
            unsafe {
                let (x, y) = (_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16)));
                let rounded = round(x, y);
                _mm512_storeu_si512(out.as_mut_ptr().cast(), rounded);
                if parts == Parts::Two {
                    let half = |half| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)));
                    let x = _mm512_sub_ps(x, half(_mm512_castsi512_si256(rounded)));
                    let y = _mm512_sub_ps(y, half(_mm512_extracti64x4_epi64::<1>(rounded)));
                    _mm512_storeu_si512(out.as_mut_ptr().add(CHUNK).cast(), round(x, y));
                }
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
        // SAFETY: q + row < pairs and i + column < 32.
        unsafe {
            for q in (0..pairs).step_by(16) {
                for i in [0, 16] {
                    let square =
                        std::array::from_fn(|row| _mm512_loadu_si512(from.as_ptr().add((q + row) * 32 + i).cast()));
                    for (column, pairs_of_column) in turn(square).into_iter().enumerate() {
                        _mm512_storeu_si512(out.as_mut_ptr().add((i + column) * pairs + q).cast(), pairs_of_column);
                    }
                }
            }
        }
    }

    /// `2·pairs x 16` to `32 x pairs`, `pairs` a multiple of 16: of rows that lie `stride` pairs apart.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn transpose_rows(from: *const u32, stride: usize, pairs: usize, out: *mut u32) {
        // SAFETY: q + row < pairs and number < 32.
        unsafe {
            let row = |row: usize| _mm512_loadu_si512(from.add(row * stride).cast());
            for q in (0..pairs).step_by(16) {
                // Of each eight numbers of two rows the first four are paired, then the others.
                let lower = std::array::from_fn(|i| _mm512_unpacklo_epi16(row(2 * (q + i)), row(2 * (q + i) + 1)));
                for (i, pairs_of_number) in turn(lower).into_iter().enumerate() {
                    _mm512_storeu_si512(out.add((i / 4 * 8 + i % 4) * pairs + q).cast(), pairs_of_number);
                }
                let upper = std::array::from_fn(|i| _mm512_unpackhi_epi16(row(2 * (q + i)), row(2 * (q + i) + 1)));
                for (i, pairs_of_number) in turn(upper).into_iter().enumerate() {
                    _mm512_storeu_si512(out.add((i / 4 * 8 + i % 4 + 4) * pairs + q).cast(), pairs_of_number);
                }
            }
        }
    }

    /// The transpose of 16 x 16.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn turn(rows: [__m512i; 16]) -> [__m512i; 16] {
        use std::array::from_fn;
        // Columns 4q + c of rows 4g to 4g + 3, for the four q side by side, at 4g + c: twice by neighbours,
        let twos: [__m512i; 16] = from_fn(|i| {
            let (even, odd) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
            if i % 2 == 0 { _mm512_unpacklo_epi32(even, odd) } else { _mm512_unpackhi_epi32(even, odd) }
        });
        let fours: [__m512i; 16] = from_fn(|i| {
            let (even, odd) = (twos[i / 4 * 4 + i % 4 / 2], twos[i / 4 * 4 + i % 4 / 2 + 2]);
            if i % 2 == 0 { _mm512_unpacklo_epi64(even, odd) } else { _mm512_unpackhi_epi64(even, odd) }
        });
        // then by quarters of registers: q 0 and 2, or 1 and 3, of two g,
        let eights: [__m512i; 16] = from_fn(|i| {
            let (c, first) = (i % 4, i / 8 * 8);
            let (even, odd) = (fours[first + c], fours[first + 4 + c]);
            if i / 4 % 2 == 0 {
                _mm512_shuffle_i32x4::<0b10_00_10_00>(even, odd)
            } else {
                _mm512_shuffle_i32x4::<0b11_01_11_01>(even, odd)
            }
        });
        // and of all four.
        from_fn(|column| {
            let (q, c) = (column / 4, column % 4);
            let (low, high) = (eights[q % 2 * 4 + c], eights[8 + q % 2 * 4 + c]);
            if q < 2 {
                _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high)
            } else {
                _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high)
            }
        })
    }

    /// [`TILE`] numbers of one row and the next, and what rounding took from them where `low` is not empty.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn interleave(even: &[f32], odd: &[f32], high: &mut [u32], low: &mut [u32]) {
        debug_assert!(even.len() == TILE && odd.len() == TILE && high.len() == TILE);
        debug_assert!(low.is_empty() || low.len() == TILE);
        // Lane 2i of the result is number i of the first half, lane 2i + 1 number i of the second.
        let order: [u16; 32] = std::array::from_fn(|lane| (lane / 2 + 16 * (lane % 2)) as u16);
        // SAFETY: 32 numbers of 16 bits; then by the lengths.
        unsafe {
            let order = _mm512_loadu_si512(order.as_ptr().cast());
            for at in (0..TILE).step_by(16) {
                let (even, odd) = (_mm512_loadu_ps(even.as_ptr().add(at)), _mm512_loadu_ps(odd.as_ptr().add(at)));
                let pairs = _mm512_permutexvar_epi16(order, round(even, odd));
                _mm512_storeu_si512(high.as_mut_ptr().add(at).cast(), pairs);
                if !low.is_empty() {
                    let upper = _mm512_and_si512(pairs, _mm512_set1_epi32(0xFFFF_0000u32 as i32));
                    let even = _mm512_sub_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)));
                    let odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(upper));
                    let pairs = _mm512_permutexvar_epi16(order, round(even, odd));
                    _mm512_storeu_si512(low.as_mut_ptr().add(at).cast(), pairs);
                }
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

    /// The part of `x` that is wanted: the nearest bf16, or the nearest to what it leaves.
    fn part(x: f32, which: usize) -> f32 {
        let rounded = bf16::from_f32(x).to_f32();
        if which == 0 { rounded } else { bf16::from_f32(x - rounded).to_f32() }
    }

    #[test]
    fn pairs_hold_the_rounded_numbers_in_order() {
        let from: Vec<f32> = (0..5 * 64).map(|i| 1.0 + (i * 7919 % 1000) as f32 / 999.0).collect();
        for parts in [Parts::One, Parts::Two] {
            let count = parts as usize;
            let mut rows = vec![9; parts.pairs(320) + 3];
            pack_rows(&from, parts, &mut rows);
            for (at, &pair) in rows[..parts.pairs(320)].iter().enumerate() {
                let (chunk, which, i) = (at / 16 / count, at / 16 % count, at % 16);
                let expected = |i: usize| part(from[32 * chunk + i], which);
                assert_eq!((low(pair), high(pair)), (expected(2 * i), expected(2 * i + 1)));
            }
            assert_eq!(rows[parts.pairs(320)..], [0; 3]);

            // Five rows of 64 columns: two panels of two chunks, the rest of them zeros.
            let mut panels = vec![9; parts.pairs(64 * 64)];
            pack_pairs(&from, 64, parts, &mut panels);
            for (at, &pair) in panels.iter().enumerate() {
                let (i, q, which) = (at % 32, at / 32 % 16, at / 512 % count);
                let (chunk, panel) = (at / 512 / count % 2, at / 1024 / count);
                let expected = |row: usize| {
                    let row = 32 * chunk + row;
                    if row < 5 { part(from[row * 64 + 32 * panel + i], which) } else { 0.0 }
                };
                assert_eq!((low(pair), high(pair)), (expected(2 * q), expected(2 * q + 1)), "{parts:?} {at}");
            }
        }
    }

    #[test]
    fn pairs_along_rows_turn_into_pairs_along_columns() {
        let from: Vec<f32> = (0..4 * 64).map(|i| 1.0 + (i * 7919 % 1000) as f32 / 999.0).collect();
        let (mut rows, mut panels, mut turned) = (vec![0; 128], vec![0; 16 * 64], vec![9; 128]);
        pack_rows(&from, Parts::One, &mut rows);
        interleave_rows(&rows, 64, &mut turned);
        // Whole chunks of 16 pairs, of which two are filled.
        pack_pairs(&from, 64, Parts::One, &mut panels);
        let filled = panels.chunks(16 * 32).flat_map(|panel| &panel[..2 * 32]).copied();
        assert_eq!(turned, filled.collect::<Vec<u32>>());
    }

    #[test]
    fn the_transpose_is_one() {
        for pairs in [4, 16, 48] {
            let panels: Vec<u32> = (0..2 * pairs * 32).collect();
            let (pairs, mut rows) = (pairs as usize, vec![0; panels.len()]);
            transpose_pairs(&panels, 64, &mut rows);
            for i in 0..64 {
                assert!((0..pairs).all(|q| rows[i * pairs + q] == panels[(i / 32 * pairs + q) * 32 + i % 32]));
            }
        }
    }

    #[test]
    fn rows_turn_at_once_as_by_way_of_panels() {
        for (rows, width) in [(32, 64), (96, 32), (64, 128)] {
            let from: Vec<u32> = (0..rows * width / 2).map(|i| (i as u32).wrapping_mul(0x9e37_79b9)).collect();
            let (mut panels, mut turned) = (vec![0; from.len()], vec![0; from.len()]);
            interleave_rows(&from, width, &mut panels);
            transpose_pairs(&panels, width, &mut turned);
            let mut at_once = vec![9; from.len()];
            transpose_rows(&from, width, &mut at_once);
            assert_eq!(at_once, turned);
        }
    }
}

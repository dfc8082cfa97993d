//! f32 matrices rounded into pairs of bf16.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::{CHUNK, Parts, TILE, vectors};
use half::bf16;

/// Two numbers rounded to nearest even.
fn pair(x: f32, y: f32) -> u32 {
    u32::from(bf16::from_f32(x).to_bits()) | u32::from(bf16::from_f32(y).to_bits()) << 16
}

/// What rounding takes from a number.
fn rest(x: f32) -> f32 {
    x - bf16::from_f32(x).to_f32()
}

/// Pairs along rows: of one part, `out[i]` holds elements 2i and 2i + 1. What lies beyond `from` is filled with zeros.
///
/// # Panics
/// If `from` does not fit, or its length is no multiple of 32.
pub fn pack_rows(from: &[f32], parts: Parts, out: &mut [u32]) {
    assert!(from.len().is_multiple_of(TILE) && out.len() >= parts.pairs(from.len()));
    let (out, beyond) = out.split_at_mut(parts.pairs(from.len()));
    beyond.fill(0);
    // SAFETY: the lengths are as asserted.
    vectors!(pack_rows(from, parts, out); return);
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
    for (q, rows) in from.chunks(2 * width).enumerate() {
        let (even, odd) = rows.split_at(width);
        for panel in 0..width / TILE {
            let columns = panel * TILE..(panel + 1) * TILE;
            let chunk = &mut out[(panel * chunks + q / CHUNK) * chunk..][..chunk];
            let (high, low) = chunk.split_at_mut(CHUNK * TILE);
            let at = q % CHUNK;
            let high = &mut high[at * TILE..][..TILE];
            let low = low.chunks_exact_mut(TILE).nth(at).unwrap_or_default();
            if !odd.is_empty() {
                // SAFETY: all are TILE long, but for `low`, which may be empty.
                vectors!(interleave(&even[columns.clone()], &odd[columns], high, low); continue);
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
            // SAFETY: lengths are TILE / 2 and TILE.
            vectors!(interleave_pairs(even, odd, out); continue);
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
        if pairs.is_multiple_of(16) {
            // SAFETY: both are TILE x pairs.
            vectors!(transpose(from, pairs, out); continue);
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
        // SAFETY: there are 2·pairs rows, a multiple of 32, and this panel of each.
        vectors!(transpose_rows(from.as_ptr(), stride, pairs, out.as_mut_ptr()); continue);
        for (i, out) in out.chunks_exact_mut(pairs).enumerate() {
            let number = |row: usize| from[row * stride + i / 2] >> (i % 2 * 16) & 0xFFFF;
            for (q, out) in out.iter_mut().enumerate() {
                *out = number(2 * q) | number(2 * q + 1) << 16;
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
    fn what_is_no_number_stays_none() {
        let odd = [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0];
        let from: Vec<f32> = odd.iter().cycle().take(64).copied().collect();
        let (mut rows, mut panels) = (vec![0; 32], vec![0; 16 * 32]);
        pack_rows(&from, Parts::One, &mut rows);
        pack_pairs(&from, 32, Parts::One, &mut panels);
        for (i, x) in from.iter().enumerate() {
            let along = if i % 2 == 0 { low(rows[i / 2]) } else { high(rows[i / 2]) };
            let across = if i < 32 { low(panels[i]) } else { high(panels[i - 32]) };
            for packed in [along, across] {
                let rounded = bf16::from_f32(*x).to_f32();
                assert!(packed.to_bits() == rounded.to_bits() || packed.is_nan() && x.is_nan(), "{packed} for {x}");
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

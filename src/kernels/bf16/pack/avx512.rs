//! Packing with AVX512-BF16, which rounds by itself.

use super::super::{CHUNK, Parts, TILE};
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

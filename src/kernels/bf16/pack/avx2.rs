//! Packing with AVX2: numbers are rounded by adding to their bits.

use super::super::{CHUNK, Parts, TILE};
use std::arch::x86_64::*;

/// Numbers of a vector.
const V: usize = 8;

/// The nearest bf16, ties to even, in the upper halves; the lower ones are zero. What is no number stays none.
#[inline]
#[target_feature(enable = "avx2")]
fn round(x: __m256) -> __m256i {
    let bits = _mm256_castps_si256(x);
    let even = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let up = _mm256_add_epi32(bits, _mm256_add_epi32(even, _mm256_set1_epi32(0x7FFF)));
    let quiet = _mm256_or_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x0040_0000)));
    let rounded = _mm256_blendv_ps(_mm256_castsi256_ps(up), quiet, _mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
    _mm256_and_si256(_mm256_castps_si256(rounded), _mm256_set1_epi32(0xFFFF_0000u32 as i32))
}

/// What rounding takes from a number.
#[inline]
#[target_feature(enable = "avx2")]
fn rest(x: __m256, rounded: __m256i) -> __m256 {
    _mm256_sub_ps(x, _mm256_castsi256_ps(rounded))
}

/// 16 rounded numbers in their order, two a pair.
#[inline]
#[target_feature(enable = "avx2")]
fn in_order(first: __m256i, second: __m256i) -> __m256i {
    let packed = _mm256_packus_epi32(_mm256_srli_epi32::<16>(first), _mm256_srli_epi32::<16>(second));
    // Each 128 bits were packed on their own.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
}

/// `out` of as many pairs as stand for the numbers, a multiple of [`TILE`].
#[target_feature(enable = "avx2")]
pub unsafe fn pack_rows(from: &[f32], parts: Parts, out: &mut [u32]) {
    for (from, out) in from.chunks_exact(TILE).zip(out.chunks_exact_mut(parts as usize * CHUNK)) {
        for at in [0, V] {
            // SAFETY: the chunks are of 32 numbers and of 16 pairs a part.
            unsafe {
                let x = [0, V].map(|i| _mm256_loadu_ps(from.as_ptr().add(2 * at + i)));
                let rounded = x.map(|x| round(x));
                _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), in_order(rounded[0], rounded[1]));
                if parts == Parts::Two {
                    let [first, second] = [0, 1].map(|i| round(rest(x[i], rounded[i])));
                    _mm256_storeu_si256(out.as_mut_ptr().add(CHUNK + at).cast(), in_order(first, second));
                }
            }
        }
    }
}

/// Lengths: 16, 16 and 32.
#[target_feature(enable = "avx2")]
pub unsafe fn interleave_pairs(even: &[u32], odd: &[u32], out: &mut [u32]) {
    for at in [0, V] {
        // SAFETY: as many elements as the lengths say.
        unsafe {
            let [even, odd] = [even, odd].map(|from| _mm256_loadu_si256(from.as_ptr().add(at).cast()));
            let (low, high) = (_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd));
            let out = out.as_mut_ptr().add(2 * at).cast::<__m256i>();
            _mm256_storeu_si256(out, _mm256_permute2x128_si256::<0x20>(low, high));
            _mm256_storeu_si256(out.add(1), _mm256_permute2x128_si256::<0x31>(low, high));
        }
    }
}

/// `pairs x 32` to `32 x pairs`, `pairs` a multiple of 16.
#[target_feature(enable = "avx2")]
pub unsafe fn transpose(from: &[u32], pairs: usize, out: &mut [u32]) {
    // SAFETY: q + row < pairs and i + column < 32.
    unsafe {
        for q in (0..pairs).step_by(V) {
            for i in (0..TILE).step_by(V) {
                let square =
                    std::array::from_fn(|row| _mm256_loadu_si256(from.as_ptr().add((q + row) * TILE + i).cast()));
                for (column, pairs_of_column) in turn(square).into_iter().enumerate() {
                    _mm256_storeu_si256(out.as_mut_ptr().add((i + column) * pairs + q).cast(), pairs_of_column);
                }
            }
        }
    }
}

/// `2·pairs x 16` to `32 x pairs`, `pairs` a multiple of 16: of rows that lie `stride` pairs apart.
#[target_feature(enable = "avx2")]
pub unsafe fn transpose_rows(from: *const u32, stride: usize, pairs: usize, out: *mut u32) {
    // SAFETY: q + row < pairs and number < 32.
    unsafe {
        for q in (0..pairs).step_by(V) {
            for half in [0, V] {
                let row = |row: usize| _mm256_loadu_si256(from.add(row * stride + half).cast());
                let out = out.add(2 * half * pairs + q);
                // Of each eight numbers of two rows the first four are paired, then the others.
                let lower = std::array::from_fn(|i| _mm256_unpacklo_epi16(row(2 * (q + i)), row(2 * (q + i) + 1)));
                for (i, pairs_of_number) in turn(lower).into_iter().enumerate() {
                    _mm256_storeu_si256(out.add((i / 4 * 8 + i % 4) * pairs).cast(), pairs_of_number);
                }
                let upper = std::array::from_fn(|i| _mm256_unpackhi_epi16(row(2 * (q + i)), row(2 * (q + i) + 1)));
                for (i, pairs_of_number) in turn(upper).into_iter().enumerate() {
                    _mm256_storeu_si256(out.add((i / 4 * 8 + i % 4 + 4) * pairs).cast(), pairs_of_number);
                }
            }
        }
    }
}

/// The transpose of 8 x 8.
#[inline]
#[target_feature(enable = "avx2")]
fn turn(rows: [__m256i; 8]) -> [__m256i; 8] {
    use std::array::from_fn;
    // Columns 4q + c of rows 4g to 4g + 3, for both q side by side, at 4g + c: twice by neighbours,
    let twos: [__m256i; 8] = from_fn(|i| {
        let (even, odd) = (rows[i / 2 * 2], rows[i / 2 * 2 + 1]);
        if i % 2 == 0 { _mm256_unpacklo_epi32(even, odd) } else { _mm256_unpackhi_epi32(even, odd) }
    });
    let fours: [__m256i; 8] = from_fn(|i| {
        let (even, odd) = (twos[i / 4 * 4 + i % 4 / 2], twos[i / 4 * 4 + i % 4 / 2 + 2]);
        if i % 2 == 0 { _mm256_unpacklo_epi64(even, odd) } else { _mm256_unpackhi_epi64(even, odd) }
    });
    // then by halves of registers.
    from_fn(|column| {
        let (low, high) = (fours[column % 4], fours[4 + column % 4]);
        if column < 4 {
            _mm256_permute2x128_si256::<0x20>(low, high)
        } else {
            _mm256_permute2x128_si256::<0x31>(low, high)
        }
    })
}

/// [`TILE`] numbers of one row and the next, and what rounding took from them where `low` is not empty.
#[target_feature(enable = "avx2")]
pub unsafe fn interleave(even: &[f32], odd: &[f32], high: &mut [u32], low: &mut [u32]) {
    debug_assert!(even.len() == TILE && odd.len() == TILE && high.len() == TILE);
    debug_assert!(low.is_empty() || low.len() == TILE);
    for at in (0..TILE).step_by(V) {
        // SAFETY: by the lengths.
        unsafe {
            let x = [even, odd].map(|from| _mm256_loadu_ps(from.as_ptr().add(at)));
            let rounded = x.map(|x| round(x));
            _mm256_storeu_si256(high.as_mut_ptr().add(at).cast(), side_by_side(rounded[0], rounded[1]));
            if !low.is_empty() {
                let [even, odd] = [0, 1].map(|i| round(rest(x[i], rounded[i])));
                _mm256_storeu_si256(low.as_mut_ptr().add(at).cast(), side_by_side(even, odd));
            }
        }
    }
}

/// Rounded numbers of two rows as pairs.
#[inline]
#[target_feature(enable = "avx2")]
fn side_by_side(even: __m256i, odd: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_srli_epi32::<16>(even), odd)
}

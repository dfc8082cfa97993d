//! The f32 products in AVX-512.
//!
//! C is computed in tiles of up to 8 rows by two vectors, 16 accumulators in registers: twice what the latency of the FMA
//! asks for. A step of the inner loop loads two vectors of B and broadcasts 8 numbers of A: 10 loads for 16 FMAs, within
//! the two loads and two FMAs a cycle. So A needs no packing, and B only rows that lie close together.
//!
//! While it multiplies, a tile can prefetch lines that a later phase will need ([`super::Ahead`]).

// Rows and vectors of a tile are counted, not iterated: the same counters address A, B and C.
#![allow(clippy::needless_range_loop)]

use super::{Ahead, Product};
use crate::kernels::LANES;
use std::arch::x86_64::*;

/// Most rows of a tile.
const ROWS: usize = 8;

/// One tile's operands.
#[derive(Clone, Copy)]
struct Tile {
    a: *const f32,
    /// Elements from one row of A to the next (`row`), from one column to the next (`column`) within a segment, and
    /// from segment to segment.
    row: usize,
    column: usize,
    segment: usize,
    segments: usize,
    /// Columns of A a segment.
    depth: usize,
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
    ahead: *const i8,
    /// Bytes to the next line to prefetch: 64, or 0 where there is nothing to prefetch.
    ahead_step: usize,
}

/// Runs the product.
///
/// # Safety
/// Needs AVX-512F, and operands that hold every index of the product, n a multiple of 16.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn run(p: &Product<'_>, c: *mut f32, ahead: &mut Ahead) {
    let mut j = 0;
    while j < p.n {
        // Pairs of vectors, then the odd one.
        let pair = j + 2 * LANES <= p.n;
        let mut i = 0;
        while i < p.m {
            // Rows are shared out evenly: 9 rows are tiles of 5 and 4, not of 8 and 1.
            let left = p.m - i;
            let rows = left.div_ceil(left.div_ceil(ROWS));
            let (line, lines) = ahead.take(p.segments * p.depth / 4);
            // SAFETY: the caller's promise; the tile lies inside C.
            unsafe {
                let tile = Tile {
                    a: p.a.as_ptr().wrapping_add(i * p.row),
                    row: p.row,
                    column: p.column,
                    segment: p.segment,
                    segments: p.segments,
                    depth: p.depth,
                    b: p.b.as_ptr().wrapping_add(j),
                    b_stride: p.b_stride,
                    c: c.add(i * p.c_stride + j),
                    c_stride: p.c_stride,
                    accumulate: p.accumulate,
                    // A prefetch of no mapped page would walk the page table in vain.
                    ahead: if lines == 0 { p.b.as_ptr().cast() } else { line },
                    ahead_step: if lines == 0 { 0 } else { 64 },
                };
                match pair {
                    true => by_rows::<2>(rows, tile),
                    false => by_rows::<1>(rows, tile),
                }
            }
            i += rows;
        }
        j += if pair { 2 * LANES } else { LANES };
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn by_rows<const N: usize>(rows: usize, tile: Tile) {
    macro_rules! dispatch {
        ($($m:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($m => unsafe {
                    if tile.row == 1 { multiply::<$m, N, true>(tile) } else { multiply::<$m, N, false>(tile) }
                })*
                _ => unreachable!("a tile has 1 to 8 rows"),
            }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8);
}

/// The number at `from + times * stride + OFFSET` bytes in every lane.
///
/// In assembly, because the compiler would rather load the numbers of four steps at once and spill most of them: that
/// costs two thirds of the speed.
///
/// # Safety
/// The address must be readable, and `times` at most 2.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::kernels) unsafe fn broadcast<const OFFSET: i32>(from: *const f32, stride: usize, times: usize) -> __m512 {
    let number: __m512;
    macro_rules! load {
        ($address:literal) => {
            // SAFETY: reads one number, by the caller's promise.
            unsafe {
                std::arch::asm!(
                    concat!("vbroadcastss {number}, dword ptr [{from} + ", $address, "{offset}] /* {stride} */"),
                    number = lateout(zmm_reg) number,
                    from = in(reg) from,
                    stride = in(reg) stride,
                    offset = const OFFSET,
                    options(nostack, preserves_flags, readonly),
                )
            }
        };
    }
    match times {
        0 => load!(""),
        1 => load!("{stride} + "),
        _ => load!("2*{stride} + "),
    }
    number
}

/// `TRANSPOSED`: a column of A is contiguous (`row` is 1).
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn multiply<const M: usize, const N: usize, const TRANSPOSED: bool>(tile: Tile) {
    let Tile { mut b, b_stride, c, c_stride, row, column, .. } = tile;
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    if tile.accumulate {
        for i in 0..M {
            for j in 0..N {
                // SAFETY: inside C.
                sums[i][j] = unsafe { _mm512_loadu_ps(c.add(i * c_stride + j * LANES)) };
            }
        }
    }
    let mut ahead = tile.ahead;
    for segment in 0..tile.segments {
        // SAFETY: inside A and B for every row, segment and column of the tile.
        unsafe {
            let start = tile.a.wrapping_add(segment * tile.segment);
            // One pointer for three rows: x86 addresses base, base + s and base + 2s.
            let mut a = [start; 3];
            if !TRANSPOSED {
                for (i, a) in a.iter_mut().enumerate() {
                    *a = start.wrapping_add(3 * i * row);
                }
            }
            macro_rules! step {
                ($at:literal) => {{
                    let mut vectors = [_mm512_setzero_ps(); N];
                    for j in 0..N {
                        vectors[j] = _mm512_loadu_ps(b.add(j * LANES));
                    }
                    b = b.wrapping_add(b_stride);
                    for i in 0..M {
                        let number = match TRANSPOSED {
                            true => _mm512_set1_ps(*a[0].add(i)),
                            false => broadcast::<{ 4 * $at }>(a[i / 3], 4 * row, i % 3),
                        };
                        for j in 0..N {
                            sums[i][j] = _mm512_fmadd_ps(number, vectors[j], sums[i][j]);
                        }
                    }
                    if TRANSPOSED {
                        a[0] = a[0].wrapping_add(column);
                    }
                }};
            }
            for _ in 0..tile.depth / 4 {
                _mm_prefetch::<_MM_HINT_T1>(ahead);
                ahead = ahead.wrapping_add(tile.ahead_step);
                step!(0);
                step!(1);
                step!(2);
                step!(3);
                if !TRANSPOSED {
                    for a in &mut a {
                        *a = a.wrapping_add(4);
                    }
                }
            }
            for _ in 0..tile.depth % 4 {
                step!(0);
                if !TRANSPOSED {
                    for a in &mut a {
                        *a = a.wrapping_add(1);
                    }
                }
            }
        }
    }
    for i in 0..M {
        for j in 0..N {
            // SAFETY: inside C.
            unsafe { _mm512_storeu_ps(c.add(i * c_stride + j * LANES), sums[i][j]) };
        }
    }
}

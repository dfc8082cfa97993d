//! The f32 products in AVX2 with FMA.
//!
//! C is computed in tiles of up to 6 rows by two vectors of 8: with 12 accumulators, two vectors of B and a number of A in
//! every lane of another, all 16 registers are in use. A step of the inner loop loads two vectors of B and broadcasts 6
//! numbers of A: 8 loads for 12 FMAs. So A needs no packing. The 16 columns of B that a column of tiles needs are copied
//! together, as far as the first-level cache holds them: where they lie, rows of a power of two apart fall into the
//! same few sets of that cache.
//!
//! While it multiplies, a tile can prefetch lines that a later phase will need ([`super::Ahead`]).

// Rows and vectors of a tile are counted, not iterated: the same counters address A, B and C.
#![allow(clippy::needless_range_loop)]

use super::{Ahead, Product};
use crate::kernels::LANES;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;

/// Most rows of a tile.
const ROWS: usize = 6;
/// Numbers of a vector.
const V: usize = 8;
/// Most rows of B that are copied together, 16 KiB.
const DEPTH: usize = 256;
/// Rows of B so near to one another share the cache's sets out evenly as they lie.
const NEAR: usize = 2 * LANES;
/// Fewer rows of C than this are not worth the copy.
const WORTH: usize = 3 * ROWS;

/// One tile's operands.
#[derive(Clone, Copy)]
struct Tile {
    a: *const f32,
    /// Elements from one row of A to the next (`row`) and from one column to the next (`column`).
    row: usize,
    column: usize,
    /// Columns of A.
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
/// Needs AVX2 and FMA, and operands that hold every index of the product, n a multiple of 16.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run(p: &Product<'_>, c: *mut f32, ahead: &mut Ahead) {
    if p.segments * p.depth == 0 && !p.accumulate {
        for i in 0..p.m {
            // SAFETY: inside C.
            unsafe { c.add(i * p.c_stride).write_bytes(0, p.n) };
        }
    }
    let mut copy = MaybeUninit::<[[__m256; 2]; DEPTH]>::uninit();
    let copy = copy.as_mut_ptr().cast::<f32>();
    for segment in 0..p.segments {
        for first in (0..p.depth).step_by(DEPTH) {
            let depth = DEPTH.min(p.depth - first);
            for j in (0..p.n).step_by(LANES) {
                // SAFETY: the caller's promise; the tiles lie inside C.
                unsafe {
                    let b = p.b.as_ptr().add((segment * p.depth + first) * p.b_stride + j);
                    let (b, b_stride) = if p.m >= WORTH && p.b_stride > NEAR {
                        gather(b, p.b_stride, depth, copy);
                        (copy.cast_const(), LANES)
                    } else {
                        (b, p.b_stride)
                    };
                    let a = p.a.as_ptr().add(segment * p.segment + first * p.column);
                    let accumulate = p.accumulate || segment + first > 0;
                    column(
                        p,
                        Tile {
                            a,
                            row: p.row,
                            column: p.column,
                            depth,
                            b,
                            b_stride,
                            c: c.add(j),
                            c_stride: p.c_stride,
                            accumulate,
                            ahead: b.cast(),
                            ahead_step: 0,
                        },
                        ahead,
                    );
                }
            }
        }
    }
}

/// 16 columns of B, `depth` rows.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn gather(b: *const f32, b_stride: usize, depth: usize, to: *mut f32) {
    for k in 0..depth {
        // SAFETY: inside B, and `to` has room for `DEPTH` rows.
        unsafe {
            let from = b.add(k * b_stride);
            let (low, high) = (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(V)));
            _mm256_storeu_ps(to.add(k * LANES), low);
            _mm256_storeu_ps(to.add(k * LANES + V), high);
        }
    }
}

/// All rows of C; `first` is the first tile.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn column(p: &Product<'_>, first: Tile, ahead: &mut Ahead) {
    let mut i = 0;
    while i < p.m {
        // Rows are shared out evenly: 8 rows are two tiles of 4, not of 6 and 2.
        let left = p.m - i;
        let rows = left.div_ceil(left.div_ceil(ROWS));
        let (line, lines) = ahead.take(first.depth / 4);
        let mut tile = first;
        // SAFETY: the caller's promise.
        unsafe {
            tile.a = first.a.add(i * p.row);
            tile.c = first.c.add(i * p.c_stride);
            // A prefetch of no mapped page would walk the page table in vain.
            if lines > 0 {
                (tile.ahead, tile.ahead_step) = (line, 64);
            }
            match (rows, p.row == 1) {
                (1, true) => multiply::<1, true>(tile),
                (2, true) => multiply::<2, true>(tile),
                (3, true) => multiply::<3, true>(tile),
                (4, true) => multiply::<4, true>(tile),
                (5, true) => multiply::<5, true>(tile),
                (6, true) => multiply::<6, true>(tile),
                (1, false) => multiply::<1, false>(tile),
                (2, false) => multiply::<2, false>(tile),
                (3, false) => multiply::<3, false>(tile),
                (4, false) => multiply::<4, false>(tile),
                (5, false) => multiply::<5, false>(tile),
                (6, false) => multiply::<6, false>(tile),
                _ => unreachable!("a tile has 1 to 6 rows"),
            }
        }
        i += rows;
    }
}

/// The number at `from + times * stride + OFFSET` bytes in every lane.
///
/// In assembly, because the compiler would rather load the numbers of several steps at once and spill most of them.
///
/// # Safety
/// The address must be readable, and `times` at most 2.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn broadcast<const OFFSET: i32>(from: *const f32, stride: usize, times: usize) -> __m256 {
    let number: __m256;
    macro_rules! load {
        ($address:literal) => {
            // SAFETY: reads one number, by the caller's promise.
            unsafe {
                std::arch::asm!(
                    concat!("vbroadcastss {number}, dword ptr [{from} + ", $address, "{offset}] /* {stride} */"),
                    number = lateout(ymm_reg) number,
                    from = in(reg) from,
                    stride = in(reg) stride,
                    offset = const OFFSET,
                    options(nostack, preserves_flags, readonly, pure),
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
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn multiply<const M: usize, const TRANSPOSED: bool>(tile: Tile) {
    let Tile { mut b, b_stride, c, c_stride, row, column, mut ahead, .. } = tile;
    let mut sums = [[_mm256_setzero_ps(); 2]; M];
    if tile.accumulate {
        for i in 0..M {
            for j in 0..2 {
                // SAFETY: inside C.
                sums[i][j] = unsafe { _mm256_loadu_ps(c.add(i * c_stride + j * V)) };
            }
        }
    }
    // SAFETY: inside A and B for every row and column of the tile.
    unsafe {
        // One pointer for three rows: x86 addresses base, base + s and base + 2s.
        let mut a = [tile.a, if TRANSPOSED { tile.a } else { tile.a.wrapping_add(3 * row) }];
        macro_rules! step {
            ($at:literal) => {{
                let vectors = [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(V))];
                b = b.wrapping_add(b_stride);
                for i in 0..M {
                    let number = match TRANSPOSED {
                        true => _mm256_broadcast_ss(&*a[0].add(i)),
                        false => broadcast::<{ 4 * $at }>(a[i / 3], 4 * row, i % 3),
                    };
                    for j in 0..2 {
                        sums[i][j] = _mm256_fmadd_ps(number, vectors[j], sums[i][j]);
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
                a = a.map(|a| a.wrapping_add(4));
            }
        }
        for _ in 0..tile.depth % 4 {
            step!(0);
            if !TRANSPOSED {
                a = a.map(|a| a.wrapping_add(1));
            }
        }
    }
    for i in 0..M {
        for j in 0..2 {
            // SAFETY: inside C.
            unsafe { _mm256_storeu_ps(c.add(i * c_stride + j * V), sums[i][j]) };
        }
    }
}

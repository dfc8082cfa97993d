//! What a kernel needs of a vector register. See [`super`].

use crate::kernels::NORMAL;
use half::bf16;
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

/// A register of `LANES` f32.
///
/// # Safety
/// Every method may be called only inside a function compiled for, and run on a CPU with, the implementor's features.
/// Pointers must be valid for the lanes read or written; no alignment is asked. All methods are `inline(always)`: they
/// must vanish into the one function that carries the `target_feature`.
pub(in crate::kernels) trait Vector: Copy {
    const LANES: usize;
    /// Vectors of a row held in registers at once; twice that many, and a few more, must fit the register file.
    const BLOCK: usize;
    /// Whether kernels over lists of rows prefetch by [`prefetch_near`]; else by [`prefetch`].
    const NEAR: bool = false;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `n < LANES` lanes from memory, the others from `fill`; memory beyond them is not touched.
    unsafe fn load_first(from: *const f32, n: usize, fill: Self) -> Self;
    /// The first `n < LANES` lanes to memory.
    unsafe fn store_first(self, to: *mut f32, n: usize);
    /// `from[indices[lane]]`, the indices below 2³¹.
    unsafe fn gather(from: *const f32, indices: *const u32) -> Self;
    /// (m, v) from words that hold m in the upper and v in the lower half, both bf16.
    unsafe fn load_moments(from: *const u32) -> (Self, Self);
    /// m rounded to the nearest, v up or down at random: the upper half of `further(noise, places + lane)` is added to what is
    /// cut off.
    unsafe fn store_moments(to: *mut u32, m: Self, v: Self, noise: u32, places: usize);
    unsafe fn load_bf16(from: *const bf16) -> Self;
    /// Two vectors, one after the other.
    #[inline(always)]
    unsafe fn load_two_bf16(from: *const bf16) -> [Self; 2] {
        // SAFETY: the caller's promise.
        unsafe { [Self::load_bf16(from), Self::load_bf16(from.add(Self::LANES))] }
    }
    /// Rounds up or down at random: the lower half of `further(noise, places + lane)` is added to what is cut off.
    unsafe fn store_bf16(self, to: *mut bf16, noise: u32, places: usize);
    /// Two vectors, one after the other.
    #[inline(always)]
    unsafe fn store_two_bf16([first, second]: [Self; 2], to: *mut bf16, noise: u32, places: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            first.store_bf16(to, noise, places);
            second.store_bf16(to.add(Self::LANES), noise, places + Self::LANES);
        }
    }

    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;
    /// The larger; `other` where either is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller; `other` where either is NaN.
    unsafe fn min(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn sqrt(self) -> Self;
    /// `self / (√square + epsilon)`, to within 2⁻¹² of itself; `square` is a normal number.
    #[inline(always)]
    unsafe fn over_root_about(self, square: Self, epsilon: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.div(square.sqrt().add(epsilon)) }
    }
    /// Zero where none of `bits` is set.
    unsafe fn keep(self, bits: u32) -> Self;
    /// The lanes whose magnitude exceeds that of `least`, as bits; `least` is not negative.
    unsafe fn beyond(self, least: Self) -> u32;
    /// `least` with the sign of `self` where the magnitude of `self` is below it; `least` is not negative.
    unsafe fn at_least(self, least: Self) -> Self;
    /// The lanes whose bits are set to memory, side by side; what follows them, to the end of a register, may change.
    unsafe fn store_chosen(self, lanes: u32, to: *mut f32);
    /// The nearest integer.
    unsafe fn round(self) -> Self;
    /// `self * 2^exponent`, `exponent` an integer in -252..=252; overflows to ∞ and underflows to 0.
    unsafe fn scale(self, exponent: Self) -> Self;
    /// Sum of the lanes.
    unsafe fn sum(self) -> f32;
    /// Largest lane.
    unsafe fn largest(self) -> f32;

    /// e^self, to 2 units in the last place; 0 where that is below the normal numbers, ∞ above 88.73, NaN for NaN.
    #[inline(always)]
    unsafe fn exp(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            // The operand order keeps a NaN.
            Self::splat(89.0).min(Self::splat(-105.0).max(self)).exp_between().keep(NORMAL)
        }
    }

    /// e^max(self, lowest) alike, self at most 88 and lowest at least −87: neither clamps nor tests at the far ends.
    #[inline(always)]
    unsafe fn exp_from(self, lowest: f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(lowest).max(self).exp_between() }
    }

    /// e^self for -105 <= self <= 89, where it may be subnormal.
    ///
    /// x = n ln 2 + r with |r| <= ln 2 / 2. The polynomial in r has degree 5 and, of those that begin with 1 + r, the
    /// smallest relative error: 1.1e-7.
    #[inline(always)]
    unsafe fn exp_between(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let n = self.mul(Self::splat(std::f32::consts::LOG2_E)).round();
            // ln 2 in two parts, the first short enough that n times it is exact.
            let r = n.mul_add(Self::splat(-355.0 / 512.0), self);
            let r = n.mul_add(Self::splat(2.121_944_4e-4), r);
            let mut sum = Self::splat(0.008_312_478);
            for coefficient in [0.041_890_55, 0.166_671_16, 0.499_992_28, 1.0, 1.0] {
                sum = sum.mul_add(r, Self::splat(coefficient));
            }
            sum.scale(n)
        }
    }
}

/// How many bytes ahead of the work [`prefetch`] runs.
pub(super) const FAR_BYTES: usize = 24 << 10;
/// How many bytes ahead of the work [`prefetch_near`] runs. (Of 4, 8 and 16 KiB; the cache has 32 or 48.)
pub(super) const NEAR_BYTES: usize = 8 << 10;

/// Asks for the cache line at `at`; never faults, whatever the address.
///
/// Into the second-level cache and far ahead, because a line on its way to the first level holds one of the core's 16
/// or so fill buffers for the whole latency of memory, which is what limits random reads (on a Sapphire Rapids core 9
/// GB/s, with or without such prefetches); the second level keeps 48 lines on their way (11.5 GB/s, and 21 for 14 when
/// rows are also written). Too near ahead is worse than nothing: the read then finds its line still on the way.
#[inline(always)]
pub(in crate::kernels) fn prefetch(at: *const i8) {
    // SAFETY: a hint.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(at) }
}

/// Asks for the cache line at `at`, into the first-level cache; never faults, whatever the address.
///
/// For AMD's cores, whose first level keeps as many lines on their way as the second does. With the second level as the
/// goal, every read still waits for that: on a Zen 5 core (AVX-512, medians of 4) rows in inner products go by at 26.9 GB/s
/// for 28.4, gathered ones at 24.4 for 27.6, rows that Adam moves at 46.1 for 48.5. Older cores of AMD's are not measured.
#[inline(always)]
pub(super) fn prefetch_near(at: *const i8) {
    // SAFETY: a hint.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at) }
}

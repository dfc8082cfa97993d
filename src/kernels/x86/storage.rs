//! How rows lie in memory: as f32, or compact ([`crate::kernels::compact`]).

#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::{Vector, prefetch};
use crate::kernels::compact::{CompactRows, mixed};
use crate::kernels::{AdamRows, check};
use half::bf16;

/// A weight as the forward pass reads it.
pub(super) trait Weight: Copy {
    unsafe fn load<V: Vector>(from: *const Self) -> V;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        V::load(from)
    }
}

impl Weight for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        V::load_bf16(from)
    }
}

/// Prefetches the line in which the `vector`-th vector from `at` starts, if it is the first to start there, `at` being
/// the start of a line.
#[inline(always)]
pub(super) fn prefetch_vector<V: Vector, T>(at: *const T, vector: usize) {
    if (vector * V::LANES * size_of::<T>()).is_multiple_of(64) {
        prefetch(at.wrapping_add(vector * V::LANES).cast());
    }
}

/// Rows under Adam, as a kernel is given them.
pub(super) trait Rows {
    type State: State;

    /// Asserts that the arrays have one length and returns it.
    fn checked_len(&self) -> usize;
    fn state(self) -> Self::State;
    /// What to round with in this call.
    fn seed(&self) -> u32;
}

/// Pointers into weights and moments at one offset.
pub(super) trait State: Copy {
    type Weight: Weight;
    /// Bytes of a weight and its moments.
    const BYTES: usize;

    fn weights(self) -> *const Self::Weight;
    fn wrapping_add(self, offset: usize) -> Self;
    /// Prefetches the `vector`-th vector; see [`prefetch_vector`].
    fn prefetch<V: Vector>(self, vector: usize);
    /// (w, m, v).
    unsafe fn load<V: Vector>(self) -> (V, V, V);
    /// `noise` is what the first lane is rounded with, see [`Vector::store_bf16_dithered`].
    unsafe fn store<V: Vector>(self, w: V, m: V, v: V, noise: u32);
}

/// w, m and v in f32.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) w: *mut f32,
    pub(super) m: *mut f32,
    pub(super) v: *mut f32,
}

impl Plain {
    pub(super) fn new(rows: AdamRows<'_>) -> Self {
        Self { w: rows.w.as_mut_ptr(), m: rows.m.as_mut_ptr(), v: rows.v.as_mut_ptr() }
    }
}

impl Rows for AdamRows<'_> {
    type State = Plain;

    #[inline(always)]
    fn checked_len(&self) -> usize {
        check::state(self)
    }

    #[inline(always)]
    fn state(self) -> Plain {
        Plain::new(self)
    }

    #[inline(always)]
    fn seed(&self) -> u32 {
        0
    }
}

impl State for Plain {
    type Weight = f32;
    const BYTES: usize = 12;

    #[inline(always)]
    fn weights(self) -> *const f32 {
        self.w
    }

    #[inline(always)]
    fn wrapping_add(self, offset: usize) -> Self {
        Self { w: self.w.wrapping_add(offset), m: self.m.wrapping_add(offset), v: self.v.wrapping_add(offset) }
    }

    #[inline(always)]
    fn prefetch<V: Vector>(self, vector: usize) {
        for table in [self.w, self.m, self.v] {
            prefetch_vector::<V, f32>(table, vector);
        }
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(self) -> (V, V, V) {
        (V::load(self.w), V::load(self.m), V::load(self.v))
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(self, w: V, m: V, v: V, _noise: u32) {
        w.store(self.w);
        m.store(self.m);
        v.store(self.v);
    }
}

/// w in two halves, m and v in bf16.
#[derive(Clone, Copy)]
pub(super) struct Compact {
    high: *mut bf16,
    low: *mut i16,
    m: *mut bf16,
    v: *mut bf16,
}

impl Rows for CompactRows<'_> {
    type State = Compact;

    #[inline(always)]
    fn checked_len(&self) -> usize {
        self.checked_len()
    }

    #[inline(always)]
    fn state(self) -> Compact {
        Compact {
            high: self.high.as_mut_ptr(),
            low: self.low.as_mut_ptr(),
            m: self.m.as_mut_ptr(),
            v: self.v.as_mut_ptr(),
        }
    }

    #[inline(always)]
    fn seed(&self) -> u32 {
        mixed(self.seed)
    }
}

impl State for Compact {
    type Weight = bf16;
    const BYTES: usize = 8;

    #[inline(always)]
    fn weights(self) -> *const bf16 {
        self.high
    }

    #[inline(always)]
    fn wrapping_add(self, offset: usize) -> Self {
        Self {
            high: self.high.wrapping_add(offset),
            low: self.low.wrapping_add(offset),
            m: self.m.wrapping_add(offset),
            v: self.v.wrapping_add(offset),
        }
    }

    #[inline(always)]
    fn prefetch<V: Vector>(self, vector: usize) {
        for table in [self.high, self.m, self.v] {
            prefetch_vector::<V, bf16>(table, vector);
        }
        prefetch_vector::<V, i16>(self.low, vector);
    }

    #[inline(always)]
    unsafe fn load<V: Vector>(self) -> (V, V, V) {
        (V::load_split(self.high, self.low), V::load_bf16(self.m), V::load_bf16(self.v))
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(self, w: V, m: V, v: V, noise: u32) {
        w.store_split(self.high, self.low);
        m.store_bf16(self.m);
        v.store_bf16_dithered(self.v, noise);
    }
}

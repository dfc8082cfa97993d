//! How rows lie in memory: weights in f32 or bf16 ([`crate::kernels::weights`]), moments in f32 or packed
//! ([`crate::kernels::packed`]).

#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::{Vector, prefetch, prefetch_near};
use crate::kernels::packed::PackedRows;
use crate::kernels::weights::{Bf16Rows, Weight};
use crate::kernels::{AdamRows, portable};
use half::bf16;

/// Prefetches the line in which the `vector`-th vector from `at` starts, if it is the first to start there, `at` being
/// the start of a line.
#[inline(always)]
pub(super) fn prefetch_vector<V: Vector, T>(at: *const T, vector: usize) {
    if (vector * V::LANES * size_of::<T>()).is_multiple_of(64) {
        let at = at.wrapping_add(vector * V::LANES).cast();
        if V::NEAR { prefetch_near(at) } else { prefetch(at) }
    }
}

/// The same pointer, of which the compiler no longer knows that it is a sum.
///
/// An instruction that computes with an operand in memory counts as one in the CPU's reorder buffer, but as two if the
/// operand's address is a base and an index. How far ahead a core reads is bounded by that count: rows are updated 5 %
/// faster with every row's address in a register of its own.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // Nothing is read or written through it there.
pub(super) fn in_register<T>(mut at: *mut T) -> *mut T {
    // SAFETY: nothing happens.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags)) };
    at
}

/// Rows under Adam, as a kernel is given them.
pub(super) trait AdamState: portable::Rows<Weight: Element> {
    type State: State<Weight = Self::Weight>;

    fn state(self) -> Self::State;
}

/// What a weight lies in memory as.
pub(super) trait Element: Copy {
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    unsafe fn load_two<V: Vector>(from: *const Self) -> [V; 2];
    /// See [`Vector::store_bf16`].
    unsafe fn store<V: Vector>(to: *mut Self, w: V, noise: u32, places: usize);
    /// See [`Vector::store_two_bf16`].
    unsafe fn store_two<V: Vector>(to: *mut Self, w: [V; 2], noise: u32, places: usize);
}

impl Element for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        V::load(from)
    }

    #[inline(always)]
    unsafe fn load_two<V: Vector>(from: *const f32) -> [V; 2] {
        [V::load(from), V::load(from.add(V::LANES))]
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(to: *mut f32, w: V, _noise: u32, _places: usize) {
        w.store(to);
    }

    #[inline(always)]
    unsafe fn store_two<V: Vector>(to: *mut f32, [first, second]: [V; 2], _noise: u32, _places: usize) {
        first.store(to);
        second.store(to.add(V::LANES));
    }
}

impl Element for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const bf16) -> V {
        V::load_bf16(from)
    }

    #[inline(always)]
    unsafe fn load_two<V: Vector>(from: *const bf16) -> [V; 2] {
        V::load_two_bf16(from)
    }

    #[inline(always)]
    unsafe fn store<V: Vector>(to: *mut bf16, w: V, noise: u32, places: usize) {
        w.store_bf16(to, noise, places);
    }

    #[inline(always)]
    unsafe fn store_two<V: Vector>(to: *mut bf16, w: [V; 2], noise: u32, places: usize) {
        V::store_two_bf16(w, to, noise, places);
    }
}

/// Pointers into weights and moments at one offset.
pub(super) trait State: Copy {
    type Weight: Element;
    /// Bytes of a weight and its moments.
    const BYTES: usize;
    /// Whether moments are kept to 2⁻⁹ of themselves, so that a step need not be more exact than by 2⁻¹².
    const ROUGH: bool = false;

    fn weights(self) -> *mut Self::Weight;
    fn wrapping_add(self, offset: usize) -> Self;
    /// Each pointer by [`in_register`].
    fn in_registers(self) -> Self;
    /// Prefetches the `vector`-th vector; see [`prefetch_vector`].
    fn prefetch<V: Vector>(self, vector: usize);
    /// (m, v).
    unsafe fn moments<V: Vector>(self) -> (V, V);
    /// See [`Vector::store_moments`].
    unsafe fn store_moments<V: Vector>(self, m: V, v: V, noise: u32, places: usize);
}

/// m and v in f32.
#[derive(Clone, Copy)]
pub(super) struct Plain<W = f32> {
    pub(super) w: *mut W,
    pub(super) m: *mut f32,
    pub(super) v: *mut f32,
}

impl Plain {
    pub(super) fn new(rows: AdamRows<'_>) -> Self {
        Self { w: rows.w.as_mut_ptr(), m: rows.m.as_mut_ptr(), v: rows.v.as_mut_ptr() }
    }
}

impl AdamState for AdamRows<'_> {
    type State = Plain;

    #[inline(always)]
    fn state(self) -> Plain {
        Plain::new(self)
    }
}

impl AdamState for Bf16Rows<'_> {
    type State = Plain<bf16>;

    #[inline(always)]
    fn state(self) -> Plain<bf16> {
        Plain { w: self.w.as_mut_ptr(), m: self.m.as_mut_ptr(), v: self.v.as_mut_ptr() }
    }
}

impl<W: Element> State for Plain<W> {
    type Weight = W;
    const BYTES: usize = size_of::<W>() + 8;

    #[inline(always)]
    fn weights(self) -> *mut W {
        self.w
    }

    #[inline(always)]
    fn wrapping_add(self, offset: usize) -> Self {
        Self { w: self.w.wrapping_add(offset), m: self.m.wrapping_add(offset), v: self.v.wrapping_add(offset) }
    }

    #[inline(always)]
    fn in_registers(self) -> Self {
        Self { w: in_register(self.w), m: in_register(self.m), v: in_register(self.v) }
    }

    #[inline(always)]
    fn prefetch<V: Vector>(self, vector: usize) {
        prefetch_vector::<V, W>(self.w, vector);
        for table in [self.m, self.v] {
            prefetch_vector::<V, f32>(table, vector);
        }
    }

    #[inline(always)]
    unsafe fn moments<V: Vector>(self) -> (V, V) {
        (V::load(self.m), V::load(self.v))
    }

    #[inline(always)]
    unsafe fn store_moments<V: Vector>(self, m: V, v: V, _noise: u32, _places: usize) {
        m.store(self.m);
        v.store(self.v);
    }
}

/// m and v in one word.
#[derive(Clone, Copy)]
pub(super) struct Packed<W> {
    w: *mut W,
    moments: *mut u32,
}

impl<W: Weight + Element> AdamState for PackedRows<'_, W> {
    type State = Packed<W>;

    #[inline(always)]
    fn state(self) -> Packed<W> {
        Packed { w: self.w.as_mut_ptr(), moments: self.moments.as_mut_ptr() }
    }
}

impl<W: Element> State for Packed<W> {
    type Weight = W;
    const BYTES: usize = size_of::<W>() + 4;
    const ROUGH: bool = true;

    #[inline(always)]
    fn weights(self) -> *mut W {
        self.w
    }

    #[inline(always)]
    fn wrapping_add(self, offset: usize) -> Self {
        Self { w: self.w.wrapping_add(offset), moments: self.moments.wrapping_add(offset) }
    }

    #[inline(always)]
    fn in_registers(self) -> Self {
        Self { w: in_register(self.w), moments: in_register(self.moments) }
    }

    #[inline(always)]
    fn prefetch<V: Vector>(self, vector: usize) {
        prefetch_vector::<V, W>(self.w, vector);
        prefetch_vector::<V, u32>(self.moments, vector);
    }

    #[inline(always)]
    unsafe fn moments<V: Vector>(self) -> (V, V) {
        V::load_moments(self.moments)
    }

    #[inline(always)]
    unsafe fn store_moments<V: Vector>(self, m: V, v: V, noise: u32, places: usize) {
        V::store_moments(self.moments, m, v, noise, places);
    }
}

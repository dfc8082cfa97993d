//! Vectors whose kernels prefetch nearer: a wrapper that differs in [`Vector::NEAR`] and in nothing else.

#![allow(unsafe_op_in_unsafe_fn)]

use super::vector::Vector;
use half::bf16;

/// `V`, with rows prefetched into the first-level cache.
#[derive(Clone, Copy)]
pub(super) struct Near<V>(V);

/// Methods that take vectors and numbers and return a vector.
macro_rules! wrapped {
    ($($name:ident($($vector:ident),* $(; $number:ident: $type:ty)?);)*) => {
        $(#[inline(always)]
        unsafe fn $name(self, $($vector: Self,)* $($number: $type)?) -> Self {
            Self(self.0.$name($($vector.0,)* $($number)?))
        })*
    };
}

impl<V: Vector> Vector for Near<V> {
    const LANES: usize = V::LANES;
    const BLOCK: usize = V::BLOCK;
    const NEAR: bool = true;

    wrapped! {
        add(other);
        sub(other);
        mul(other);
        mul_add(factor, term);
        max(other);
        min(other);
        div(other);
        sqrt();
        keep(; bits: u32);
        over_root_about(square, epsilon);
        at_least(least);
        round();
        scale(exponent);
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(V::splat(value))
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(V::load(from))
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        self.0.store(to);
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize, fill: Self) -> Self {
        Self(V::load_first(from, n, fill.0))
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        self.0.store_first(to, n);
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, indices: *const u32) -> Self {
        Self(V::gather(from, indices))
    }

    #[inline(always)]
    unsafe fn load_moments(from: *const u32) -> (Self, Self) {
        let (m, v) = V::load_moments(from);
        (Self(m), Self(v))
    }

    #[inline(always)]
    unsafe fn store_moments(to: *mut u32, m: Self, v: Self, noise: u32, places: usize) {
        V::store_moments(to, m.0, v.0, noise, places);
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        Self(V::load_bf16(from))
    }

    #[inline(always)]
    unsafe fn load_two_bf16(from: *const bf16) -> [Self; 2] {
        V::load_two_bf16(from).map(Self)
    }

    #[inline(always)]
    unsafe fn store_two_bf16([first, second]: [Self; 2], to: *mut bf16, noise: u32, places: usize) {
        V::store_two_bf16([first.0, second.0], to, noise, places);
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16, noise: u32, places: usize) {
        self.0.store_bf16(to, noise, places);
    }

    #[inline(always)]
    unsafe fn beyond(self, least: Self) -> u32 {
        self.0.beyond(least.0)
    }

    #[inline(always)]
    unsafe fn store_chosen(self, lanes: u32, to: *mut f32) {
        self.0.store_chosen(lanes, to);
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        self.0.sum()
    }

    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        self.0.largest()
    }
}

//! A read-only array that either owns its memory or borrows it from a memory-mapped cache file.

use memmap2::Mmap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A `[T]` that lives on the heap or in a mapped file; reads the same either way.
#[derive(Clone)]
pub struct Array<T: bytemuck::Pod>(Storage<T>);

#[derive(Clone)]
enum Storage<T> {
    Owned(Vec<T>),
    /// `len` values of `T` from byte `start` of the map: checked for bounds and alignment in [`Array::mapped`].
    Mapped {
        map: Arc<Mmap>,
        start: usize,
        bytes: usize,
        marker: std::marker::PhantomData<T>,
    },
}

impl<T: bytemuck::Pod> Array<T> {
    /// The `bytes` bytes from `start` of `map`, or `None` where they are not whole, aligned values inside the map.
    pub(super) fn mapped(map: &Arc<Mmap>, start: usize, bytes: usize) -> Option<Self> {
        let slice = map.get(start..start.checked_add(bytes)?)?;
        bytemuck::try_cast_slice::<u8, T>(slice).ok()?;
        Some(Self(Storage::Mapped { map: map.clone(), start, bytes, marker: std::marker::PhantomData }))
    }
}

impl<T: bytemuck::Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Storage::Owned(values) => values,
            Storage::Mapped { map, start, bytes, .. } => bytemuck::cast_slice(&map[*start..start + bytes]),
        }
    }
}

impl<T: bytemuck::Pod> Default for Array<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T: bytemuck::Pod> From<Vec<T>> for Array<T> {
    fn from(values: Vec<T>) -> Self {
        Self(Storage::Owned(values))
    }
}

impl<T: bytemuck::Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: bytemuck::Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

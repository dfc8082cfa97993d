//! Where numbers lie: large zeroed arrays on huge pages, and vectors that start on a cache line.
//!
//! The output layer's tables are hundreds of megabytes read at random rows, so with 4 KiB pages nearly every row costs
//! a TLB miss; SLIDE's authors report 1.3x from huge pages. Linux's usual policy (`madvise`) gives them only to
//! mappings that ask, which a `Vec` does not. A [`Buffer`] is its own anonymous mapping and can ask, or refuse, so that
//! the difference can be measured.

use aligned_vec::{AVec, ConstAlign};
use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// Whether a [`Buffer`] asks for huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HugePages {
    /// Ask; the system may still say no.
    #[default]
    Ask,
    /// Refuse, even where the system gives them to everyone.
    Never,
}

/// A zeroed array of `T` in its own anonymous mapping: page-aligned (so 64-byte aligned), and free of physical memory
/// until touched. Made for few, large arrays; every one costs at least a page.
pub struct Buffer<T: Pod = f32> {
    map: MmapMut,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// `len` zeros.
    ///
    /// # Errors
    /// When the system refuses the address space: out of memory.
    pub fn zeroed(len: usize, huge: HugePages) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // A mapping cannot be empty.
        let map = MmapMut::map_anon(bytes.max(1))?;
        advise(&map, huge);
        Ok(Self { map, len, element: PhantomData })
    }

    /// A copy of `values`, written (and so faulted in) by all threads.
    ///
    /// # Errors
    /// As [`Buffer::zeroed`].
    pub fn copied(values: &[T], huge: HugePages) -> io::Result<Self>
    where
        T: Send + Sync,
    {
        let mut buffer = Self::zeroed(values.len(), huge)?;
        let chunk = (FAULT_BYTES / size_of::<T>().max(1)).max(1);
        buffer.par_chunks_mut(chunk).zip(values.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from));
        Ok(buffer)
    }

    /// Touches every page with all threads, so that no page fault falls inside a clock (4 s of them for the tables of
    /// Amazon-670K), and so that pages lie on the memory of more than one socket. Contents stay.
    pub fn prefault(&mut self) {
        self.map.par_chunks_mut(FAULT_BYTES).for_each(|chunk| {
            for page in chunk.chunks_mut(PAGE_BYTES) {
                // A write, or the kernel maps the shared page of zeros; volatile, or the compiler removes it.
                // SAFETY: `page` is a non-empty exclusive slice of initialised bytes.
                unsafe { page.as_mut_ptr().write_volatile(page[0]) }
            }
        });
    }

    /// Bytes of the array.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }

    /// Bytes of the array that lie on huge pages now, as Linux tells it; none where it cannot be told. The kernel
    /// counts by memory region and may have joined this one to a neighbour: then at most [`Buffer::bytes`] is told.
    pub fn huge_bytes(&self) -> Option<usize> {
        let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let start = self.map.as_ptr() as usize;
        Some(huge_bytes_between(&smaps, start, start + self.map.len())?.min(self.bytes()))
    }
}

/// A thread touches pages of this many bytes at a time: a whole huge page, so that two threads never fault on one.
const FAULT_BYTES: usize = 2 << 20;
/// The smallest page of any system this runs on.
const PAGE_BYTES: usize = 4096;

/// A vector whose first element starts a cache line, for whatever is read or written by whole registers or tiles: where
/// rows straddle lines, a 512-bit load is two accesses, and a tile of AMX takes 15 ns to load instead of 2.
#[derive(Clone, Debug)]
pub struct Aligned<T = f32>(AVec<T, ConstAlign<64>>);

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self(AVec::new(64))
    }
}

impl<T> Aligned<T> {
    /// Bytes of memory held.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<T>()
    }
}

impl<T: Zeroable + Clone> Aligned<T> {
    /// The first `len` values; where there have never been so many, zeros are added. Nothing is ever taken away, because to
    /// add again takes a good part of a nanosecond a value.
    pub fn first(&mut self, len: usize) -> &mut [T] {
        if self.0.len() < len {
            self.0.resize(len, T::zeroed());
        }
        &mut self.0[..len]
    }
}

impl<T: Copy> From<&[T]> for Aligned<T> {
    fn from(values: &[T]) -> Self {
        Self(AVec::from_slice(64, values))
    }
}

impl<T> Deref for Aligned<T> {
    type Target = AVec<T, ConstAlign<64>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

#[cfg(target_os = "linux")]
fn advise(map: &MmapMut, huge: HugePages) {
    use memmap2::Advice;
    // Advice only: a kernel built without huge pages refuses it, and the array works all the same.
    let _ = map.advise(match huge {
        HugePages::Ask => Advice::HugePage,
        HugePages::Never => Advice::NoHugePage,
    });
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &MmapMut, _: HugePages) {}

/// Sum of `AnonHugePages` over the regions of `smaps` that overlap `start..end`; none if no region does.
fn huge_bytes_between(smaps: &str, start: usize, end: usize) -> Option<usize> {
    let mut total = None;
    let mut inside = false;
    for line in smaps.lines() {
        if let Some(kilobytes) = line.strip_prefix("AnonHugePages:") {
            let kilobytes: usize = kilobytes.trim().strip_suffix("kB")?.trim().parse().ok()?;
            if inside {
                total = Some(total.unwrap_or(0) + kilobytes * 1024);
            }
        } else if let Some((from, to)) = region(line) {
            inside = from < end && start < to;
        }
    }
    total
}

/// The address range that opens a region of `smaps`: `7f00-7f80 rw-p ...`.
fn region(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split_whitespace().next()?.split_once('-')?;
    Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.bytes()])
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.bytes();
        bytemuck::cast_slice_mut(&mut self.map[..bytes])
    }
}

impl<T: Pod> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} x {})", self.len, std::any::type_name::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_zeroed_aligned_and_keeps_what_is_written() {
        for huge in [HugePages::Ask, HugePages::Never] {
            let mut buffer = Buffer::<f32>::zeroed(1_000_003, huge).unwrap();
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert_eq!((buffer.len(), buffer.bytes()), (1_000_003, 4_000_012));
            assert!(buffer.iter().all(|&x| x == 0.0));
            buffer[1_000_002] = 7.0;
            buffer[0] = 3.0;
            buffer.prefault();
            assert_eq!((buffer[0], buffer[1], buffer[1_000_002]), (3.0, 0.0, 7.0));
        }
    }

    #[test]
    fn aligned_vectors_start_a_cache_line_however_they_grow() {
        let mut vector = Aligned::<f32>::default();
        for len in [1, 17, 1 << 12, 1 << 20] {
            vector.resize(len, 1.0);
            assert!(vector.as_ptr().addr().is_multiple_of(64) && vector.iter().all(|&x| x == 1.0));
        }
        assert!(Aligned::from(&[1u32, 2][..]).as_ptr().addr().is_multiple_of(64));
    }

    #[test]
    fn buffers_hold_other_types_and_nothing() {
        let values: Vec<u16> = (0..3_000_000u32).map(|i| i as u16).collect();
        assert_eq!(&Buffer::copied(&values, HugePages::Ask).unwrap()[..], &values[..]);
        let mut empty = Buffer::<u64>::zeroed(0, HugePages::Ask).unwrap();
        empty.prefault();
        assert!(empty.is_empty());
    }

    #[test]
    fn more_memory_than_there_is_address_space_is_an_error() {
        assert!(Buffer::<f32>::zeroed(usize::MAX / 2, HugePages::Ask).is_err());
        assert!(Buffer::<u8>::zeroed(1 << 60, HugePages::Ask).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn refused_huge_pages_are_not_granted() {
        let mut buffer = Buffer::<u8>::zeroed(8 << 20, HugePages::Never).unwrap();
        buffer.prefault();
        assert_eq!(buffer.huge_bytes(), Some(0));
    }

    #[test]
    fn smaps_are_read_by_region() {
        let smaps = "1000-2000 rw-p 00000000 00:00 0 \nSize: 4 kB\nAnonHugePages:         4 kB\n\
                     2000-5000 rw-p 00000000 00:00 0 [heap]\nAnonHugePages:         6144 kB\nVmFlags: rd wr\n";
        assert_eq!(huge_bytes_between(smaps, 0x2000, 0x5000), Some(6144 * 1024));
        assert_eq!(huge_bytes_between(smaps, 0x1800, 0x2800), Some(6148 * 1024));
        assert_eq!(huge_bytes_between(smaps, 0x9000, 0xa000), None);
    }
}

//! What several engines share.

use std::marker::PhantomData;
use std::ops::Range;

/// The CPU's own name for itself.
pub fn cpu_model() -> String {
    let Ok(mut system) = sysinfo::System::new() else { return "unknown CPU".into() };
    system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
    system.cpus().first().map_or_else(|| "unknown CPU".into(), |cpu| cpu.brand().trim().to_string())
}

/// How much of an engine's weights and state lies on huge pages, for its notes.
pub fn huge_pages_note(huge: Option<usize>, of: u64) -> Option<(String, String)> {
    let mib = |bytes: u64| bytes >> 20;
    huge.map(|huge| ("huge pages".into(), format!("{} of {} MiB", mib(huge as u64), mib(of))))
}

/// What weights that stood still over the snapshots after the `from`-th up to the `to`-th count in the average of the first
/// `to`; the average of the first `from` counts what they leave. Polynomial decay: the n-th snapshot alone counts
/// (η + 1)/(n + η) with η = 3, so that about the last quarter of training is averaged, however long it is, and nobody need
/// know its end; and Π (n − 1)/(n + 3), what n from `from + 1` to `to` leave, is a quotient of four factors each. (Shamir and
/// Zhang, "Stochastic gradient descent for non-smooth optimization", ICML 2013.)
pub fn snapshot_share(from: u32, to: u32) -> f32 {
    let left: f64 = (0..4).map(|i| f64::from(i + from) / f64::from(i + to)).product();
    (1.0 - left) as f32
}

/// What is to be said of an engine that averages its weights after every `every`-th step; of one that does not, nothing.
pub fn average_note(every: u64) -> Option<(String, String)> {
    let words = || format!("average of those after every {every}th step, in which the last count more");
    (every > 0).then(|| ("evaluated weights".into(), words()))
}

/// A slice that parallel tasks write in places of their own, where the places are not equal chunks.
#[derive(Clone, Copy, Debug)]
pub struct Shards<'a, T> {
    start: *mut T,
    len: usize,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shards` is a `&mut [T]` whose elements go to one thread each, by the contract of `take`.
unsafe impl<T: Send> Send for Shards<'_, T> {}
unsafe impl<T: Send> Sync for Shards<'_, T> {}

impl<'a, T> Shards<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrowed: PhantomData }
    }

    /// Where the elements of `range` lie and how many they are, cut to the slice.
    pub fn place(&self, range: Range<usize>) -> (*const T, usize) {
        let start = range.start.min(self.len);
        (self.start.wrapping_add(start), range.end.clamp(start, self.len) - start)
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No two slices taken may overlap while both are alive.
    ///
    /// # Panics
    /// If the range leaves the slice.
    pub unsafe fn take(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the slice by the assertion, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

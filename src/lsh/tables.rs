//! T hash tables in flat memory.
//!
//! A rebuild hashes all weight rows, block by block, then files the ids table by table with a counting sort: count the
//! ids of every bucket, add the counts up to where each bucket ends, place the ids. A table is thus one run of ids and
//! one run of offsets; nothing is linked, and a rebuild takes no memory that the first build did not already take.
//! Tables are filed independently of each other, so the result is the same at any number of threads.
//!
//! Where there are far more buckets than neurons (K 8 with exact packing: 16.8 million) offsets for every bucket would
//! be most of the memory and of the work. Then buckets share slots, about one a neuron, by a hash of their index, and
//! the ids of a slot are sorted by bucket, so that a bucket is again one run, found by binary search.
//!
//! All ids are filed; a bucket's capacity is applied to what it shows. Under FIFO these are the last ids of its run.
//! A reservoir keeps a uniform sample of what came, so where too many came a partial shuffle of the run (Fisher and
//! Yates) brings such a sample to its end: the same distribution as Vitter's algorithm R, without a random number for
//! every insertion.

use super::random::{below, mix};
use super::{Hasher, IncrementalSimHash, Insertion};
use crate::kernels::weights::Weights;
use rayon::prelude::*;

/// Rows hashed in one task; the bucket indices of a chunk lie together, table after table.
const CHUNK: usize = 2048;

/// T tables of neuron ids.
#[derive(Clone, Debug)]
pub struct Tables {
    tables: usize,
    buckets: usize,
    capacity: usize,
    insertion: Insertion,
    neurons: usize,
    slots: Slots,
    /// T x neurons, in each table slot after slot.
    ids: Vec<u32>,
    /// T x (slots + 1): where each slot begins in its table's `ids`, and where the last one ends.
    offsets: Vec<u32>,
    /// Bucket indices of all neurons: chunk after chunk, in each table after table.
    codes: Vec<u32>,
}

/// Where the ids of a bucket lie.
#[derive(Clone, Copy, Debug)]
enum Slots {
    /// Each bucket has its own slot.
    Own(usize),
    /// Buckets share 2^`.0` slots.
    Shared(u32),
}

impl Slots {
    fn new(buckets: usize, neurons: usize) -> Self {
        let shared = neurons.max(2).next_power_of_two();
        if buckets <= 4 * shared { Self::Own(buckets) } else { Self::Shared(shared.trailing_zeros()) }
    }

    fn count(self) -> usize {
        match self {
            Self::Own(buckets) => buckets,
            Self::Shared(bits) => 1 << bits,
        }
    }

    #[inline(always)]
    fn of(self, bucket: u32) -> usize {
        match self {
            Self::Own(_) => bucket as usize,
            Self::Shared(bits) => (bucket.wrapping_mul(0x9E37_79B1) >> (u32::BITS - bits)) as usize,
        }
    }
}

/// How full the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Occupancy {
    /// Buckets there are, over all tables.
    pub buckets: u64,
    /// Buckets that hold an id.
    pub used: u64,
    /// Ids kept.
    pub ids: u64,
    /// Ids that found no room.
    pub dropped: u64,
    /// Buckets to which more ids came than fit.
    pub overflowed: u64,
    /// Most ids that came to one bucket, kept or not.
    pub largest: u64,
}

impl Occupancy {
    /// Ids in a used bucket, on average.
    pub fn mean(&self) -> f64 {
        if self.used == 0 { 0.0 } else { self.ids as f64 / self.used as f64 }
    }
}

impl Tables {
    /// Empty tables for `neurons` ids under `hasher`'s functions and settings.
    pub fn new(hasher: &Hasher, neurons: usize) -> Self {
        let (tables, buckets) = (hasher.tables(), hasher.buckets());
        let slots = Slots::new(buckets, neurons);
        Self {
            tables,
            buckets,
            capacity: hasher.settings().capacity,
            insertion: hasher.settings().insertion,
            neurons,
            slots,
            ids: vec![0; tables * neurons],
            offsets: vec![0; tables * (slots.count() + 1)],
            codes: vec![0; tables * neurons],
        }
    }

    /// Hashes all rows of `weights` (row-major, `stride` numbers a row) and files every neuron in every table; what was
    /// there before is forgotten. Runs on the caller's rayon pool; `seed` decides what a reservoir keeps.
    pub fn build<'a>(&mut self, hasher: &Hasher, weights: impl Into<Weights<'a>>, stride: usize, seed: u64) {
        self.rehash(hasher, weights, stride);
        self.insert(seed);
    }

    /// The first half of [`build`](Self::build): the bucket index of every neuron in every table.
    pub fn rehash<'a>(&mut self, hasher: &Hasher, weights: impl Into<Weights<'a>>, stride: usize) {
        let weights = weights.into();
        assert_eq!((hasher.tables(), hasher.buckets()), (self.tables, self.buckets), "the tables' own hasher");
        assert!(weights.len() >= self.neurons * stride, "too few weights for {} neurons", self.neurons);
        let neurons = self.neurons;
        let bounds = (0..neurons.div_ceil(CHUNK)).into_par_iter().map(|chunk| {
            let first = chunk * CHUNK;
            hasher.bound(weights, stride, first..(first + CHUNK).min(neurons))
        });
        let bound = bounds.reduce(|| 0.0, f32::max);
        self.codes.par_chunks_mut(CHUNK * self.tables).enumerate().for_each_init(
            Vec::new,
            |scratch, (chunk, codes)| {
                let rows = codes.len() / hasher.tables();
                let first = chunk * CHUNK;
                let weights = weights.widened(first * stride..(first + rows) * stride, scratch);
                hasher.hash_rows(weights, stride, 0..rows, bound, codes);
            },
        );
    }

    /// As [`rehash`](Self::rehash), with bucket indices from projections that are kept up to date.
    pub fn rehash_from(&mut self, projections: &IncrementalSimHash) {
        assert_eq!(projections.tables(), self.tables, "projections of the tables' own hasher");
        let tables = self.tables;
        self.codes.par_chunks_mut(CHUNK * tables).enumerate().for_each(|(chunk, codes)| {
            let rows = codes.len() / tables;
            let mut indices = vec![0; tables];
            for row in 0..rows {
                projections.hash(chunk * CHUNK + row, &mut indices);
                for (table, &index) in indices.iter().enumerate() {
                    codes[table * rows + row] = index;
                }
            }
        });
    }

    /// The second half of [`build`](Self::build): files every neuron by the bucket indices of the last rehash.
    pub fn insert(&mut self, seed: u64) {
        if self.neurons == 0 {
            return;
        }
        let (neurons, slots) = (self.neurons, self.slots);
        let (capacity, insertion) = (self.capacity, self.insertion);
        let codes = Codes { codes: &self.codes, tables: self.tables };
        self.ids.par_chunks_mut(neurons).zip(self.offsets.par_chunks_mut(slots.count() + 1)).enumerate().for_each(
            |(table, (ids, offsets))| {
                let seed = mix(seed, table as u64);
                let reservoir = insertion == Insertion::Reservoir;
                let mut draws = 0;
                // The slots' kind is told apart here, once, so that no loop has a branch on it.
                match slots {
                    Slots::Own(_) => {
                        file(codes.runs(table), |bucket| bucket as usize, ids, offsets);
                        if reservoir {
                            for_each_slot(ids, offsets, |bucket| sample(bucket, capacity, seed, &mut draws));
                        }
                    }
                    Slots::Shared(_) => {
                        file(codes.runs(table), |bucket| slots.of(bucket), ids, offsets);
                        for_each_slot(ids, offsets, |slot| slot.sort_unstable_by_key(|&id| (codes.of(table, id), id)));
                        if reservoir {
                            for_each_slot(ids, offsets, |slot| {
                                for bucket in slot.chunk_by_mut(|&a, &b| codes.of(table, a) == codes.of(table, b)) {
                                    sample(bucket, capacity, seed, &mut draws);
                                }
                            });
                        }
                    }
                }
            },
        );
    }

    /// The ids in a bucket: by rising id under FIFO, in no order under reservoir insertion.
    #[inline]
    pub fn bucket(&self, table: usize, bucket: u32) -> &[u32] {
        let slots = self.slots.count();
        let slot = self.slots.of(bucket);
        let offsets = &self.offsets[table * (slots + 1)..][..slots + 1];
        let mut ids = &self.ids[table * self.neurons..][offsets[slot] as usize..offsets[slot + 1] as usize];
        if let Slots::Shared(_) = self.slots {
            let codes = self.codes();
            ids = &ids[ids.partition_point(|&id| codes.of(table, id) < bucket)..];
            ids = &ids[..ids.partition_point(|&id| codes.of(table, id) == bucket)];
        }
        &ids[ids.len().saturating_sub(self.capacity)..]
    }

    fn codes(&self) -> Codes<'_> {
        Codes { codes: &self.codes, tables: self.tables }
    }

    pub fn tables(&self) -> usize {
        self.tables
    }

    /// How full the tables are; goes through all of them.
    pub fn occupancy(&self) -> Occupancy {
        let mut count = Occupancy { buckets: (self.tables * self.buckets) as u64, ..Occupancy::default() };
        let codes = self.codes();
        for (table, offsets) in self.offsets.chunks_exact(self.slots.count() + 1).enumerate() {
            for slot in offsets.windows(2) {
                let ids = &self.ids[table * self.neurons..][slot[0] as usize..slot[1] as usize];
                for bucket in ids.chunk_by(|&a, &b| codes.of(table, a) == codes.of(table, b)) {
                    let came = bucket.len() as u64;
                    let kept = came.min(self.capacity as u64);
                    count.used += 1;
                    count.ids += kept;
                    count.dropped += came - kept;
                    count.overflowed += u64::from(came > kept);
                    count.largest = count.largest.max(came);
                }
            }
        }
        count
    }

    /// Bytes held, the bucket indices included.
    pub fn bytes(&self) -> u64 {
        4 * (self.ids.len() + self.offsets.len() + self.codes.len()) as u64
    }
}

/// The bucket indices of all neurons: chunks of [`CHUNK`] neurons, in each table after table.
#[derive(Clone, Copy)]
struct Codes<'a> {
    codes: &'a [u32],
    tables: usize,
}

impl<'a> Codes<'a> {
    /// Those of one table, chunk after chunk.
    fn runs(self, table: usize) -> impl Iterator<Item = &'a [u32]> + Clone {
        self.codes.chunks(CHUNK * self.tables).map(move |codes| {
            let rows = codes.len() / self.tables;
            &codes[table * rows..][..rows]
        })
    }

    fn of(self, table: usize, id: u32) -> u32 {
        let first = id as usize / CHUNK * CHUNK;
        let rows = CHUNK.min(self.codes.len() / self.tables - first);
        self.codes[first * self.tables + table * rows + id as usize - first]
    }
}

/// Counting sort of the ids 0, 1, … by their slot; `runs` tells the bucket of one after another.
#[inline(always)]
fn file<'a>(
    runs: impl Iterator<Item = &'a [u32]> + Clone,
    slot: impl Fn(u32) -> usize,
    ids: &mut [u32],
    offsets: &mut [u32],
) {
    offsets.fill(0);
    // While the ids are placed, entry s + 1 is where the next id of slot s goes: at last the slot's end.
    let (_, cursors) = offsets.split_first_mut().expect("one offset more than slots");
    for run in runs.clone() {
        for &bucket in run {
            cursors[slot(bucket)] += 1;
        }
    }
    let mut start = 0;
    for cursor in cursors.iter_mut() {
        start += std::mem::replace(cursor, start);
    }
    let mut id = 0;
    for run in runs {
        for &bucket in run {
            let cursor = &mut cursors[slot(bucket)];
            ids[*cursor as usize] = id;
            *cursor += 1;
            id += 1;
        }
    }
}

fn for_each_slot(ids: &mut [u32], offsets: &[u32], mut visit: impl FnMut(&mut [u32])) {
    for slot in offsets.windows(2) {
        visit(&mut ids[slot[0] as usize..slot[1] as usize]);
    }
}

/// Brings a uniform sample of `capacity` of the ids to their end.
fn sample(ids: &mut [u32], capacity: usize, seed: u64, draws: &mut u64) {
    if ids.len() > capacity {
        for i in (ids.len() - capacity..ids.len()).rev() {
            ids.swap(i, below(i + 1, seed, *draws));
            *draws += 1;
        }
    }
}

//! T hash tables in flat memory.
//!
//! A rebuild hashes all weight rows, block by block, then files the ids table by table with a counting sort: count the
//! ids of every bucket, add the counts up to where each bucket ends, place the ids. A table is thus one run of ids and
//! one run of offsets; nothing is linked, and a rebuild takes no memory that the first build did not already take.
//! Tables are filed independently of each other, so the result is the same at any number of threads.
//!
//! All ids are filed; a bucket's capacity is applied to what it shows. Under FIFO these are the last ids of its run.
//! A reservoir keeps a uniform sample of what came, so where too many came a partial shuffle of the run (Fisher and
//! Yates) brings such a sample to its end: the same distribution as Vitter's algorithm R, without a random number for
//! every insertion.

use super::random::below;
use super::{Hasher, Insertion};
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
    /// T x neurons, in each table bucket after bucket.
    ids: Vec<u32>,
    /// T x (buckets + 1): where each bucket begins in its table's `ids`, and where the last one ends.
    offsets: Vec<u32>,
    /// Bucket indices of all neurons: chunk after chunk, in each table after table.
    codes: Vec<u32>,
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
        Self {
            tables,
            buckets,
            capacity: hasher.settings().capacity,
            insertion: hasher.settings().insertion,
            neurons,
            ids: vec![0; tables * neurons],
            offsets: vec![0; tables * (buckets + 1)],
            codes: vec![0; tables * neurons],
        }
    }

    /// Hashes all rows of `weights` (row-major, `stride` floats a row) and files every neuron in every table; what was
    /// there before is forgotten. Runs on the caller's rayon pool; `seed` decides what a reservoir keeps.
    pub fn build(&mut self, hasher: &Hasher, weights: &[f32], stride: usize, seed: u64) {
        self.rehash(hasher, weights, stride);
        self.insert(seed);
    }

    /// The first half of [`build`](Self::build): the bucket index of every neuron in every table.
    pub fn rehash(&mut self, hasher: &Hasher, weights: &[f32], stride: usize) {
        assert_eq!((hasher.tables(), hasher.buckets()), (self.tables, self.buckets), "the tables' own hasher");
        assert!(weights.len() >= self.neurons * stride, "too few weights for {} neurons", self.neurons);
        let neurons = self.neurons;
        let bounds = (0..neurons.div_ceil(CHUNK)).into_par_iter().map(|chunk| {
            let first = chunk * CHUNK;
            hasher.bound(weights, stride, first..(first + CHUNK).min(neurons))
        });
        let bound = bounds.reduce(|| 0.0, f32::max);
        self.codes.par_chunks_mut(CHUNK * self.tables).enumerate().for_each(|(chunk, codes)| {
            let first = chunk * CHUNK;
            hasher.hash_rows(weights, stride, first..(first + CHUNK).min(neurons), bound, codes);
        });
    }

    /// The second half of [`build`](Self::build): files every neuron by the bucket indices of the last rehash.
    pub fn insert(&mut self, seed: u64) {
        if self.neurons == 0 {
            return;
        }
        let (tables, neurons, capacity, insertion) = (self.tables, self.neurons, self.capacity, self.insertion);
        let codes = &self.codes;
        self.ids.par_chunks_mut(neurons).zip(self.offsets.par_chunks_mut(self.buckets + 1)).enumerate().for_each(
            |(table, (ids, offsets))| {
                let runs = codes.chunks(CHUNK * tables).map(|codes| {
                    let rows = codes.len() / tables;
                    &codes[table * rows..][..rows]
                });
                file(runs, ids, offsets);
                if insertion == Insertion::Reservoir {
                    sample(
                        ids,
                        offsets,
                        capacity,
                        seed.wrapping_add((table as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93)),
                    );
                }
            },
        );
    }

    /// The ids in a bucket: by rising id under FIFO, in no order under reservoir insertion.
    pub fn bucket(&self, table: usize, bucket: u32) -> &[u32] {
        let offsets = &self.offsets[table * (self.buckets + 1)..][..self.buckets + 1];
        let (start, end) = (offsets[bucket as usize] as usize, offsets[bucket as usize + 1] as usize);
        &self.ids[table * self.neurons..][start.max(end.saturating_sub(self.capacity))..end]
    }

    pub fn tables(&self) -> usize {
        self.tables
    }

    /// How full the tables are; goes through all offsets.
    pub fn occupancy(&self) -> Occupancy {
        let mut count = Occupancy { buckets: (self.tables * self.buckets) as u64, ..Occupancy::default() };
        for offsets in self.offsets.chunks_exact(self.buckets + 1) {
            for bucket in offsets.windows(2) {
                let came = u64::from(bucket[1] - bucket[0]);
                let kept = came.min(self.capacity as u64);
                count.used += u64::from(came > 0);
                count.ids += kept;
                count.dropped += came - kept;
                count.overflowed += u64::from(came > kept);
                count.largest = count.largest.max(came);
            }
        }
        count
    }

    /// Bytes held, the bucket indices included.
    pub fn bytes(&self) -> u64 {
        4 * (self.ids.len() + self.offsets.len() + self.codes.len()) as u64
    }
}

/// Counting sort of the ids 0, 1, … by their bucket, of which `runs` tells one after another.
fn file<'a>(runs: impl Iterator<Item = &'a [u32]> + Clone, ids: &mut [u32], offsets: &mut [u32]) {
    offsets.fill(0);
    // While the ids are placed, entry b + 1 is where the next id of bucket b goes: at last the bucket's end.
    let (_, cursors) = offsets.split_first_mut().expect("one offset more than buckets");
    for &bucket in runs.clone().flatten() {
        cursors[bucket as usize] += 1;
    }
    let mut start = 0;
    for cursor in cursors.iter_mut() {
        start += std::mem::replace(cursor, start);
    }
    let mut id = 0;
    for run in runs {
        for &bucket in run {
            let cursor = &mut cursors[bucket as usize];
            ids[*cursor as usize] = id;
            *cursor += 1;
            id += 1;
        }
    }
}

/// Brings a uniform sample of `capacity` ids to the end of every bucket that has more.
fn sample(ids: &mut [u32], offsets: &[u32], capacity: usize, seed: u64) {
    let mut draws = 0;
    for bucket in offsets.windows(2) {
        let run = &mut ids[bucket[0] as usize..bucket[1] as usize];
        if run.len() > capacity {
            for i in (run.len() - capacity..run.len()).rev() {
                run.swap(i, below(i + 1, seed, draws));
                draws += 1;
            }
        }
    }
}

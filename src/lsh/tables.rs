//! T hash tables in flat memory.
//!
//! A rebuild hashes all weight rows, block by block, then files the ids table by table with a counting sort: count
//! the ids of every bucket, give each bucket room for at most `capacity`, place the ids. So a table is one run of ids
//! and one run of offsets, nothing is linked, and a build needs no memory that the first one did not already take.
//! Tables are filed independently of each other: the result is the same at any number of threads.

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
    /// Ids a table can hold, and one more place for those that find no room.
    slots: usize,
    /// T x `slots`.
    ids: Vec<u32>,
    /// T x (buckets + 1): where each bucket begins in its table's `ids`.
    starts: Vec<u32>,
    /// T x buckets: work space of the placing.
    rooms: Vec<u32>,
    /// Bucket indices of all neurons: chunk after chunk, in each table after table.
    codes: Vec<u32>,
    counts: Vec<Occupancy>,
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
        let (tables, buckets, capacity) = (hasher.tables(), hasher.buckets(), hasher.settings().capacity);
        let slots = neurons.min(buckets.saturating_mul(capacity)) + 1;
        Self {
            tables,
            buckets,
            capacity,
            insertion: hasher.settings().insertion,
            neurons,
            slots,
            ids: vec![0; tables * slots],
            starts: vec![0; tables * (buckets + 1)],
            rooms: vec![0; tables * buckets],
            codes: vec![0; tables * neurons],
            counts: vec![Occupancy::default(); tables],
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
        self.codes.par_chunks_mut(CHUNK * self.tables).enumerate().for_each(|(chunk, codes)| {
            let first = chunk * CHUNK;
            hasher.hash_rows(weights, stride, first..(first + CHUNK).min(neurons), codes);
        });
    }

    /// The second half of [`build`](Self::build): files every neuron by the bucket indices of the last rehash.
    pub fn insert(&mut self, seed: u64) {
        let (tables, neurons, capacity, insertion) = (self.tables, self.neurons, self.capacity, self.insertion);
        let codes = &self.codes;
        self.ids
            .par_chunks_mut(self.slots)
            .zip(self.starts.par_chunks_mut(self.buckets + 1))
            .zip(self.rooms.par_chunks_mut(self.buckets))
            .zip(&mut self.counts)
            .enumerate()
            .for_each(|(table, (((ids, starts), rooms), count))| {
                let runs = codes.chunks(CHUNK * tables).enumerate().map(move |(chunk, codes)| {
                    let rows = CHUNK.min(neurons - chunk * CHUNK);
                    ((chunk * CHUNK) as u32, &codes[table * rows..][..rows])
                });
                rooms.fill(0);
                for (_, run) in runs.clone() {
                    for &bucket in run {
                        rooms[bucket as usize] += 1;
                    }
                }
                *count = lay_out(rooms, starts, capacity as u32);
                match insertion {
                    Insertion::Fifo => place_last(runs, ids, starts, rooms, count.ids),
                    Insertion::Reservoir => {
                        let seed = seed.wrapping_add((table as u64 + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93));
                        place_sample(runs, ids, starts, rooms, capacity as u32, seed);
                    }
                }
            });
    }

    /// The ids in a bucket: by rising id under FIFO, in no order under reservoir insertion.
    pub fn bucket(&self, table: usize, bucket: u32) -> &[u32] {
        let starts = &self.starts[table * (self.buckets + 1) + bucket as usize..][..2];
        &self.ids[table * self.slots..][starts[0] as usize..starts[1] as usize]
    }

    pub fn tables(&self) -> usize {
        self.tables
    }

    pub fn occupancy(&self) -> Occupancy {
        self.counts.iter().fold(Occupancy::default(), |a, b| Occupancy {
            buckets: a.buckets + b.buckets,
            used: a.used + b.used,
            ids: a.ids + b.ids,
            dropped: a.dropped + b.dropped,
            overflowed: a.overflowed + b.overflowed,
            largest: a.largest.max(b.largest),
        })
    }

    /// Bytes held, work space included.
    pub fn bytes(&self) -> u64 {
        4 * (self.ids.len() + self.starts.len() + self.rooms.len() + self.codes.len()) as u64
    }
}

/// Turns the number of ids that come to each bucket (`rooms`) into where it starts, and `rooms` into how many it keeps.
fn lay_out(rooms: &mut [u32], starts: &mut [u32], capacity: u32) -> Occupancy {
    let mut count = Occupancy { buckets: rooms.len() as u64, ..Occupancy::default() };
    let mut start = 0;
    for (room, at) in rooms.iter_mut().zip(starts.iter_mut()) {
        let came = *room;
        *at = start;
        *room = came.min(capacity);
        start += *room;
        count.used += u64::from(came > 0);
        count.overflowed += u64::from(came > capacity);
        count.dropped += u64::from(came - *room);
        count.largest = count.largest.max(u64::from(came));
    }
    starts[rooms.len()] = start;
    count.ids = u64::from(start);
    count
}

/// Keeps the last ids of every bucket: goes through them backwards and fills each bucket from its end.
fn place_last<'a>(
    runs: impl DoubleEndedIterator<Item = (u32, &'a [u32])>,
    ids: &mut [u32],
    starts: &[u32],
    rooms: &mut [u32],
    total: u64,
) {
    let spill = ids.len() - 1;
    let mut placed = 0;
    for (first, run) in runs.rev() {
        for (i, &bucket) in run.iter().enumerate().rev() {
            let bucket = bucket as usize;
            let room = rooms[bucket];
            let left = room.saturating_sub(1);
            rooms[bucket] = left;
            let place = if room > 0 { (starts[bucket] + left) as usize } else { spill };
            ids[place] = first + i as u32;
            placed += u64::from(room > 0);
        }
        if placed == total {
            break;
        }
    }
}

/// Keeps a uniform sample of the ids of every bucket: Vitter's algorithm R.
fn place_sample<'a>(
    runs: impl Iterator<Item = (u32, &'a [u32])>,
    ids: &mut [u32],
    starts: &[u32],
    seen: &mut [u32],
    capacity: u32,
    seed: u64,
) {
    let spill = ids.len() - 1;
    seen.fill(0);
    for (first, run) in runs {
        for (i, &bucket) in run.iter().enumerate() {
            let (bucket, id) = (bucket as usize, first + i as u32);
            let before = seen[bucket];
            seen[bucket] = before + 1;
            let draw = (u64::from(before + 1) * random(seed, id)) >> 32;
            let slot = if before < capacity { before } else { draw as u32 };
            let place = if slot < capacity { (starts[bucket] + slot) as usize } else { spill };
            ids[place] = id;
        }
    }
}

/// 32 random bits for an id: the finalizer of splitmix64 on a counter.
fn random(seed: u64, id: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ z >> 31) >> 32
}

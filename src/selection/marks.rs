//! Active sets as bits: one byte a neuron for every group of eight samples.
//!
//! Marking a neuron sets one bit in an array of L bytes, which stays in the L2 cache, and removes duplicates by
//! itself: no sort, no hash set, no ordered map. Reading the arrays side by side, eight neurons and eight samples to a
//! 64-bit word, yields the (neuron, sample) pairs grouped by neuron, so that each weight row is fetched once a batch.

use crate::threads;
use rayon::prelude::*;

/// Samples that share a byte array.
const GROUP: usize = 8;

/// How many neurons of one sample were marked, by origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// True labels.
    pub labels: u32,
    /// By the selection.
    pub selected: u32,
    /// Random fill up to a floor.
    pub fill: u32,
    /// Ids looked at, duplicates included.
    pub candidates: u32,
}

impl Counts {
    /// Active neurons of the sample.
    pub fn active(&self) -> u32 {
        self.labels + self.selected + self.fill
    }
}

/// The active neurons of every sample of a batch.
#[derive(Debug)]
pub struct ActiveSets {
    neurons: usize,
    samples: usize,
    groups: Vec<Vec<u64>>,
    counts: Vec<Counts>,
}

/// Marks neurons of one sample.
#[derive(Debug)]
pub struct Marks<'a> {
    bytes: &'a mut [u8],
    bit: u32,
    added: u32,
}

impl Marks<'_> {
    /// Makes `neuron` active; marking twice counts once.
    ///
    /// # Panics
    /// If there is no such neuron.
    #[inline]
    pub fn mark(&mut self, neuron: u32) {
        let byte = &mut self.bytes[neuron as usize];
        let old = u32::from(*byte);
        self.added += 1 & !(old >> self.bit);
        *byte = (old | 1 << self.bit) as u8;
    }

    /// Marks every neuron of a list.
    pub fn mark_all(&mut self, neurons: &[u32]) {
        for &neuron in neurons {
            self.mark(neuron);
        }
    }

    /// Whether `neuron` is active already.
    pub fn contains(&self, neuron: u32) -> bool {
        self.bytes[neuron as usize] >> self.bit & 1 == 1
    }

    /// Neurons newly marked since this sample's marking began or since the last call.
    pub fn take_added(&mut self) -> u32 {
        std::mem::take(&mut self.added)
    }
}

impl ActiveSets {
    /// Empty sets over `neurons` neurons.
    pub fn new(neurons: usize) -> Self {
        Self { neurons, samples: 0, groups: Vec::new(), counts: Vec::new() }
    }

    /// Forgets everything and makes room for `samples` samples.
    pub fn reset(&mut self, samples: usize) {
        self.samples = samples;
        let words = self.neurons.div_ceil(8);
        self.groups.resize_with(samples.div_ceil(GROUP), Vec::new);
        threads::for_each(self.groups.par_iter_mut(), |group| {
            group.clear();
            group.resize(words, 0);
        });
        self.counts.clear();
        self.counts.resize(samples, Counts::default());
    }

    /// Bytes held: L a group of eight samples.
    pub fn bytes(&self) -> u64 {
        8 * self.groups.iter().map(Vec::capacity).sum::<usize>() as u64
    }

    /// B.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Whether `neuron` is active for `sample`.
    pub fn contains(&self, sample: usize, neuron: u32) -> bool {
        let bytes: &[u8] = bytemuck::cast_slice(&self.groups[sample / GROUP]);
        bytes[neuron as usize] >> (sample % GROUP) & 1 == 1
    }

    /// Counts by sample.
    pub fn counts(&self) -> &[Counts] {
        &self.counts
    }

    /// Runs `mark` for every sample, in parallel over groups of eight.
    pub fn for_each(&mut self, mark: impl Fn(usize, &mut Marks<'_>, &mut Counts) + Sync) {
        self.for_each_with(|| (), |(), sample, marks, counts| mark(sample, marks, counts));
    }

    /// As [`ActiveSets::for_each`], with work space that lives as long as a group is worked on.
    pub fn for_each_with<W>(
        &mut self,
        space: impl Fn() -> W + Sync,
        mark: impl Fn(&mut W, usize, &mut Marks<'_>, &mut Counts) + Sync,
    ) {
        threads::for_each(
            self.groups.par_iter_mut().zip(self.counts.par_chunks_mut(GROUP)).enumerate(),
            |(g, (group, counts))| {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(group);
                let mut space = space();
                for (i, counts) in counts.iter_mut().enumerate() {
                    let mut marks = Marks { bytes: &mut *bytes, bit: i as u32, added: 0 };
                    mark(&mut space, g * GROUP + i, &mut marks, counts);
                }
            },
        );
    }

    /// Writes of how many samples each neuron from `first` (a multiple of 8) on is active; as many neurons as `counts` has
    /// room for, a multiple of 8.
    fn count(&self, first: usize, counts: &mut [u32]) {
        assert!(first.is_multiple_of(8) && counts.len().is_multiple_of(8));
        // Groups whose counts fit a byte, and words at a time.
        const GROUPS: usize = u8::MAX as usize / GROUP;
        const WORDS: usize = 64;
        counts.fill(0);
        for (block, counts) in counts.chunks_mut(8 * WORDS).enumerate() {
            let from = first / 8 + block * WORDS;
            let words = counts.len() / 8;
            for groups in self.groups.chunks(GROUPS) {
                let mut sums = [0u64; WORDS];
                for group in groups {
                    for (sum, &word) in sums.iter_mut().zip(&group[from..from + words]) {
                        *sum += byte_popcounts(word);
                    }
                }
                for (count, &sum) in counts.iter_mut().zip(bytemuck::cast_slice::<u64, u8>(&sums)) {
                    *count += u32::from(sum);
                }
            }
        }
    }

    /// Lists the pairs of the neurons `first..first + count` (`first` a multiple of 8) grouped by neuron, samples
    /// ascending: `rows` receives neurons relative to `first`, `starts` one offset more than rows, `columns` samples.
    pub fn pairs(
        &self,
        first: usize,
        count: usize,
        rows: &mut Vec<u32>,
        starts: &mut Vec<u32>,
        columns: &mut Vec<u32>,
    ) {
        assert!(first.is_multiple_of(8) && first + count <= self.neurons);
        let (word, words) = (first / 8, count.div_ceil(8));
        rows.clear();
        starts.clear();
        // `starts` serves as the write position of every neuron first and is compacted to the active ones at the end.
        let mut position = vec![0u32; words * 8];
        self.count(first, &mut position);
        let mut total = 0;
        for (n, position) in position.iter_mut().enumerate() {
            let samples = *position;
            *position = total;
            if samples > 0 {
                rows.push(n as u32);
                starts.push(total);
                total += samples;
            }
        }
        starts.push(total);
        columns.clear();
        columns.resize(total as usize, 0);
        for (g, group) in self.groups.iter().enumerate() {
            let base = (g * GROUP) as u32;
            for (w, &bits) in group[word..word + words].iter().enumerate() {
                let mut bits = bits;
                let position = &mut position[w * 8..][..8];
                while bits != 0 {
                    let bit = bits.trailing_zeros();
                    let position = &mut position[(bit / 8) as usize];
                    columns[*position as usize] = base + bit % 8;
                    *position += 1;
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// The number of set bits of each of eight bytes.
fn byte_popcounts(word: u64) -> u64 {
    let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    (fours + (fours >> 4)) & 0x0F0F_0F0F_0F0F_0F0F
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_the_marks_grouped_by_neuron() {
        let (neurons, samples) = (83, 21);
        let active = |s: usize, n: usize| (s * 7 + n * 13) % 11 < 3 || n == 40;
        let mut sets = ActiveSets::new(neurons);
        for _ in 0..2 {
            sets.reset(samples);
            sets.for_each(|s, marks, counts| {
                for n in 0..neurons {
                    if active(s, n) {
                        marks.mark(n as u32);
                        marks.mark(n as u32);
                    }
                }
                counts.selected = marks.take_added();
            });
            let mut seen = Vec::new();
            for first in [0, 40] {
                let count = (first + 40).min(neurons) - first + if first == 40 { 3 } else { 0 };
                let (mut rows, mut starts, mut columns) = (vec![], vec![], vec![]);
                sets.pairs(first, count, &mut rows, &mut starts, &mut columns);
                for (r, row) in rows.iter().enumerate() {
                    for c in &columns[starts[r] as usize..starts[r + 1] as usize] {
                        seen.push((first + *row as usize, *c as usize));
                    }
                }
            }
            let expected: Vec<_> =
                (0..neurons).flat_map(|n| (0..samples).filter(move |&s| active(s, n)).map(move |s| (n, s))).collect();
            assert_eq!(seen, expected);
            for (s, counts) in sets.counts().iter().enumerate() {
                assert_eq!(counts.active() as usize, (0..neurons).filter(|&n| active(s, n)).count());
            }
        }
    }
}

//! The neurons that collide with a batch most often: top-k by collision count (SLIDE, section 4.1), the samples of the
//! batch being one query. Every table in which a neuron shares the bucket of a sample is a vote.
//!
//! A bucket that many samples ask is read once. (To count a sample once, in however many tables it finds a neuron, takes
//! a bit for every neuron and sample and half as much time again. Step for step training was as good either way on `moby`
//! and `webster` and ended 0.003 higher that way on `arxiv-authors`; by the clock, this one is sooner on all three.)

use crate::threads;
use rayon::prelude::*;
use std::sync::Mutex;

/// Ranges of neurons that are counted up as one task.
const RANGES: usize = 16;

/// Counts votes and elects.
#[derive(Debug, Default)]
pub struct Votes {
    /// L.
    pub neurons: usize,
    /// One a thread: who counts what does not matter to the sums.
    counters: Vec<Mutex<Counter>>,
    ballots: Vec<Ballot>,
}

/// Votes of all neurons, as far as one thread has counted them.
#[derive(Debug, Default)]
pub struct Counter {
    /// By neuron; no more than [`u16::MAX`] are counted.
    pub votes: Vec<u16>,
    /// Work space: the buckets asked in one table.
    pub asked: Vec<u32>,
}

/// Votes of a range of neurons.
#[derive(Debug, Default)]
struct Ballot {
    votes: Vec<u16>,
    /// By number of votes: the neurons that have so many; those without are not counted.
    having: Vec<u32>,
    /// Work space: the same of every second neuron.
    odd: Vec<u32>,
    /// How many of those at the threshold are in.
    quota: usize,
    /// Those in, followed by room for as many as the range has neurons.
    elected: Vec<u32>,
    /// How many are in.
    seats: usize,
}

impl Votes {
    pub fn new(neurons: usize) -> Self {
        Self { neurons, ..Self::default() }
    }

    /// Forgets all votes.
    pub fn clear(&mut self) {
        self.counters.resize_with(rayon::current_num_threads(), Mutex::default);
        for counter in &mut self.counters {
            let votes = &mut counter.get_mut().expect(COUNTED).votes;
            votes.clear();
            votes.resize(self.neurons, 0);
        }
    }

    /// Has `count` add the votes of every table.
    pub fn count(&mut self, tables: usize, count: impl Fn(usize, &mut Counter) + Sync) {
        threads::for_each((0..tables).into_par_iter().with_max_len(1), |table| {
            let thread = rayon::current_thread_index().expect("inside the engine's pool");
            count(table, &mut self.counters[thread].lock().expect(COUNTED));
        });
    }

    /// Lists the `most` neurons that have most votes, the lower of equals, ascending, into `elected`; none without votes.
    /// Few numbers of votes occur, so neurons are sorted by counting.
    pub fn elect(&mut self, most: usize, elected: &mut Vec<u32>) {
        let Self { neurons, counters, ballots } = self;
        let neurons = *neurons;
        let counters: Vec<&[u16]> =
            counters.iter_mut().map(|counter| &*counter.get_mut().expect(COUNTED).votes).collect();
        let range = neurons.div_ceil(RANGES).max(1);
        ballots.resize_with(neurons.div_ceil(range), Ballot::default);
        threads::for_each(ballots.par_iter_mut().enumerate(), |(index, ballot)| {
            let first = index * range;
            ballot.count(&counters, first..neurons.min(first + range));
        });
        // Neurons with more votes than `least` are in, and `left` of those with as many.
        let highest = ballots.iter().map(|ballot| ballot.having.len()).max().unwrap_or(0);
        let (mut least, mut left) = (highest, most);
        while least > 0 {
            let having: usize = ballots.iter().map(|ballot| ballot.with(least)).sum();
            if having > left {
                break;
            }
            left -= having;
            least -= 1;
        }
        for ballot in &mut *ballots {
            ballot.quota = left.min(ballot.with(least));
            left -= ballot.quota;
        }
        threads::for_each(ballots.par_iter_mut().enumerate(), |(index, ballot)| ballot.elect(index * range, least));
        elected.clear();
        ballots.iter().for_each(|ballot| elected.extend_from_slice(&ballot.elected[..ballot.seats]));
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (2 * self.neurons * (self.counters.len() + 1)) as u64
    }
}

const COUNTED: &str = "no thread panics while it counts";

impl Ballot {
    /// Adds up what all threads have counted for the neurons of `range`.
    fn count(&mut self, counters: &[&[u16]], range: std::ops::Range<usize>) {
        let Self { votes, having, odd, .. } = self;
        votes.clear();
        votes.resize(range.len(), 0);
        for counted in counters {
            for (sum, votes) in votes.iter_mut().zip(&counted[range.clone()]) {
                *sum = sum.saturating_add(*votes);
            }
        }
        let most = votes.iter().copied().max().unwrap_or(0);
        // Two counts in turns: neighbours often have as many votes, and a sum must be stored before it is loaded again.
        for count in [&mut *having, &mut *odd] {
            count.clear();
            count.resize(usize::from(most) + 1, 0);
        }
        let pairs = votes.chunks_exact(2);
        pairs.remainder().iter().for_each(|&votes| having[usize::from(votes)] += 1);
        for pair in pairs {
            having[usize::from(pair[0])] += 1;
            odd[usize::from(pair[1])] += 1;
        }
        having.iter_mut().zip(odd).for_each(|(having, odd)| *having += *odd);
        having[0] = 0;
    }

    /// How many neurons have so many votes.
    fn with(&self, votes: usize) -> usize {
        self.having.get(votes).map_or(0, |&having| having as usize)
    }

    /// Lists the range's neurons, the first of which is `first`, with more votes than `least`, and those of the quota.
    fn elect(&mut self, first: usize, least: usize) {
        let all = self.quota == self.with(least);
        let Self { votes, quota, elected, seats, .. } = self;
        elected.resize(votes.len(), 0);
        *seats = 0;
        // Without branches, which could not be foreseen, and the quota is looked at in the one range that it divides.
        let mut seat = |neuron, is_in| {
            elected[*seats] = neuron;
            *seats += usize::from(is_in);
        };
        let of_range = (first as u32..).zip(votes.iter().map(|&votes| usize::from(votes)));
        if all || *quota == 0 {
            let most_out = if all { least.saturating_sub(1) } else { least };
            of_range.for_each(|(neuron, votes)| seat(neuron, votes > most_out));
        } else {
            of_range.for_each(|(neuron, votes)| {
                let within = (votes == least) & (*quota > 0);
                *quota -= usize::from(within);
                seat(neuron, (votes > least) | within);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against a full sort, for one and more threads.
    #[test]
    fn those_with_most_votes_are_elected() {
        let neurons = 1003;
        let votes = |table: usize, neuron: usize| ((neuron * 7 + table * neuron % 11) % 13 / (table + 2)) as u16;
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for most in [0, 1, 17, 400, 5000] {
                let mut counted = Votes::new(neurons);
                let mut elected = Vec::new();
                pool.install(|| {
                    for _ in 0..2 {
                        counted.clear();
                        counted.count(5, |table, counter| {
                            (0..neurons).for_each(|neuron| counter.votes[neuron] += votes(table, neuron));
                        });
                        counted.elect(most, &mut elected);
                    }
                });
                let total = |neuron: u32| (0..5).map(|table| votes(table, neuron as usize)).sum::<u16>();
                let mut expected: Vec<u32> = (0..neurons as u32).filter(|&neuron| total(neuron) > 0).collect();
                expected.sort_by_key(|&neuron| std::cmp::Reverse(total(neuron)));
                expected.truncate(most);
                expected.sort_unstable();
                assert_eq!(elected, expected, "{most} of {neurons}");
            }
        }
    }
}

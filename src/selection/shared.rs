//! One set of active neurons for the whole batch: all its true labels, and negatives beside them.

use super::random::{Sampler, stream};
use super::{ActiveSets, Lsh, Neurons, Queries, Selection};
use crate::data::Batch;
use rayon::prelude::*;

/// Ranges of neurons whose votes are counted as one task.
const RANGES: usize = 16;

/// Where the negatives of a shared set come from.
#[derive(Debug)]
pub enum Negatives {
    /// `count` draws, with replacement.
    Random(Sampler),
    /// The `count` neurons that the hash tables yield for most samples of the batch.
    Hashed(Box<Lsh>),
}

/// Chooses one active set a batch.
#[derive(Debug)]
pub struct SharedSelection {
    negatives: Negatives,
    count: usize,
    /// Hashed neurons beyond this many active ones, labels included, are left out.
    pub most: usize,
    seed: u64,
    /// Whether logits are corrected for the probability of being in the set.
    correct: bool,
    /// Corrections of all neurons at a batch size, for random negatives.
    known: (usize, Vec<f32>),
    /// Share of training rows that carry each label, where corrections are asked for.
    shares: Vec<f32>,
    seen: Vec<u64>,
    votes: ActiveSets,
    /// Neurons from the hash tables, ascending.
    hashed: Vec<u32>,
    /// Active neurons, ascending.
    pub neurons: Vec<u32>,
    /// What is added to each one's logit: −ln(probability of being in the set), or 0.
    pub corrections: Vec<f32>,
    /// True labels among the active neurons.
    pub labels: usize,
}

impl SharedSelection {
    /// A set of the batch's labels and `count` negatives; `shares` (of the training rows, by label) serve the
    /// corrections.
    pub fn new(negatives: Negatives, count: usize, neurons: usize, correct: bool, shares: &[f32], seed: u64) -> Self {
        Self {
            negatives,
            count,
            most: usize::MAX,
            seed,
            correct,
            shares: shares.to_vec(),
            known: (0, vec![]),
            seen: vec![0; neurons.div_ceil(64)],
            votes: ActiveSets::new(neurons),
            hashed: Vec::new(),
            neurons: Vec::new(),
            corrections: Vec::new(),
            labels: 0,
        }
    }

    /// Whether [`prepare`](Self::prepare) looks at the weights at this step.
    pub fn wants_weights(&self, step: u64) -> bool {
        matches!(&self.negatives, Negatives::Hashed(lsh) if lsh.wants_weights(step))
    }

    /// Rebuilds hash tables when they are due; tells whether it did.
    pub fn prepare(&mut self, step: u64, neurons: Neurons<'_>) -> bool {
        match &mut self.negatives {
            Negatives::Random(_) => false,
            Negatives::Hashed(lsh) => lsh.prepare(step, neurons),
        }
    }

    /// Chooses the active neurons of `batch`.
    pub fn choose(&mut self, step: u64, batch: &Batch, queries: Queries<'_>, neurons: Neurons<'_>) {
        self.seen.fill(0);
        let mut mark = |neuron: u32| self.seen[neuron as usize / 64] |= 1 << (neuron % 64);
        batch.labels.iter().copied().for_each(&mut mark);
        self.labels = self.seen.iter().map(|bits| bits.count_ones() as usize).sum();
        let mut mark = |neuron: u32| self.seen[neuron as usize / 64] |= 1 << (neuron % 64);
        match &mut self.negatives {
            Negatives::Random(sampler) => {
                let mut rng = stream(self.seed, step, 0);
                for _ in 0..self.count {
                    mark(sampler.draw(&mut rng));
                }
            }
            Negatives::Hashed(lsh) => {
                self.votes.reset(batch.len());
                lsh.select(step, queries, neurons, &mut self.votes);
                let (votes, there) = (&self.votes, neurons.bias.len());
                let range = there.div_ceil(RANGES).next_multiple_of(8);
                let ranges: Vec<usize> = (0..there).step_by(range).collect();
                let mut ranked: Vec<(u32, u32)> = ranges
                    .into_par_iter()
                    .flat_map_iter(|first| {
                        let (mut rows, mut starts, mut columns) = (vec![], vec![], vec![]);
                        votes.pairs(first, range.min(there - first), &mut rows, &mut starts, &mut columns);
                        let counts: Vec<u32> = starts.windows(2).map(|span| span[1] - span[0]).collect();
                        rows.into_iter().zip(counts).map(move |(n, count)| (u32::MAX - count, first as u32 + n))
                    })
                    .collect();
                let count = self.count.min(self.most.saturating_sub(self.labels));
                if ranked.len() > count {
                    ranked.select_nth_unstable(count);
                    ranked.truncate(count);
                }
                ranked.iter().for_each(|&(_, neuron)| mark(neuron));
                self.hashed.clear();
                self.hashed.extend(ranked.iter().map(|&(_, neuron)| neuron));
                self.hashed.sort_unstable();
            }
        }
        self.neurons.clear();
        for (word, &bits) in self.seen.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                self.neurons.push(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        self.corrections.clear();
        if self.correct {
            self.fill_corrections(batch.len(), neurons.bias.len());
        } else {
            self.corrections.resize(self.neurons.len(), 0.0);
        }
    }

    fn fill_corrections(&mut self, samples: usize, neurons: usize) {
        let (shares, count) = (&self.shares, self.count as f32);
        let correction = |neuron: u32, drawn: f32| {
            let label = shares.get(neuron as usize).copied().unwrap_or(0.0);
            // ln of the probability that neither a draw nor a sample's labels bring the neuron in.
            let absent = count * (-drawn).ln_1p() + samples as f32 * (-label.min(0.999)).ln_1p();
            -(-absent.exp_m1()).max(f32::MIN_POSITIVE).ln()
        };
        match &self.negatives {
            Negatives::Random(sampler) => {
                // They depend on the batch's size alone: worked out when it changes.
                if self.known.0 != samples {
                    let all = (0..neurons as u32).into_par_iter();
                    self.known = (samples, all.map(|n| correction(n, sampler.probability(n))).collect());
                }
                self.corrections.extend(self.neurons.iter().map(|&n| self.known.1[n as usize]));
            }
            // What the tables yield is in for certain; the labels beside it stand for all the others.
            Negatives::Hashed(_) => self.corrections.extend(self.neurons.iter().map(|&n| {
                let hashed = self.hashed.binary_search(&n).is_ok();
                correction(n, f32::from(u8::from(hashed)))
            })),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let tables = match &self.negatives {
            Negatives::Random(_) => 0,
            Negatives::Hashed(lsh) => lsh.bytes(),
        };
        tables + (8 * (self.seen.len() + self.neurons.capacity()) + 4 * self.known.1.len()) as u64
    }
}

//! One set of active neurons for the whole batch: all its true labels, and negatives beside them.

use super::random::{Sampler, stream};
use super::votes::Votes;
use super::{Lsh, Neurons, Queries, Selection};
use crate::data::{Batch, LabelLists};
use crate::threads;
use rand::seq::SliceRandom;
use rayon::prelude::*;

/// Ranges of neurons that are listed as one task.
const RANGES: usize = 16;

/// Where the negatives of a shared set come from.
#[derive(Debug)]
pub enum Negatives {
    /// `count` draws, with replacement.
    Random(Sampler),
    /// The `count` neurons that collide with the batch's samples most often in the hash tables, and random ones beside them
    /// where asked for ([`SharedSelection::random`]).
    Hashed(Box<Lsh>),
    /// Every neuron that is no label.
    All,
}

/// Chooses one active set a batch.
#[derive(Debug)]
pub struct SharedSelection {
    negatives: Negatives,
    count: usize,
    /// Draws beside hashed negatives, any neuron as likely as any other, with replacement. They stand for the neurons that
    /// the tables do not yield, of which else the labels alone would be in the set, the rare ones with great weight.
    pub random: usize,
    /// Draws them.
    uniform: Sampler,
    /// Random negatives fill sets up that would hold fewer neurons, labels included; by expectation, so that their number
    /// is the same at every step.
    pub floor: usize,
    /// Random negatives are no more than so many for each label that the samples have, drawn or not; by expectation too.
    pub per_label: f32,
    /// Hashed neurons beyond this many active ones, labels included, are left out.
    pub most: usize,
    seed: u64,
    /// Whether logits are corrected for the probability of being in the set.
    correct: bool,
    /// Samples with more labels than this bring as many of them, drawn at random.
    draw: usize,
    /// Share of training rows that have each label, and that bring it once they have drawn; empty where it is not known.
    having: Vec<f32>,
    bringing: Vec<f32>,
    /// Work space: labels of a sample that draws.
    drawing: Vec<u32>,
    known: Known,
    /// The same of the last batch of another size: an epoch's last batch is smaller.
    other: Known,
    seen: Vec<u64>,
    votes: Votes,
    /// Neurons from the hash tables, ascending.
    hashed: Vec<u32>,
    /// Active neurons, ascending.
    pub neurons: Vec<u32>,
    /// What is added to each one's logit: −ln(probability of being in the set), or 0.
    pub corrections: Vec<f32>,
    /// True labels among the active neurons.
    pub labels: usize,
}

/// What follows from the batch size.
#[derive(Debug, Default)]
struct Known {
    samples: usize,
    /// Random negatives drawn.
    count: usize,
    /// Of all neurons, where logits are corrected; for hashed negatives, of those that the tables do not yield.
    corrections: Vec<f32>,
}

impl Known {
    /// Corrections of active neurons. Those that the tables yield (`hashed`, all there are) are in for certain, and the
    /// labels and random neurons beside them stand for all the others. Both lists ascend.
    fn correct(&self, neurons: &[u32], hashed: &[u32], corrections: &mut [f32]) {
        if self.corrections.is_empty() {
            corrections.fill(0.0);
            return;
        }
        let first = neurons.first().copied().unwrap_or(0);
        let mut hashed = hashed[hashed.partition_point(|&n| n < first)..].iter().peekable();
        for (neuron, correction) in neurons.iter().zip(corrections) {
            let certain = hashed.next_if_eq(&neuron).is_some();
            *correction = if certain { 0.0 } else { self.corrections[*neuron as usize] };
        }
    }
}

/// Sets the bits of these neurons.
fn mark(seen: &mut [u64], neurons: impl Iterator<Item = u32>) {
    neurons.for_each(|neuron| seen[neuron as usize / 64] |= 1 << (neuron % 64));
}

impl SharedSelection {
    /// A set of the batch's labels and `count` negatives.
    pub fn new(negatives: Negatives, count: usize, neurons: usize, correct: bool, seed: u64) -> Self {
        Self {
            negatives,
            count,
            random: 0,
            uniform: Sampler::uniform(neurons),
            floor: 0,
            per_label: f32::INFINITY,
            most: usize::MAX,
            seed,
            correct,
            draw: usize::MAX,
            having: Vec::new(),
            bringing: Vec::new(),
            drawing: Vec::new(),
            known: Known::default(),
            other: Known::default(),
            seen: vec![0; neurons.div_ceil(64)],
            votes: Votes::new(neurons),
            hashed: Vec::new(),
            neurons: Vec::new(),
            corrections: Vec::new(),
            labels: 0,
        }
    }

    /// Has samples with more than `draw` labels bring as many of them, drawn anew at every step; `rows`, the labels of the
    /// training rows, tell how often each comes.
    pub fn drawing(mut self, draw: usize, rows: &LabelLists) -> Self {
        self.draw = draw;
        if rows.rows() > 0 {
            self.having = rows.shares(self.votes.neurons);
            self.bringing = rows.drawn_shares(self.votes.neurons, draw);
        }
        self
    }

    /// Labels that a sample draws at most; [`usize::MAX`] where it brings all it has.
    pub fn draw(&self) -> usize {
        self.draw
    }

    /// Whether [`prepare`](Self::prepare) looks at the weights at this step.
    pub fn wants_weights(&self, step: u64) -> bool {
        matches!(&self.negatives, Negatives::Hashed(lsh) if lsh.wants_weights(step))
    }

    /// Rebuilds hash tables when they are due; tells whether it did.
    pub fn prepare(&mut self, step: u64, neurons: Neurons<'_>) -> bool {
        match &mut self.negatives {
            Negatives::Random(_) | Negatives::All => false,
            Negatives::Hashed(lsh) => lsh.prepare(step, neurons),
        }
    }

    /// Forgets the last batch and takes in the labels of the next, and random negatives: all there is to do before that
    /// batch's queries are known.
    pub fn begin(&mut self, step: u64, batch: &Batch) {
        self.know(batch.len());
        if let Negatives::Hashed(_) = self.negatives {
            self.votes.clear();
        }
        self.seen.fill(0);
        self.mark_labels(step, batch);
        self.labels = self.seen.iter().map(|bits| bits.count_ones() as usize).sum();
        if let Negatives::All = self.negatives {
            mark(&mut self.seen, 0..self.votes.neurons as u32);
        }
        let sampler = if let Negatives::Random(sampler) = &self.negatives { sampler } else { &self.uniform };
        let mut rng = stream(self.seed, step, 0);
        mark(&mut self.seen, (0..self.known.count).map(|_| sampler.draw(&mut rng)));
        if !self.asks() {
            self.list();
        }
    }

    /// Marks the labels that the samples bring.
    fn mark_labels(&mut self, step: u64, batch: &Batch) {
        let Self { seen, draw, drawing, .. } = self;
        let mut rng = stream(self.seed, step, 1);
        for labels in (0..batch.len()).map(|b| batch.labels(b)) {
            if labels.len() <= *draw {
                mark(seen, labels.iter().copied());
            } else {
                drawing.clear();
                drawing.extend_from_slice(labels);
                mark(seen, drawing.partial_shuffle(&mut rng, *draw).0.iter().copied());
            }
        }
    }

    /// Whether the set depends on the batch's queries, so that it is not complete before [`choose`](Self::choose).
    pub fn asks(&self) -> bool {
        matches!(self.negatives, Negatives::Hashed(_))
    }

    /// Adds what the batch's queries find to the labels of the batch begun.
    pub fn choose(&mut self, queries: Queries<'_>) {
        if let Negatives::Hashed(lsh) = &mut self.negatives {
            let most = self.count.min(self.most.saturating_sub(self.labels));
            lsh.elect(queries, self.known.samples, most, &mut self.votes, &mut self.hashed);
            mark(&mut self.seen, self.hashed.iter().copied());
            self.list();
        }
    }

    /// Lists the neurons seen and their corrections.
    fn list(&mut self) {
        let Self { seen, neurons, corrections, known, hashed, .. } = self;
        let count = |words: &[u64]| words.iter().map(|bits| bits.count_ones() as usize).sum::<usize>();
        let active = count(seen);
        neurons.resize(active, 0);
        corrections.resize(active, 0.0);
        let words = seen.len().div_ceil(RANGES);
        let (mut neurons, mut corrections) = (&mut neurons[..], &mut corrections[..]);
        let mut ranges = Vec::with_capacity(RANGES);
        for (index, seen) in seen.chunks(words).enumerate() {
            let count = count(seen);
            let (own, own_corrections);
            (own, neurons) = neurons.split_at_mut(count);
            (own_corrections, corrections) = corrections.split_at_mut(count);
            ranges.push((index * words, seen, own, own_corrections));
        }
        threads::for_each(ranges.into_par_iter(), |(first, seen, neurons, corrections)| {
            let mut places = neurons.iter_mut();
            for (word, &bits) in (first as u32..).zip(seen) {
                let mut bits = bits;
                while bits != 0 {
                    *places.next().expect("as many as were counted") = word * 64 + bits.trailing_zeros();
                    bits &= bits - 1;
                }
            }
            known.correct(neurons, hashed, corrections);
        });
    }

    /// Works out what depends on the batch's size alone, when that changes.
    fn know(&mut self, samples: usize) {
        if self.known.samples != samples {
            std::mem::swap(&mut self.known, &mut self.other);
        }
        if self.known.samples == samples {
            return;
        }
        let expected = |shares: &[f32]| {
            let absent = |share: &f32| (1.0 - f64::from(share.min(1.0))).powi(samples as i32);
            shares.iter().map(|share| 1.0 - absent(share)).sum::<f64>() as usize
        };
        let bounded = self.per_label.is_finite() && !self.having.is_empty();
        let most = if bounded { (self.per_label * expected(&self.having) as f32) as usize } else { usize::MAX };
        let (sampler, wanted, floor) = match &self.negatives {
            Negatives::Random(sampler) => (sampler, self.count, self.floor),
            Negatives::Hashed(_) => (&self.uniform, self.random, 0),
            Negatives::All => (&self.uniform, 0, 0),
        };
        let count = wanted.min(most).max(floor.saturating_sub(expected(&self.bringing)));
        let correction = |neuron| self.correction(neuron, sampler.probability(neuron), count, samples);
        let chosen = !matches!(self.negatives, Negatives::All);
        let corrections = if self.correct && chosen {
            (0..self.votes.neurons as u32).into_par_iter().map(correction).collect()
        } else {
            vec![]
        };
        self.known = Known { samples, count, corrections };
    }

    /// −ln of the probability that one of `count` draws, each with probability `drawn`, or the labels of one of the
    /// samples bring the neuron in.
    fn correction(&self, neuron: u32, drawn: f32, count: usize, samples: usize) -> f32 {
        let label = self.bringing.get(neuron as usize).copied().unwrap_or(0.0);
        let absent = count as f32 * (-drawn).ln_1p() + samples as f32 * (-label.min(0.999)).ln_1p();
        -(-absent.exp_m1()).max(f32::MIN_POSITIVE).ln()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let tables = match &self.negatives {
            Negatives::Random(_) | Negatives::All => 0,
            Negatives::Hashed(lsh) => lsh.bytes(),
        };
        let corrections = self.known.corrections.len() + self.other.corrections.len();
        let shares = self.having.len() + self.bringing.len();
        let lists = 8 * (self.seen.len() + self.neurons.capacity()) + 4 * (corrections + shares);
        tables + self.votes.bytes() + lists as u64
    }
}

//! A backward pass over pairs: gradients of logits that are next to nothing are rounded at random, most of them to nothing
//! ([`crate::kernels::thin`]), and products are summed over what is left.
//!
//! The threshold below which they are rounded follows from how many neurons a sample's gradient is to reach. It falls as
//! training goes on and a softmax spreads less over the neurons that are no labels; so does the noise that rounding adds.

use crate::kernels::Pairs;
use crate::kernels::thin::{Thinned, thin_block};
use crate::selection::stream;
use rand::RngExt;

/// Places among the bars where those of a row may begin.
const PLACES: usize = 1024;

/// 2³² over the golden ratio: multiples of it, taken modulo 2³², are spread as evenly as can be, however few they are.
const GOLDEN: u32 = 0x9E37_79B9;

/// How the gradients of a step are thinned.
#[derive(Debug)]
pub struct Thinning {
    /// Neurons a sample that are to be left.
    wanted: usize,
    /// Of the gradients of a sample's own loss; those of a batch's mean loss are a B-th.
    threshold: f32,
    /// Samples of the step at hand.
    batch: usize,
    seed: u64,
    steps: u64,
    /// The threshold of the mean loss.
    mean: f32,
    /// Spread over 0 to `mean`, from a random number on: as likely to be here as there.
    bars: Vec<f32>,
    /// Of the samples.
    numbers: Vec<u32>,
}

/// The pairs of a chunk that are left.
#[derive(Debug, Default)]
pub struct Thin {
    from: Vec<u32>,
    ends: Vec<u32>,
    rows: Vec<u32>,
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Thinning {
    /// Leaves about `wanted` neurons a sample; the first step no more, labels aside, as a softmax adds up to 1.
    pub fn new(wanted: usize, seed: u64) -> Self {
        let threshold = 1.0 / wanted as f32;
        Self { wanted, threshold, batch: 0, seed, steps: 0, mean: 0.0, bars: vec![], numbers: vec![] }
    }

    /// Begins a step on a batch, whose samples are padded to `samples`, after one that left so many pairs.
    pub fn begin(&mut self, batch: usize, samples: usize, left: usize) {
        if self.steps > 0 {
            // By the root, since the next batch is another one, and never far at once.
            let excess = left as f32 / (self.wanted * self.batch) as f32;
            self.threshold = (self.threshold * excess.sqrt().clamp(0.5, 2.0)).clamp(f32::MIN_POSITIVE, 1.0);
        }
        self.steps += 1;
        self.batch = batch;
        self.mean = self.threshold / batch as f32;
        let (start, unit): (u32, f32) = (self.random(0).random(), self.mean / 2.0f32.powi(32));
        let places = (0..(PLACES + samples) as u32).map(|i| start.wrapping_add(i.wrapping_mul(GOLDEN)));
        self.bars.clear();
        self.bars.extend(places.map(|place| unit * place as f32));
        self.numbers.clear();
        self.numbers.extend(0..samples as u32);
    }

    /// The step's random numbers for a chunk; 0 is none.
    fn random(&self, chunk: usize) -> impl RngExt {
        stream(self.seed ^ 0x7417, self.steps, chunk)
    }

    /// Thins the gradients of the `index`-th chunk's logits, a row for each of `rows`.
    pub fn thin(&self, index: usize, rows: &[u32], g: &[f32], thin: &mut Thin) {
        let Thin { from, ends, columns, values, .. } = thin;
        let mut random = self.random(index + 1);
        from.clear();
        from.extend(rows.iter().map(|_| random.random::<u32>() % PLACES as u32));
        ends.resize(rows.len(), 0);
        columns.resize(columns.len().max(g.len()), 0);
        values.resize(values.len().max(g.len()), 0.0);
        thin_block(g, &self.numbers, &self.bars, from, self.mean, Thinned { ends, columns, values });
        thin.list(rows);
    }
}

impl Thin {
    /// Lists the rows that have pairs.
    fn list(&mut self, rows: &[u32]) {
        let Self { ends, rows: listed, starts, .. } = self;
        listed.clear();
        starts.clear();
        starts.push(0);
        let mut start = 0;
        for (&row, &end) in rows.iter().zip(&*ends) {
            if end > start {
                listed.push(row);
                starts.push(end);
                start = end;
            }
        }
    }

    /// The pairs, and the gradients that go with them.
    pub fn pairs(&self) -> (Pairs<'_>, &[f32]) {
        let count = self.ends.last().map_or(0, |&end| end as usize);
        let Self { rows, starts, columns, values, .. } = self;
        (Pairs { rows, starts, columns: &columns[..count] }, &values[..count])
    }
}

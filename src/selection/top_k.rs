//! The true top neurons by inner product: the oracle that hashing approximates. Its cost is a dense forward pass.

use super::{ActiveSets, Neurons, Queries, Selection};
use crate::kernels::kernels;
use rayon::prelude::*;

/// Samples for which a block of weights is read once.
const SAMPLES: usize = 8;
/// Rows of such a block.
const ROWS: usize = 256;

/// Marks the `count` neurons with the largest `w · x + b` for every sample.
#[derive(Clone, Debug)]
pub struct TopK {
    pub count: usize,
    /// `B x L`.
    logits: Vec<f32>,
}

impl TopK {
    pub fn new(count: usize) -> Self {
        Self { count, logits: Vec::new() }
    }

    /// All logits of all samples.
    fn forward(&mut self, samples: usize, queries: Queries<'_>, neurons: Neurons<'_>) {
        let total = neurons.bias.len();
        self.logits.resize(samples * total, 0.0);
        let stride = neurons.stride;
        self.logits.par_chunks_mut(SAMPLES * total).enumerate().for_each_init(Vec::new, |scratch, (group, logits)| {
            for start in (0..total).step_by(ROWS) {
                let end = total.min(start + ROWS);
                let block = neurons.weights.widened(start * stride..end * stride, scratch);
                for (i, logits) in logits.chunks_exact_mut(total).enumerate() {
                    let x = queries.row(group * SAMPLES + i);
                    for ((w, n), logit) in block.chunks_exact(stride).zip(start..end).zip(&mut logits[start..end]) {
                        *logit = (kernels().dot)(&w[..neurons.width], x) + neurons.bias[n];
                    }
                }
            }
        });
    }
}

impl Selection for TopK {
    fn prepare(&mut self, _step: u64, _neurons: Neurons<'_>) -> bool {
        false
    }

    fn select(&mut self, _step: u64, queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        let total = neurons.bias.len();
        let keep = self.count.min(total);
        self.forward(sets.samples(), queries, neurons);
        let logits = &self.logits;
        sets.for_each_with(Vec::new, |ranked: &mut Vec<(f32, u32)>, sample, marks, counts| {
            ranked.clear();
            ranked.extend(logits[sample * total..][..total].iter().copied().zip(0..));
            if keep < total {
                ranked.select_nth_unstable_by(keep, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            }
            for &(_, neuron) in &ranked[..keep] {
                marks.mark(neuron);
            }
            counts.selected += marks.take_added();
            counts.candidates += total as u32;
        });
    }

    fn bytes(&self) -> u64 {
        4 * self.logits.capacity() as u64
    }
}

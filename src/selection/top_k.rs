//! The true top neurons by inner product: the oracle that hashing approximates. Its cost is a dense forward pass.

use super::{ActiveSets, Neurons, Queries, Selection};
use crate::kernels::kernels;

/// Marks the `count` neurons with the largest `w · x + b` for every sample.
#[derive(Clone, Copy, Debug)]
pub struct TopK {
    pub count: usize,
}

impl Selection for TopK {
    fn prepare(&mut self, _step: u64, _neurons: Neurons<'_>) -> bool {
        false
    }

    fn select(&mut self, _step: u64, queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        let total = neurons.bias.len();
        let keep = self.count.min(total);
        sets.for_each_with(Vec::new, |logits: &mut Vec<(f32, u32)>, sample, marks, counts| {
            let x = queries.row(sample);
            logits.clear();
            logits.extend(neurons.bias.iter().zip(0..).map(|(bias, n): (_, u32)| {
                let w = &neurons.weights[n as usize * neurons.stride..][..neurons.width];
                ((kernels().dot)(w, x) + bias, n)
            }));
            if keep < total {
                logits.select_nth_unstable_by(keep, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            }
            for &(_, neuron) in &logits[..keep] {
                marks.mark(neuron);
            }
            counts.selected += marks.take_added();
            counts.candidates += total as u32;
        });
    }

    fn bytes(&self) -> u64 {
        0
    }
}

//! Every neuron: the layer computes densely. The check that skipping is the only difference.

use super::{ActiveSets, Neurons, Queries, Selection};

/// Marks every neuron for every sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct All;

impl Selection for All {
    fn prepare(&mut self, _step: u64, _neurons: Neurons<'_>) -> bool {
        false
    }

    fn select(&mut self, _step: u64, _queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        let count = neurons.bias.len() as u32;
        sets.for_each(|_, marks, counts| {
            for neuron in 0..count {
                marks.mark(neuron);
            }
            counts.selected += marks.take_added();
            counts.candidates += count;
        });
    }

    fn bytes(&self) -> u64 {
        0
    }
}

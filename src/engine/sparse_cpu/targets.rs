//! The true labels that a step learns from.

use crate::data::Batch;

/// A true label of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub neuron: u32,
    pub sample: u32,
    /// How many labels the sample has, each with an equal part of its target distribution.
    pub labels: u32,
}

/// True labels of a batch, by neuron then sample.
#[derive(Debug, Default)]
pub struct Targets {
    list: Vec<Target>,
}

impl Targets {
    pub fn list(&self) -> &[Target] {
        &self.list
    }

    /// Lists all labels of the batch.
    pub fn take(&mut self, batch: &Batch) {
        self.list.clear();
        for (sample, neurons) in (0..).zip((0..batch.len()).map(|b| batch.labels(b))) {
            let labels = neurons.len() as u32;
            self.list.extend(neurons.iter().map(|&neuron| Target { neuron, sample, labels }));
        }
        // Stable, so samples stay in order.
        radsort::sort_by_key(&mut self.list, |target| target.neuron);
    }
}

//! The true labels that a step learns from.

use crate::data::Batch;
use crate::selection::SharedSelection;
use std::iter::zip;

/// A true label of the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub neuron: u32,
    pub sample: u32,
    /// Its part of the sample's target distribution, whose parts sum to 1.
    pub mass: f32,
    /// Added to its logit, where those of other neurons are corrected.
    pub shift: f32,
}

/// True labels of a batch, by neuron then sample.
#[derive(Debug, Default)]
pub struct Targets {
    list: Vec<Target>,
    /// Work space: weights of each sample, summed.
    sums: Vec<f32>,
}

impl Targets {
    pub fn list(&self) -> &[Target] {
        &self.list
    }

    /// Lists all labels of the batch, each with 1/n of the mass of a sample that has n.
    pub fn take(&mut self, batch: &Batch) {
        self.list.clear();
        for (sample, labels) in (0..).zip((0..batch.len()).map(|b| batch.labels(b))) {
            let mass = 1.0 / labels.len() as f32;
            self.list.extend(labels.iter().map(|&neuron| Target { neuron, sample, mass, shift: 0.0 }));
        }
        // Stable, so samples stay in order.
        radsort::sort_by_key(&mut self.list, |target| target.neuron);
    }

    /// Where samples draw labels, leaves those that are in the set `selected` for the batch, each weighed by the inverse
    /// of the probability π of being there: its own sample drew it, m of n, or something else brought it, which has the
    /// probability exp(−correction); π = m/n + (1 − m/n)·exp(−correction).
    ///
    /// So the label's exponential counts 1/π times in the sum over the set, as that of any other neuron counts
    /// exp(correction) times, and so does its part of the target distribution, which then is scaled to sum to 1. Where
    /// the softmax over all neurons equals the target distribution, gradients are 0 whatever was drawn. A sample that has
    /// no more than m labels keeps them as they are.
    pub fn weigh(&mut self, batch: &Batch, selected: &SharedSelection) {
        let Self { list, sums } = self;
        let draw = selected.draw();
        if draw == usize::MAX {
            return;
        }
        sums.clear();
        sums.resize(batch.len(), 0.0);
        let mut set = zip(&selected.neurons, &selected.corrections).peekable();
        list.retain_mut(|target| {
            while set.next_if(|(neuron, _)| **neuron < target.neuron).is_some() {}
            let Some((_, correction)) = set.peek().filter(|(neuron, _)| **neuron == target.neuron) else {
                return false;
            };
            let sample = target.sample as usize;
            let drawn = (draw as f32 / batch.labels(sample).len() as f32).min(1.0);
            let weight = 1.0 / (drawn + (1.0 - drawn) * (-**correction).exp());
            (target.mass, target.shift) = (weight, weight.ln());
            sums[sample] += weight;
            true
        });
        list.iter_mut().for_each(|target| target.mass /= sums[target.sample as usize]);
    }
}

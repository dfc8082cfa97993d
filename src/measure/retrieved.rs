//! How many of the true top neurons a selection finds.

use crate::selection::{ActiveSets, Neurons, Queries, Selection, TopK};

/// The neurons of the largest inner product with each query, by the exact selection.
pub struct Truth {
    neurons: usize,
    /// Those of one query after another, `top` each.
    best: Vec<u32>,
    top: usize,
}

impl Truth {
    /// The `top` neurons of `samples` queries.
    pub fn new(queries: Queries<'_>, samples: usize, layer: Neurons<'_>, top: usize) -> Self {
        let neurons = layer.bias.len();
        let top = top.min(neurons);
        let mut sets = ActiveSets::new(neurons);
        sets.reset(samples);
        TopK::new(top).select(0, queries, layer, &mut sets);
        let sets = &sets;
        let of = |sample| (0..neurons as u32).filter(move |&neuron| sets.contains(sample, neuron));
        let best = (0..samples).flat_map(of).collect();
        Self { neurons, best, top }
    }

    /// What `selection`, its tables built, finds for the same queries.
    pub fn found_by(&self, selection: &mut dyn Selection, queries: Queries<'_>, layer: Neurons<'_>) -> Retrieved {
        let samples = self.best.len() / self.top.max(1);
        let mut sets = ActiveSets::new(self.neurons);
        sets.reset(samples);
        selection.select(0, queries, layer, &mut sets);
        let best = self.best.chunks(self.top.max(1)).enumerate();
        let hits = best.map(|(sample, best)| best.iter().filter(|&&n| sets.contains(sample, n)).count()).sum::<usize>();
        let mean = |count: fn(&crate::selection::Counts) -> u32| {
            sets.counts().iter().map(|counts| f64::from(count(counts))).sum::<f64>() / samples.max(1) as f64
        };
        Retrieved {
            recall: hits as f64 / self.best.len().max(1) as f64,
            neurons: mean(|counts| counts.selected),
            ids: mean(|counts| counts.candidates),
        }
    }
}

/// Means over queries.
pub struct Retrieved {
    /// Of the true top neurons.
    pub recall: f64,
    /// Retrieved, each once.
    pub neurons: f64,
    /// Read from buckets, duplicates included.
    pub ids: f64,
}

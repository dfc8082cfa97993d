//! How many of the true top neurons an active set holds, sampled while training.

use super::layer::SparseLayer;
use crate::data::Batch;
use crate::engine::exact_top_k::ExactTopK;
use std::time::{Duration, Instant};

/// Recall of the k neurons with the largest logits, outside the device clock; its cost is a dense forward pass.
#[derive(Debug, Default)]
pub struct Recall {
    /// Steps from one look to the next; 0: none.
    pub every: u64,
    /// k.
    pub at: usize,
    exact: ExactTopK,
    top: u64,
    active: u64,
    spent: Duration,
}

impl Recall {
    pub fn new(every: u64, at: usize) -> Self {
        Self { every, at, ..Self::default() }
    }

    /// Whether step `step` is looked at.
    pub fn due(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every)
    }

    /// Looks for the top neurons under input `x` (`B x stride`) among the `active(sample, neuron)`. A sample's own
    /// labels, which are active whatever is selected, are left out.
    pub fn measure(&mut self, layer: &SparseLayer, x: &[f32], batch: &Batch, active: impl Fn(usize, u32) -> bool) {
        let started = Instant::now();
        let top = self.exact.run(layer.weights.weights(), layer.weights.stride, &layer.bias.b, x, self.at);
        for (sample, neurons) in top.labels.chunks(top.k.max(1)).enumerate() {
            for &neuron in neurons.iter().filter(|neuron| !batch.labels(sample).contains(neuron)) {
                self.top += 1;
                self.active += u64::from(active(sample, neuron));
            }
        }
        self.spent += started.elapsed();
    }

    /// Time spent since the last call.
    pub fn take_time(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// Recall since the last call, where anything was looked at.
    pub fn take(&mut self) -> Option<f64> {
        let (top, active) = (std::mem::take(&mut self.top), std::mem::take(&mut self.active));
        (top > 0).then(|| active as f64 / top as f64)
    }
}

//! The average of the weights that training passes through, on the device; see [`crate::engine::cpu::Average`], which
//! averages the same way. To be looked at, it changes places with the weights, and back before the next step.

use super::gpu::Gpu;
use super::kernels::Kernels;
use super::plan::{Counts, Dispatch, State, folded};
use crate::engine::EngineError;
use crate::engine::common::snapshot_share;

/// Averages of all weights and biases, each beside its own.
pub(super) struct Average {
    /// Steps from snapshot to snapshot.
    every: u64,
    snapshots: u32,
    /// Takes a snapshot, one dispatch a buffer.
    pub take: Vec<Dispatch>,
    exchange: Vec<Dispatch>,
    /// Whether the averages lie where the weights belong.
    shown: bool,
}

impl Average {
    /// Of the weights of `state` after every `every`-th step.
    pub fn new(gpu: &Gpu, kernels: &Kernels, state: &State, every: u64) -> Result<Self, EngineError> {
        let mut average = Self { every, snapshots: 0, take: vec![], exchange: vec![], shown: false };
        for layer in state.hidden.iter().chain([&state.output.layer]) {
            let weights = layer.weights.windows.iter().map(|window| &window.w);
            // With the moments, which lie between the biases; nothing reads their averages.
            for buffer in weights.chain(layer.biases.iter().map(|bias| &bias.buffer)) {
                let vectors = (buffer.size() / 16) as u32;
                let mean = gpu.storage("average of weights", buffer.size())?;
                let dims = gpu.uniform("average", &[vectors])?;
                let [x, y] = folded(vectors.div_ceil(256));
                for (name, to) in [("average", &mut average.take), ("exchange", &mut average.exchange)] {
                    let buffers = [&state.head, &dims, &mean, buffer];
                    to.push(Dispatch::new(gpu, kernels.get(name), &buffers, move |_| [x, y, 1]));
                }
                // The binding keeps the constants alive; they are too small to count.
                gpu.release(&dims);
            }
        }
        Ok(average)
    }

    /// What the weights after step `step`, counted from 1, count in the average; nothing where no snapshot is due.
    pub fn due(&mut self, step: u64) -> Option<f32> {
        step.is_multiple_of(self.every).then(|| {
            self.snapshots += 1;
            snapshot_share(self.snapshots - 1, self.snapshots)
        })
    }

    /// Puts the averages in the weights' places, or the weights back in theirs.
    pub fn show(&mut self, gpu: &Gpu, averages: bool, counts: &Counts<'_>) {
        if self.snapshots == 0 || self.shown == averages {
            return;
        }
        self.shown = averages;
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            self.exchange.iter().for_each(|dispatch| dispatch.encode(&mut pass, counts));
        }
        gpu.queue.submit([encoder.finish()]);
    }
}

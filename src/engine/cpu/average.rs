//! The average of the weights that training passes through, looked at in place of the last ones.
//!
//! At a constant learning rate weights do not come to rest but wander about where they are drawn to, the wider the higher
//! the rate and the noisier the gradients; their average lies nearer to it than they do (Polyak and Juditsky, "Acceleration
//! of stochastic approximation by averaging", 1992). So training may go at a rate, and a sparse engine draw so few neurons,
//! as its last weights alone would not bear. Training itself goes as without.
//!
//! The last snapshots count more ([`snapshot_share`]). To take one is a pass over all weights.

use super::{Bias, InputLayer, Matrix};
use crate::data::Batch;
use crate::engine::TopK;
use crate::engine::common::{average_note, snapshot_share};
use crate::engine::exact_top_k::{ExactTopK, transpose};
use crate::kernels::gemm::Product;
use crate::kernels::memory::Aligned;
use crate::kernels::padded;
use crate::kernels::weights::Weights;
use crate::network::{Layer, Order, Parameters};
use crate::threads;
use rayon::prelude::*;

/// Weights a task.
const BLOCK: usize = 1 << 14;

/// Averages of all layers.
#[derive(Debug, Default)]
pub struct Average {
    /// Steps from snapshot to snapshot; 0: none are taken.
    every: u64,
    /// n.
    snapshots: u64,
    /// The first layer, then those above.
    layers: Vec<Mean>,
    /// Work space: a hidden layer's input and output.
    x: Vec<f32>,
    y: Vec<f32>,
}

/// Of one layer, laid out as its [`Matrix`].
#[derive(Debug, Default)]
struct Mean {
    width: usize,
    stride: usize,
    weights: Aligned<f32>,
    bias: Vec<f32>,
}

impl Average {
    /// Of the weights after every `every`-th step; of none where that is 0.
    pub fn new(every: u64) -> Self {
        Self { every, ..Self::default() }
    }

    /// Whether the weights after step `step`, counted from 1, are a snapshot.
    pub fn due(&self, step: u64) -> bool {
        self.every > 0 && step.is_multiple_of(self.every)
    }

    /// Takes a snapshot, on the rayon pool it is called in.
    pub fn take<'a>(&mut self, input: &'a mut InputLayer, above: impl Iterator<Item = (&'a Matrix, &'a Bias)>) {
        self.snapshots += 1;
        let share = snapshot_share(self.snapshots);
        input.settle();
        let layers = std::iter::once((&input.weights, &input.bias)).chain(above);
        for (index, (weights, bias)) in layers.enumerate() {
            if index == self.layers.len() {
                self.layers.push(Mean::default());
            }
            self.layers[index].add(weights, bias, share);
        }
    }

    /// What the average predicts; nothing before the first snapshot.
    pub fn predict(&mut self, input: &InputLayer, exact: &mut ExactTopK, batch: &Batch, k: usize) -> Option<TopK> {
        let Self { layers, x, y, .. } = self;
        let (first, above) = layers.split_first()?;
        let (output, hidden) = above.split_last().expect("a network has two layers");
        x.resize(batch.len() * first.stride, 0.0);
        input.sum(first.weights(), &first.bias, batch, x);
        for layer in hidden {
            layer.relu(batch.len(), x, y);
            std::mem::swap(x, y);
        }
        Some(exact.run(output.weights(), output.stride, &output.bias, x, k))
    }

    /// The averages; nothing before the first snapshot.
    pub fn parameters(&self) -> Option<Parameters> {
        let (first, above) = self.layers.split_first()?;
        let above = above.iter().map(|mean| Layer {
            inputs: mean.width,
            outputs: mean.bias.len(),
            order: Order::NeuronMajor,
            weights: mean.weights().unpadded(mean.width, mean.stride),
            bias: mean.bias.clone(),
        });
        let first = Layer {
            inputs: first.weights.len() / first.stride,
            outputs: first.width,
            order: Order::InputMajor,
            weights: first.weights().unpadded(first.width, first.stride),
            bias: first.bias[..first.width].to_vec(),
        };
        Some(Parameters { layers: std::iter::once(first).chain(above).collect() })
    }

    /// What is to be said of an engine that averages.
    pub fn note(&self) -> Option<(String, String)> {
        average_note(self.every)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let layers: usize = self.layers.iter().map(|mean| mean.weights.bytes() + 4 * mean.bias.len()).sum();
        (layers + 4 * (self.x.capacity() + self.y.capacity())) as u64
    }
}

impl Mean {
    fn add(&mut self, weights: &Matrix, bias: &Bias, share: f32) {
        let from = weights.weights();
        (self.width, self.stride) = (weights.width, weights.stride);
        self.weights.resize(from.len(), 0.0);
        self.bias.resize(bias.b.len(), 0.0);
        let approach = |means: &mut [f32], values: &[f32]| {
            means.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * (value - *mean));
        };
        approach(&mut self.bias, &bias.b);
        let blocks = self.weights.par_chunks_mut(BLOCK).enumerate();
        threads::for_each_with(blocks, Vec::new, |scratch, (index, means)| {
            let range = index * BLOCK..index * BLOCK + means.len();
            approach(means, from.widened(range, scratch));
        });
    }

    /// `y = relu(x·Wᵀ + bias)`, rows padded as the next layer's are.
    fn relu(&self, samples: usize, x: &[f32], y: &mut Vec<f32>) {
        let (outputs, columns) = (self.bias.len(), padded(samples));
        let mut by_column = vec![0.0; self.stride * columns];
        transpose(x, self.stride, samples, &mut by_column, columns);
        let mut z = vec![0.0; outputs * columns];
        let dims = (outputs, columns, self.stride);
        Product::rows(dims, &self.weights, self.stride, &by_column, columns).run(&mut z);
        let stride = crate::kernels::bf16::tiled(outputs);
        y.clear();
        y.resize(samples * stride, 0.0);
        for (sample, y) in y.chunks_exact_mut(stride).enumerate() {
            for (neuron, y) in y[..outputs].iter_mut().enumerate() {
                *y = (z[neuron * columns + sample] + self.bias[neuron]).max(0.0);
            }
        }
    }

    fn weights(&self) -> Weights<'_> {
        Weights::F32(&self.weights)
    }
}

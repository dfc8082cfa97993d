//! The average of the weights that training passes through, looked at in place of the last ones.
//!
//! At a constant learning rate weights do not come to rest but wander about where they are drawn to, the wider the higher
//! the rate and the noisier the gradients; their average lies nearer to it than they do (Polyak and Juditsky, "Acceleration
//! of stochastic approximation by averaging", 1992). So training may go at a rate, and a sparse engine draw so few neurons,
//! as its last weights alone would not bear. Training itself goes as without.
//!
//! The last snapshots count more ([`snapshot_share`]). To take one is a pass over all weights, but not where a step moves a
//! few rows of a layer and lists them: there a row's average waits until the row moves again or someone looks, since what it
//! missed meanwhile are snapshots of weights that stood still. At the size of Amazon-670K that is most of them.

use super::matrix::zeros;
use super::{Bias, InputLayer, Matrix};
use crate::data::Batch;
use crate::engine::common::{Shards, snapshot_share};
use crate::engine::exact_top_k::{ExactTopK, transpose};
use crate::engine::{EngineError, TopK};
use crate::kernels::gemm::Product;
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::weights::Weights;
use crate::kernels::{padded, prefetch};
use crate::network::{Layer, Order, Parameters};
use crate::threads;
use rayon::prelude::*;

/// Rows a task.
const BLOCK: usize = 64;
/// Rows that owe snapshots are asked for so long before they are needed.
const AHEAD: usize = 4;

/// Averages of all layers.
#[derive(Debug, Default)]
pub struct Average {
    /// Steps from snapshot to snapshot; 0: none are taken.
    every: u64,
    /// n.
    snapshots: u32,
    /// The first layer, then those above.
    layers: Vec<Mean>,
    /// Work space: a hidden layer's input and output.
    x: Vec<f32>,
    y: Vec<f32>,
}

/// Of one layer, laid out as its [`Matrix`].
#[derive(Debug)]
struct Mean {
    width: usize,
    stride: usize,
    weights: Buffer,
    bias: Vec<f32>,
    /// A row: how many snapshots its average has.
    stands: Vec<u32>,
    /// Whether there are rows that lack some.
    owes: bool,
}

impl Average {
    /// Of the weights after every `every`-th step; of none where that is 0. Every page is touched here, outside the clock.
    pub fn new<'a>(
        every: u64,
        huge: HugePages,
        input: &'a InputLayer,
        above: impl Iterator<Item = (&'a Matrix, &'a Bias)>,
    ) -> Result<Self, EngineError> {
        if every == 0 {
            return Ok(Self::default());
        }
        let layers = std::iter::once((&input.weights, &input.bias)).chain(above);
        let layers = layers.map(|(weights, bias)| Mean::new(weights, bias, huge)).collect::<Result<_, _>>()?;
        Ok(Self { every, layers, ..Self::default() })
    }

    /// Takes a snapshot if one is due after step `step`, counted from 1, on the rayon pool it is called in. Before rows of
    /// those layers above the first that `lists` names by their number move again, [`moving`](Self::moving) must be told,
    /// and [`moving_input`](Self::moving_input) before the first layer's do.
    pub fn take<'a>(
        &mut self,
        step: u64,
        input: &'a mut InputLayer,
        above: impl Iterator<Item = (&'a Matrix, &'a Bias)>,
        lists: impl Fn(usize) -> bool,
    ) {
        if self.every == 0 || !step.is_multiple_of(self.every) {
            return;
        }
        self.snapshots += 1;
        let first_lists = input.lists_moving_rows();
        if !first_lists {
            input.settle();
        }
        let layers = std::iter::once((&input.weights, &input.bias)).chain(above);
        for (index, (mean, (weights, bias))) in self.layers.iter_mut().zip(layers).enumerate() {
            mean.owes = true;
            approach(&mut mean.bias, &bias.b, snapshot_share(self.snapshots - 1, self.snapshots));
            if !(if index == 0 { first_lists } else { lists(index - 1) }) {
                mean.settle(weights, self.snapshots);
            }
        }
    }

    /// Rows of the `layer`-th layer above the first, distinct, are about to move.
    pub fn moving(&mut self, layer: usize, weights: &Matrix, rows: &[u32]) {
        let Some(mean) = self.layers.get_mut(layer + 1).filter(|mean| mean.owes) else { return };
        let tasks = rows.par_chunks(BLOCK).map(|rows| rows.iter().map(|&row| row as usize));
        // SAFETY: the caller's rows are distinct.
        unsafe { mean.settle_rows(weights, self.snapshots, tasks) };
    }

    /// Those rows of the first layer are about to move that it listed for the batch.
    pub fn moving_input(&mut self, input: &InputLayer, batch: &Batch) {
        let Some(mean) = self.layers.first_mut().filter(|mean| mean.owes) else { return };
        match input.moving_rows(batch) {
            // SAFETY: a row is in one part, and there once.
            Some(parts) => unsafe { mean.settle_rows(&input.weights, self.snapshots, parts) },
            None => mean.settle(&input.weights, self.snapshots),
        }
    }

    /// Brings all rows up to date.
    pub fn settle<'a>(&mut self, input: &'a InputLayer, above: impl Iterator<Item = &'a Matrix>) {
        let matrices = std::iter::once(&input.weights).chain(above);
        self.layers.iter_mut().zip(matrices).for_each(|(mean, weights)| mean.settle(weights, self.snapshots));
    }

    /// What the average predicts; nothing before the first snapshot.
    pub fn predict(&mut self, input: &InputLayer, exact: &mut ExactTopK, batch: &Batch, k: usize) -> Option<TopK> {
        let Self { snapshots, layers, x, y, .. } = self;
        let (first, above) = layers.split_first().filter(|_| *snapshots > 0)?;
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
        let (first, above) = self.layers.split_first().filter(|_| self.snapshots > 0)?;
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

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        let layers: usize =
            self.layers.iter().map(|mean| mean.weights.bytes() + 4 * (mean.bias.len() + mean.stands.len())).sum();
        (layers + 4 * (self.x.capacity() + self.y.capacity())) as u64
    }
}

impl Mean {
    fn new(weights: &Matrix, bias: &Bias, huge: HugePages) -> Result<Self, EngineError> {
        let &Matrix { rows, width, stride, .. } = weights;
        let (bias, stands) = (vec![0.0; bias.b.len()], vec![0; rows]);
        Ok(Self { width, stride, weights: zeros(rows, stride, huge)?, bias, stands, owes: false })
    }

    /// Brings all rows up to date.
    fn settle(&mut self, weights: &Matrix, snapshots: u32) {
        if std::mem::take(&mut self.owes) {
            let rows = self.stands.len();
            let blocks = (0..rows.div_ceil(BLOCK)).into_par_iter();
            let tasks = blocks.map(|block| block * BLOCK..rows.min((block + 1) * BLOCK));
            // SAFETY: the blocks do not overlap.
            unsafe { self.settle_rows(weights, snapshots, tasks) };
        }
    }

    /// Brings the tasks' rows up to date: they stood still since the last snapshot that their averages have.
    ///
    /// # Safety
    /// The rows must be distinct.
    unsafe fn settle_rows<R: Iterator<Item = usize> + Clone>(
        &mut self,
        weights: &Matrix,
        snapshots: u32,
        tasks: impl IndexedParallelIterator<Item = R>,
    ) {
        let (from, stride) = (weights.weights(), self.stride);
        let (means, stands) = (Shards::new(&mut self.weights), Shards::new(&mut self.stands));
        threads::for_each_with(tasks, Vec::new, |scratch, rows| {
            let mut ahead = rows.clone().skip(AHEAD);
            for row in rows {
                let span = |row: usize| row * stride..(row + 1) * stride;
                // SAFETY: the caller's promise.
                let stand = |row: usize| &mut unsafe { stands.take(row..row + 1) }[0];
                if let Some(next) = ahead.next().filter(|&next| *stand(next) != snapshots) {
                    prefetch(means.place(span(next)));
                    prefetch(from.part(span(next)).place());
                }
                let stand = stand(row);
                if *stand != snapshots {
                    // SAFETY: the caller's promise.
                    let mean = unsafe { means.take(span(row)) };
                    approach(mean, from.widened(span(row), scratch), snapshot_share(*stand, snapshots));
                    *stand = snapshots;
                }
            }
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

/// Moves averages towards the values by this share of the way.
fn approach(means: &mut [f32], values: &[f32], share: f32) {
    means.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * (value - *mean));
}

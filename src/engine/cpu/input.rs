//! The first layer, input-major: row i holds the weights from feature i to all H neurons, so that a sparse sample reads
//! only the rows of its features.
//!
//! Where the optimiser is to move every row at every step, rows without gradient are [`Deferred`]: a step costs the
//! rows of its batch either way.

use super::deferred::Deferred;
use super::entries::Part;
use super::{Bias, Group, Matrix, Optimiser, Precision, SharedSums, State, Sums, Update};
use crate::data::{Batch, Input, Inputs};
use crate::engine::EngineError;
use crate::engine::common::Shards;
use crate::kernels::gemm::Product;
use crate::kernels::kernels;
use crate::kernels::memory::{Aligned, HugePages};
use crate::kernels::weights::Weights;
use crate::network::{Layer, Order, Rows, Training};
use crate::threads;
use rayon::prelude::*;
use std::ops::Range;

/// The features are cut into this many equal ranges, the tasks of a pass; not by the number of threads, which rounding
/// must not follow. Every range looks for its features in every sample, so more of them are more work.
const PARTS: usize = 16;
/// Samples of dense input a task, and input rows of a dense gradient block.
const DENSE_BLOCK: usize = 32;
/// Rows prefetched ahead of the one that takes the steps it owes.
const SETTLE_AHEAD: usize = 16;

/// How the layer keeps and moves its weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Storage {
    pub huge_pages: HugePages,
    pub precision: Precision,
    pub state: State,
    pub sums: Sums,
    pub optimiser: Optimiser,
}

/// Weights, biases and their optimiser state; ReLU.
pub struct InputLayer {
    pub weights: Matrix,
    pub bias: Bias,
    rows: Rows,
    /// Of rows that owe steps, where every row moves.
    deferred: Option<Deferred>,
    /// Where the state is row-wise: the training without first moments, and how many steps it took.
    row_wise: Option<(Training, u64)>,
    /// Features a part.
    part: usize,
    parts: Vec<Part>,
    bias_gradient: Vec<f32>,
    /// Of blocks of rows, one a thread, where the input is dense.
    gradient: Aligned<f32>,
    /// Where gradients are summed sample by sample.
    sums: Option<SharedSums>,
}

impl InputLayer {
    pub fn new(layer: &Layer, training: &Training, storage: Storage) -> Result<Self, EngineError> {
        let Storage { huge_pages, precision, state, optimiser, sums } = storage;
        let weights = Matrix::new(&layer.weights, layer.inputs, layer.outputs, huge_pages, precision, state)?;
        let row_wise = (state == State::RowWise).then(|| (Training { beta1: 0.0, ..training.clone() }, 0));
        let training = row_wise.as_ref().map_or(training, |(training, _)| training);
        let part = layer.inputs.div_ceil(PARTS).max(1);
        let rows = training.input_rows;
        let deferrable = rows == Rows::Dense && (row_wise.is_some() || optimiser == Optimiser::Adam);
        let deferred = || Deferred::new(layer.inputs, training);
        Ok(Self {
            bias: Bias::new(&layer.bias, weights.stride),
            deferred: deferrable.then(deferred).flatten(),
            rows,
            part,
            parts: (0..layer.inputs).step_by(part).map(|first| Part::new(part.min(layer.inputs - first))).collect(),
            bias_gradient: vec![0.0; weights.stride],
            gradient: Aligned::default(),
            sums: SharedSums::new(sums),
            row_wise,
            weights,
        })
    }

    /// `y = relu(x·W + bias)`, `B x stride`, for a step that ends in [`backward`](Self::backward).
    pub fn forward(&mut self, batch: &Batch, y: &mut [f32]) {
        let sparse = matches!(batch.inputs, Inputs::Sparse { .. });
        if self.gathers(batch) {
            let every_row = self.deferred.is_none() && (self.rows == Rows::Dense || !sparse);
            self.settle_rows(|first, part| {
                part.gather(batch, first, every_row);
                Listed::Some(&part.rows)
            });
        } else {
            self.settle();
        }
        self.sum(self.weights.weights(), &self.bias.b, batch, y);
    }

    /// The same to look only.
    pub fn predict(&mut self, batch: &Batch, y: &mut [f32]) {
        self.settle();
        self.sum(self.weights.weights(), &self.bias.b, batch, y);
    }

    /// Whether a step moves no rows but [`moving_rows`](Self::moving_rows). Rows that owe steps of Adam are moved when they
    /// take them.
    pub fn lists_moving_rows(&self) -> bool {
        self.row_wise.is_some() || self.deferred.is_none()
    }

    /// After [`forward`](Self::forward), the rows that [`backward`](Self::backward) will move, in parts; none: all.
    pub fn moving_rows(
        &self,
        batch: &Batch,
    ) -> Option<impl IndexedParallelIterator<Item = impl Iterator<Item = usize> + Clone>> {
        let Self { parts, part, .. } = self;
        let parts = self.gathers(batch).then(|| parts.par_iter().enumerate())?;
        Some(parts.map(move |(index, own)| own.rows.iter().map(move |&row| index * part + row as usize)))
    }

    /// Whether a step collects the batch's non-zeros.
    fn gathers(&self, batch: &Batch) -> bool {
        matches!(batch.inputs, Inputs::Sparse { .. }) || self.sums.is_some()
    }

    /// Takes the steps that rows owe.
    pub fn settle(&mut self) {
        if self.deferred.is_some() {
            self.settle_rows(|_, part| Listed::All(part.features()));
        }
    }

    /// The same for those rows of each part that `list` gives, which is told the part's first feature.
    fn settle_rows<'a>(&'a mut self, list: impl Fn(usize, &'a mut Part) -> Listed<'a> + Sync) {
        let Self { deferred, weights, parts, part, .. } = self;
        let (stride, part) = (weights.stride, *part);
        let parts = parts.par_iter_mut().enumerate();
        let Some(deferred) = deferred else {
            threads::for_each(parts, |(index, own)| {
                list(index * part, own);
            });
            return;
        };
        let (stands, debts) = deferred.stands();
        let shards = weights.shards();
        threads::for_each(parts.zip(stands.par_chunks_mut(part)), |((index, own), stands)| {
            let rows = list(index * part, own);
            for (i, row) in (0..).map_while(|i| rows.get(i)).enumerate() {
                if let Some(next) = rows.get(i + SETTLE_AHEAD).filter(|&next| debts.owes(stands[next])) {
                    shards.prefetch(index * part + next);
                }
                let Some(debt) = debts.settle(&mut stands[row]) else { continue };
                let row = index * part + row;
                // SAFETY: every part has a range of its own, and a row is let go of before the next is taken.
                let state = unsafe { shards.take(row..row + 1) };
                state.settle(stride, debt);
            }
        });
    }

    /// `y = relu(x·W + bias)` with weights and biases laid out as the layer's.
    pub fn sum(&self, weights: Weights<'_>, bias: &[f32], batch: &Batch, y: &mut [f32]) {
        let stride = self.weights.stride;
        let relu = |row: &mut [f32]| row.iter_mut().for_each(|x| *x = x.max(0.0));
        match &batch.inputs {
            Inputs::Sparse { .. } => threads::for_each(y.par_chunks_mut(stride).enumerate(), |(b, row)| {
                let Input::Sparse { indices, values } = batch.input(b) else { unreachable!("the batch is sparse") };
                row.copy_from_slice(bias);
                weights.row_sum(stride, indices, values, row);
                relu(row);
            }),
            Inputs::Dense { width, values } => {
                let tasks = y.par_chunks_mut(DENSE_BLOCK * stride).zip(values.par_chunks(DENSE_BLOCK * width));
                threads::for_each_with(tasks, Vec::new, |scratch, (rows, x)| {
                    rows.chunks_exact_mut(stride).for_each(|row| row.copy_from_slice(bias));
                    let dims = (rows.len() / stride, stride, *width);
                    let w = weights.widened(0..weights.len(), scratch);
                    Product::rows(dims, x, *width, w, stride).accumulating(true).run(rows);
                    relu(rows);
                });
            }
        }
    }

    /// Gradient and optimiser step from `delta` (`B x stride`), the loss's gradient for the layer's sums. Returns the
    /// number of weight rows moved.
    pub fn backward(&mut self, batch: &Batch, delta: &[f32], step: &Update) -> usize {
        let of_bias = step;
        let of_rows = self.row_wise.as_mut().map(|(training, steps)| {
            *steps += 1;
            Update::adam(training.adam_step(*steps))
        });
        let step = of_rows.as_ref().unwrap_or(step);
        let Self { weights, bias, bias_gradient, parts, part, sums, gradient, deferred, .. } = self;
        let dense = match &batch.inputs {
            Inputs::Dense { width, values } if sums.is_none() => Some((*width, &values[..])),
            _ => None,
        };
        let moved = dense.map_or_else(|| parts.iter().map(|part| part.rows.len()).sum(), |_| weights.rows);
        let stride = weights.stride;
        rayon::join(
            || match dense {
                Some(input) => dense_gradient(weights, input, delta, gradient, step),
                None => sparse_gradient(weights, parts, *part, sums, delta, step),
            },
            || {
                if let Some(deferred) = deferred {
                    deferred.took(step.adam);
                    let now = deferred.now();
                    let stands = deferred.stands().0.chunks_mut(*part);
                    parts.iter().zip(stands).for_each(|(own, stands)| match dense {
                        Some(_) => stands.fill(now),
                        None => own.rows.iter().for_each(|&row| stands[row as usize] = now),
                    });
                }
                bias_gradient.fill(0.0);
                for row in delta[..batch.len() * stride].chunks_exact(stride) {
                    (kernels().axpy)(1.0, row, bias_gradient);
                }
                bias.update(bias_gradient, of_bias);
            },
        );
        moved
    }

    /// Additions to gradient rows so far and how many of them are missing, where summed sample by sample.
    pub fn additions(&self) -> (u64, u64) {
        self.sums.as_ref().map_or((0, 0), |sums| (sums.added, sums.lost))
    }

    /// The layer as everyone knows it.
    pub fn layer(&mut self) -> Layer {
        self.settle();
        Layer {
            inputs: self.weights.rows,
            outputs: self.weights.width,
            order: Order::InputMajor,
            weights: self.weights.unpadded(),
            bias: self.bias.b[..self.weights.width].to_vec(),
        }
    }

    /// Bytes of state and work space.
    pub fn bytes(&self) -> u64 {
        let sums = self.sums.as_ref().map_or(0, SharedSums::bytes);
        let owed = if self.deferred.is_some() { 4 * self.weights.rows } else { 0 };
        self.weights.bytes() + sums + (owed + 4 * self.weights.rows + 12 * self.weights.stride) as u64
    }
}

/// Gradients of the features that occur, and the optimiser's step.
fn sparse_gradient(
    weights: &mut Matrix,
    parts: &[Part],
    part: usize,
    sums: &mut Option<SharedSums>,
    delta: &[f32],
    step: &Update,
) {
    let (stride, features) = (weights.stride, weights.rows);
    let range = |index: usize| -> Range<usize> { index * part..features.min((index + 1) * part) };
    if let Some(sums) = sums {
        let groups = parts.iter().enumerate().map(|(index, own)| Group {
            first: range(index).start,
            count: range(index).len(),
            pairs: own.pairs(),
            values: &own.values,
        });
        return sums.update(weights, &groups.collect::<Vec<_>>(), delta, None, step);
    }
    let shards = weights.shards();
    threads::for_each(parts.par_iter().enumerate(), |(index, own)| {
        // SAFETY: every part has a range of its own.
        let state = unsafe { shards.take(range(index)) };
        state.pair_update(delta, None, stride, own.pairs(), &own.values, step);
    });
}

/// The same of dense input, `values` with `width` a sample; `gradient` is work space.
fn dense_gradient(
    weights: &mut Matrix,
    (width, values): (usize, &[f32]),
    delta: &[f32],
    gradient: &mut Aligned<f32>,
    step: &Update,
) {
    let (stride, rows, samples) = (weights.stride, weights.rows, values.len() / width);
    let size = DENSE_BLOCK * stride;
    gradient.resize(rayon::current_num_threads() * size, 0.0);
    let gradients = Shards::new(gradient);
    let shards = weights.shards();
    threads::for_each((0..rows.div_ceil(DENSE_BLOCK)).into_par_iter(), |block| {
        let own = block * DENSE_BLOCK..rows.min((block + 1) * DENSE_BLOCK);
        let thread = rayon::current_thread_index().expect("inside the engine's pool");
        // SAFETY: a thread runs one block at a time, and the buffer is its own.
        let g = unsafe { gradients.take(thread * size..thread * size + own.len() * stride) };
        Product::transposed((own.len(), stride, samples), &values[own.start..], width, delta, stride).run(g);
        let list: Vec<u32> = (0..own.len() as u32).collect();
        // SAFETY: every block has a range of its own.
        unsafe { shards.take(own) }.row_adam(stride, &list, g, step);
    });
}

/// Rows of a part.
enum Listed<'a> {
    Some(&'a [u32]),
    All(usize),
}

impl Listed<'_> {
    fn get(&self, i: usize) -> Option<usize> {
        match *self {
            Self::Some(rows) => rows.get(i).map(|&row| row as usize),
            Self::All(rows) => (i < rows).then_some(i),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: u64 = 8;

    /// Two non-zeros a sample, and features that rest for some steps.
    fn batches(features: usize) -> Vec<Batch> {
        let batch = |t: usize| {
            let mut batch = Batch::default();
            for b in 0..6 {
                let rows = [(t + b) % 3, 4 + (t * b) % (features - 4)].map(|row| row as u32);
                batch.push_sparse(&rows, &[0.5 + b as f32, 1.0 - t as f32], &[0]);
            }
            batch
        };
        (0..STEPS as usize).map(batch).collect()
    }

    /// Row-wise steps over every row at every step, as their definition has it.
    fn by_definition(layer: &Layer, training: &Training, batches: &[Batch], deltas: &[Vec<f32>]) -> Vec<f64> {
        let mut w: Vec<f64> = layer.weights.iter().map(|&w| f64::from(w)).collect();
        let mut v = vec![0.0; layer.inputs];
        let (beta2, width) = (f64::from(training.beta2), layer.outputs);
        for (t, (batch, delta)) in batches.iter().zip(deltas).enumerate() {
            let mut gradient = vec![0.0; w.len()];
            let mut met = vec![false; layer.inputs];
            for b in 0..batch.len() {
                let Input::Sparse { indices, values } = batch.input(b) else { unreachable!() };
                for (&row, &x) in indices.iter().zip(values) {
                    met[row as usize] = true;
                    for h in 0..width {
                        let delta = f64::from(delta[b * crate::kernels::bf16::tiled(width) + h]);
                        gradient[row as usize * width + h] += f64::from(x) * delta;
                    }
                }
            }
            let rate = f64::from(training.learning_rate) * (1.0 - beta2.powi(t as i32 + 1)).sqrt();
            for (row, g) in gradient.chunks_exact(width).enumerate() {
                if !met[row] && training.input_rows == Rows::Lazy {
                    continue;
                }
                v[row] = beta2 * v[row] + (1.0 - beta2) * g.iter().map(|g| g * g).sum::<f64>() / width as f64;
                for (w, g) in w[row * width..].iter_mut().zip(g) {
                    *w -= rate * g / (v[row].sqrt() + f64::from(training.epsilon));
                }
            }
        }
        w
    }

    #[test]
    fn row_wise_state_does_as_it_is_defined() {
        let (features, width) = (70, 10);
        let weights = (0..features * width).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let layer =
            Layer { inputs: features, outputs: width, order: Order::InputMajor, weights, bias: vec![0.1; width] };
        let batches = batches(features);
        for input_rows in [Rows::Lazy, Rows::Dense] {
            let training = Training { input_rows, learning_rate: 0.05, ..Training::default() };
            let storage = Storage { state: State::RowWise, ..Storage::default() };
            let mut input = InputLayer::new(&layer, &training, storage).unwrap();
            let stride = input.weights.stride;
            let deltas: Vec<Vec<f32>> = (0..STEPS as usize)
                .map(|t| {
                    let delta = |i: usize| ((i * 13 + t * 7) % 29) as f32 / 14.0 - 1.0;
                    (0..6 * stride).map(|i| if i % stride < width { delta(i) } else { 0.0 }).collect()
                })
                .collect();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            pool.install(|| {
                let mut y = vec![0.0; 6 * stride];
                for (t, (batch, delta)) in (1..).zip(batches.iter().zip(&deltas)) {
                    input.forward(batch, &mut y);
                    input.backward(batch, delta, &Update::adam(training.adam_step(t)));
                }
            });
            let expected = by_definition(&layer, &training, &batches, &deltas);
            for (got, expected) in input.weights.unpadded().iter().zip(&expected) {
                assert!((f64::from(*got) - expected).abs() < 1e-5, "{input_rows:?}: {got} for {expected}");
            }
        }
    }
}

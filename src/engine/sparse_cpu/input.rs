//! The first layer: one row of H weights an input feature, so that a sparse input costs only its non-zeros.

use super::optimiser::Update;
use super::options::Options;
use super::state::{Bias, Matrix};
use super::sums::{Group, SharedSums};
use crate::data::{Batch, Inputs};
use crate::engine::EngineError;
use crate::kernels::{Pairs, kernels};
use crate::network::{Layer, Rows};
use rayon::prelude::*;

/// Ranges of features that are updated as one task.
const CHUNKS: usize = 64;

/// Input-major layer with ReLU.
pub struct InputLayer {
    pub weights: Matrix,
    pub bias: Bias,
    rows: Rows,
    /// (feature, sample, value) of the batch, by feature then sample.
    entries: Vec<(u32, u32, f32)>,
    chunks: Vec<Chunk>,
    bias_gradient: Vec<f32>,
    /// Where gradients are summed sample by sample.
    sums: Option<SharedSums>,
}

/// The pairs of a range of features.
#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<u32>,
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl InputLayer {
    pub fn new(layer: &Layer, rows: Rows, options: &Options) -> Result<Self, EngineError> {
        let weights = Matrix::new(&layer.weights, layer.inputs, layer.outputs, options.huge_pages, options.precision)?;
        let bias = Bias::new(&layer.bias, weights.stride);
        Ok(Self {
            weights,
            bias,
            rows,
            entries: vec![],
            chunks: vec![],
            bias_gradient: vec![],
            sums: SharedSums::new(options.sums),
        })
    }

    /// `y[b] = relu(x[b] W + bias)` for every sample; `y` is `B x stride`.
    pub fn forward(&self, batch: &Batch, y: &mut [f32]) {
        let stride = self.weights.stride;
        y.par_chunks_mut(stride).enumerate().for_each(|(b, y)| {
            y.copy_from_slice(&self.bias.b);
            match &batch.inputs {
                Inputs::Sparse { offsets, indices, values } => {
                    let span = offsets[b] as usize..offsets[b + 1] as usize;
                    (kernels().row_sum)(&self.weights.w, stride, &indices[span.clone()], &values[span], y);
                }
                Inputs::Dense { width, values } => {
                    let x = &values[b * width..][..*width];
                    for (x, w) in x.iter().zip(self.weights.w.chunks_exact(stride)) {
                        (kernels().axpy)(*x, w, y);
                    }
                }
            }
            for y in y {
                *y = y.max(0.0);
            }
        });
    }

    /// One optimiser step; `dz` is `B x stride`, the gradient before the ReLU's input (already gated).
    pub fn update(&mut self, batch: &Batch, dz: &[f32], step: &Update) {
        self.list_entries(batch);
        let stride = self.weights.stride;
        let features = self.weights.rows;
        let per_chunk = features.div_ceil(CHUNKS);
        self.chunks.resize_with(features.div_ceil(per_chunk), Chunk::default);
        let every_row = self.rows == Rows::Dense || matches!(batch.inputs, Inputs::Dense { .. });
        let entries = &self.entries;
        let range = |c: usize| c * per_chunk..features.min((c + 1) * per_chunk);
        self.chunks.par_iter_mut().enumerate().for_each(|(c, chunk)| {
            chunk.collect(entries, range(c).start as u32, range(c).len() as u32, every_row);
        });
        if let Some(sums) = &mut self.sums {
            let groups = self.chunks.iter().enumerate().map(|(c, chunk)| Group {
                first: range(c).start,
                count: range(c).len(),
                pairs: chunk.pairs(),
                values: &chunk.values,
            });
            sums.update(&mut self.weights, &groups.collect::<Vec<_>>(), dz, None, step);
        } else {
            let shards = self.weights.shards();
            self.chunks.par_iter().enumerate().for_each(|(c, chunk)| {
                // SAFETY: every chunk has a range of its own.
                let state = unsafe { shards.take(range(c)) };
                state.pair_update(dz, None, stride, chunk.pairs(), &chunk.values, step);
            });
        }
        self.bias_gradient.clear();
        self.bias_gradient.resize(stride, 0.0);
        for dz in dz.chunks_exact(stride) {
            (kernels().axpy)(1.0, dz, &mut self.bias_gradient);
        }
        self.bias.update(&self.bias_gradient, step);
    }

    /// Additions to gradient rows so far and how many of them are missing, where summed sample by sample.
    pub fn additions(&self) -> (u64, u64) {
        self.sums.as_ref().map_or((0, 0), |sums| (sums.added, sums.lost))
    }

    /// Distinct features of the last batch that was trained on.
    pub fn touched_rows(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.rows.len()).sum()
    }

    /// Non-zeros of the last batch that was trained on.
    pub fn touched_entries(&self) -> usize {
        self.entries.len()
    }

    fn list_entries(&mut self, batch: &Batch) {
        self.entries.clear();
        for b in 0..batch.len() {
            match batch.input(b) {
                crate::data::Input::Sparse { indices, values } => {
                    self.entries.extend(indices.iter().zip(values).map(|(&i, &x)| (i, b as u32, x)));
                }
                crate::data::Input::Dense(values) => {
                    self.entries.extend(values.iter().enumerate().map(|(i, &x)| (i as u32, b as u32, x)));
                }
            }
        }
        self.entries.par_sort_unstable_by_key(|&(feature, sample, _)| (feature, sample));
    }
}

impl Chunk {
    fn pairs(&self) -> Pairs<'_> {
        Pairs { rows: &self.rows, starts: &self.starts, columns: &self.columns }
    }

    /// Groups the entries of features `first..first + count` by feature, with rows relative to `first`.
    fn collect(&mut self, entries: &[(u32, u32, f32)], first: u32, count: u32, every_row: bool) {
        let from = entries.partition_point(|e| e.0 < first);
        let to = entries.partition_point(|e| e.0 < first + count);
        let entries = &entries[from..to];
        self.rows.clear();
        self.starts.clear();
        self.columns.clear();
        self.values.clear();
        let mut open = |rows: &mut Vec<u32>, row: u32, position: usize| {
            rows.push(row);
            self.starts.push(position as u32);
        };
        for (position, &(feature, sample, value)) in entries.iter().enumerate() {
            let row = feature - first;
            if every_row {
                for empty in self.rows.len() as u32..=row {
                    open(&mut self.rows, empty, position);
                }
            } else if self.rows.last() != Some(&row) {
                open(&mut self.rows, row, position);
            }
            self.columns.push(sample);
            self.values.push(value);
        }
        if every_row {
            for empty in self.rows.len() as u32..count {
                open(&mut self.rows, empty, entries.len());
            }
        }
        self.starts.push(entries.len() as u32);
    }
}

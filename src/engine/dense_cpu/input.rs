//! The first layer, input-major: row i holds the weights from feature i to all H neurons, so that a sparse sample reads
//! only the rows of its features.

use super::activations::{Activations, pad_rows, unpad_rows, zeros};
use crate::data::{Batch, Input, Inputs};
use crate::engine::common::Shards;
use crate::kernels::bf16::tiled;
use crate::kernels::gemm::Product;
use crate::kernels::memory::Buffer;
use crate::kernels::{AdamRows, Pairs, kernels};
use crate::network::{AdamStep, Layer, Order, Rows};
use rayon::prelude::*;
use std::io;

/// The features are cut into this many equal ranges, the tasks of the backward pass.
const PARTS: usize = 32;
/// Samples of dense input a task, and input rows of a dense gradient block.
const DENSE_BLOCK: usize = 32;

/// Weights, biases and Adam's moments of both.
#[derive(Debug)]
pub struct InputLayer {
    pub inputs: usize,
    pub outputs: usize,
    /// `outputs`, padded.
    pub stride: usize,
    rows: Rows,
    w: Buffer,
    m: Buffer,
    v: Buffer,
    /// Padded to `stride`.
    bias: Vec<f32>,
    bias_m: Vec<f32>,
    bias_v: Vec<f32>,
    bias_gradient: Vec<f32>,
    /// Features a part.
    part: usize,
    parts: Vec<Part>,
    gradient: Vec<f32>,
}

/// The batch's pairs of one range of features, grouped by feature.
#[derive(Debug, Default)]
struct Part {
    /// How many pairs each feature of the range has, then where its next pair goes; zero between steps.
    counts: Vec<u32>,
    rows: Vec<u32>,
    starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

impl Part {
    /// Collects the pairs of features `first..first + counts.len()`, counting-sorted: O(pairs), no comparison.
    fn gather(&mut self, batch: &Batch, first: usize, every_row: bool) {
        self.rows.clear();
        self.starts.clear();
        if every_row {
            self.rows.extend(0..self.counts.len() as u32);
        }
        let end = first + self.counts.len();
        for b in 0..batch.len() {
            for &i in span(batch, b, first, end).0 {
                let row = i as usize - first;
                if self.counts[row] == 0 && !every_row {
                    self.rows.push(row as u32);
                }
                self.counts[row] += 1;
            }
        }
        let mut total = 0;
        self.starts.push(0);
        for &row in &self.rows {
            let count = std::mem::replace(&mut self.counts[row as usize], total);
            total += count;
            self.starts.push(total);
        }
        self.columns.resize(total as usize, 0);
        self.values.resize(total as usize, 0.0);
        for b in 0..batch.len() {
            let (indices, values) = span(batch, b, first, end);
            for (&i, &x) in indices.iter().zip(values) {
                let at = &mut self.counts[i as usize - first];
                self.columns[*at as usize] = b as u32;
                self.values[*at as usize] = x;
                *at += 1;
            }
        }
        for &row in &self.rows {
            self.counts[row as usize] = 0;
        }
    }
}

/// The part of sample `b` that lies in features `first..end`.
fn span(batch: &Batch, b: usize, first: usize, end: usize) -> (&[u32], &[f32]) {
    let Input::Sparse { indices, values } = batch.input(b) else { return (&[], &[]) };
    let start = indices.partition_point(|&i| (i as usize) < first);
    let stop = start + indices[start..].partition_point(|&i| (i as usize) < end);
    (&indices[start..stop], &values[start..stop])
}

impl InputLayer {
    pub fn new(layer: &Layer, rows: Rows) -> io::Result<Self> {
        let stride = tiled(layer.outputs);
        let w = pad_rows(&layer.weights, layer.inputs, layer.outputs)?;
        let mut bias = layer.bias.clone();
        bias.resize(stride, 0.0);
        let part = layer.inputs.div_ceil(PARTS).max(1);
        let part_of = |first: usize| Part { counts: vec![0; part.min(layer.inputs - first)], ..Part::default() };
        Ok(Self {
            inputs: layer.inputs,
            outputs: layer.outputs,
            stride,
            rows,
            m: zeros(w.len())?,
            v: zeros(w.len())?,
            w,
            bias,
            bias_m: vec![0.0; stride],
            bias_v: vec![0.0; stride],
            bias_gradient: vec![0.0; stride],
            part,
            parts: (0..layer.inputs).step_by(part).map(part_of).collect(),
            gradient: vec![],
        })
    }

    /// `output = relu(x·W + bias)`, both ways round; rows of padding samples are 0.
    pub fn forward(&self, batch: &Batch, output: &mut Activations, samples: usize) {
        output.reserve(samples);
        let stride = self.stride;
        output.rows[batch.len() * stride..samples * stride].fill(0.0);
        let rows = &mut output.rows[..batch.len() * stride];
        let relu = |row: &mut [f32]| row.iter_mut().for_each(|x| *x = x.max(0.0));
        match &batch.inputs {
            Inputs::Sparse { .. } => rows.par_chunks_mut(stride).enumerate().for_each(|(b, row)| {
                let Input::Sparse { indices, values } = batch.input(b) else { unreachable!("the batch is sparse") };
                row.copy_from_slice(&self.bias);
                (kernels().row_sum)(&self.w, stride, indices, values, row);
                relu(row);
            }),
            Inputs::Dense { width, values } => {
                rows.par_chunks_mut(DENSE_BLOCK * stride).zip(values.par_chunks(DENSE_BLOCK * width)).for_each(
                    |(rows, x)| {
                        rows.chunks_exact_mut(stride).for_each(|row| row.copy_from_slice(&self.bias));
                        let dims = (rows.len() / stride, stride, *width);
                        Product::rows(dims, x, *width, &self.w, stride).accumulating(true).run(rows);
                        relu(rows);
                    },
                );
            }
        }
        output.fill_from_rows(samples);
    }

    /// Gradient and Adam from `delta` (`B x stride`), the loss's gradient for the layer's sums. Returns the number of
    /// weight rows moved.
    pub fn backward(&mut self, batch: &Batch, delta: &[f32], step: AdamStep) -> usize {
        let stride = self.stride;
        let moved = match &batch.inputs {
            Inputs::Sparse { .. } => {
                let every_row = self.rows == Rows::Dense;
                let part = self.part;
                self.parts
                    .par_iter_mut()
                    .zip(self.w.par_chunks_mut(part * stride))
                    .zip(self.m.par_chunks_mut(part * stride).zip(self.v.par_chunks_mut(part * stride)))
                    .enumerate()
                    .map(|(index, ((p, w), (m, v)))| {
                        p.gather(batch, index * part, every_row);
                        let pairs = Pairs { rows: &p.rows, starts: &p.starts, columns: &p.columns };
                        (kernels().pair_update)(AdamRows { w, m, v }, delta, None, stride, pairs, &p.values, step);
                        p.rows.len()
                    })
                    .sum()
            }
            Inputs::Dense { width, values } => {
                let size = DENSE_BLOCK * stride;
                self.gradient.resize(rayon::current_num_threads() * size, 0.0);
                let gradients = Shards::new(&mut self.gradient);
                self.w
                    .par_chunks_mut(size)
                    .zip(self.m.par_chunks_mut(size).zip(self.v.par_chunks_mut(size)))
                    .enumerate()
                    .for_each(|(index, (w, (m, v)))| {
                        let thread = rayon::current_thread_index().expect("inside the engine's pool");
                        // SAFETY: a thread runs one block at a time, and the buffer is its own.
                        let g = unsafe { gradients.take(thread * size..thread * size + w.len()) };
                        let x = &values[index * DENSE_BLOCK..];
                        Product::transposed((w.len() / stride, stride, batch.len()), x, *width, delta, stride).run(g);
                        (kernels().adam)(AdamRows { w, m, v }, g, step);
                    });
                self.inputs
            }
        };
        self.bias_gradient.fill(0.0);
        for row in delta[..batch.len() * stride].chunks_exact(stride) {
            (kernels().axpy)(1.0, row, &mut self.bias_gradient);
        }
        let state = AdamRows { w: &mut self.bias, m: &mut self.bias_m, v: &mut self.bias_v };
        (kernels().adam)(state, &self.bias_gradient, step);
        moved
    }

    /// The layer as everyone knows it.
    pub fn to_layer(&self) -> Layer {
        Layer {
            inputs: self.inputs,
            outputs: self.outputs,
            order: Order::InputMajor,
            weights: unpad_rows(&self.w, self.inputs, self.outputs),
            bias: self.bias[..self.outputs].to_vec(),
        }
    }

    /// Bytes of weights and moments that lie on huge pages; none where it cannot be told.
    pub fn huge_bytes(&self) -> Option<usize> {
        Some(self.w.huge_bytes()? + self.m.huge_bytes()? + self.v.huge_bytes()?)
    }

    pub fn bytes(&self) -> u64 {
        12 * (self.w.len() + self.bias.len()) as u64 + 4 * self.inputs as u64
    }
}

//! A neuron-major layer (every layer but the first) and its two passes, by blocks of neurons.
//!
//! Work is cut into **blocks** of rows of W that stay in a core's L2 cache, and blocks into at most [`CHUNKS`] **chunks**,
//! the tasks that threads steal. A chunk adds the gradient for the layer's input over its blocks in order into a
//! partial sum of its own, and the partial sums are added in order: results do not depend on the number of threads.

use crate::engine::common::Shards;
use crate::engine::exact_top_k::transpose;
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::softmax::row_sums;
use crate::kernels::{AdamRows, kernels, padded};
use crate::network::{AdamStep, Layer};
use rayon::prelude::*;
use std::io;
use std::ops::Range;

/// Most tasks a pass is cut into.
const CHUNKS: usize = 64;

/// The outputs of a layer for a batch, both ways round, zero-padded to whole vectors in both directions.
#[derive(Debug, Default)]
pub struct Activations {
    /// The width, padded.
    pub stride: usize,
    /// `B x stride`, padded to `samples` rows.
    pub rows: Vec<f32>,
    /// `stride x samples`.
    pub columns: Vec<f32>,
}

impl Activations {
    pub fn new(width: usize) -> Self {
        Self { stride: padded(width), ..Self::default() }
    }

    /// Makes room for `samples` samples.
    pub fn reserve(&mut self, samples: usize) {
        self.rows.resize(samples * self.stride, 0.0);
        self.columns.resize(samples * self.stride, 0.0);
    }

    pub fn columns_from_rows(&mut self, samples: usize) {
        transpose(&self.rows, self.stride, samples, &mut self.columns, samples);
    }

    pub fn rows_from_columns(&mut self, samples: usize) {
        transpose(&self.columns, samples, self.stride, &mut self.rows, self.stride);
    }

    pub fn bytes(&self) -> u64 {
        4 * (self.rows.capacity() + self.columns.capacity()) as u64
    }
}

/// No memory to prefetch.
pub const NOWHERE: fn(Range<usize>) -> (*const f32, usize) = |_| (std::ptr::null(), 0);

/// A block of neurons before the update.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    pub index: usize,
    pub rows: Range<usize>,
    /// `rows x stride`.
    pub w: &'a [f32],
    pub bias: &'a [f32],
}

impl Block<'_> {
    /// `out = W·input` (`rows x samples`), biases not added, prefetching `ahead` on the side.
    pub fn product(&self, input: &Activations, samples: usize, out: &mut [f32], ahead: &mut Ahead) {
        let (rows, stride) = (self.rows.len(), input.stride);
        Product::rows((rows, samples, stride), self.w, stride, &input.columns, samples).run_ahead(out, ahead);
    }
}

/// Weights, biases and Adam's moments of both.
#[derive(Debug)]
pub struct NeuronLayer {
    pub inputs: usize,
    pub outputs: usize,
    /// `padded(inputs)`.
    pub stride: usize,
    /// Rows a block.
    pub block: usize,
    pub w: Buffer,
    m: Buffer,
    v: Buffer,
    pub bias: Vec<f32>,
    bias_m: Vec<f32>,
    bias_v: Vec<f32>,
}

/// Copies `rows` rows of `width` into zero-padded rows of `padded(width)`.
pub fn pad_rows(values: &[f32], rows: usize, width: usize) -> io::Result<Buffer> {
    let stride = padded(width);
    let mut out = zeros(rows * stride)?;
    if width > 0 {
        out.par_chunks_mut(stride)
            .zip(values.par_chunks(width))
            .for_each(|(to, from)| to[..width].copy_from_slice(from));
    }
    Ok(out)
}

/// `len` zeros on huge pages, every page touched.
pub fn zeros(len: usize) -> io::Result<Buffer> {
    let mut buffer = Buffer::zeroed(len, HugePages::Ask)?;
    buffer.prefault();
    Ok(buffer)
}

/// The inverse of [`pad_rows`].
pub fn unpad_rows(values: &[f32], rows: usize, width: usize) -> Vec<f32> {
    let stride = padded(width);
    (0..rows).flat_map(|r| &values[r * stride..r * stride + width]).copied().collect()
}

/// Buffers that threads and chunks need during a pass.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For every thread: a block of logits or deltas (`block x samples`), the gradient of a block (`block x stride`)
    /// and of its biases (`block`).
    block: Vec<f32>,
    gradient: Vec<f32>,
    bias: Vec<f32>,
    /// For every chunk: `samples x stride`.
    partials: Vec<f32>,
}

impl Scratch {
    pub fn bytes(&self) -> u64 {
        let floats = self.block.capacity() + self.gradient.capacity() + self.bias.capacity() + self.partials.capacity();
        4 * floats as u64
    }
}

fn grow(buffer: &mut Vec<f32>, len: usize) {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
}

impl NeuronLayer {
    pub fn new(layer: &Layer, block: usize) -> io::Result<Self> {
        let w = pad_rows(&layer.weights, layer.outputs, layer.inputs)?;
        Ok(Self {
            inputs: layer.inputs,
            outputs: layer.outputs,
            stride: padded(layer.inputs),
            block,
            m: zeros(w.len())?,
            v: zeros(w.len())?,
            w,
            bias: layer.bias.clone(),
            bias_m: vec![0.0; layer.outputs],
            bias_v: vec![0.0; layer.outputs],
        })
    }

    pub fn blocks(&self) -> usize {
        self.outputs.div_ceil(self.block)
    }

    fn blocks_per_chunk(&self) -> usize {
        self.blocks().div_ceil(CHUNKS)
    }

    /// The blocks of each chunk.
    fn chunks(&self) -> impl IndexedParallelIterator<Item = Range<usize>> + use<> {
        let (blocks, step) = (self.blocks(), self.blocks_per_chunk());
        (0..blocks.div_ceil(step)).into_par_iter().map(move |c| c * step..blocks.min((c + 1) * step))
    }

    /// Block `i`.
    fn view(&self, i: usize) -> Block<'_> {
        let rows = i * self.block..self.outputs.min((i + 1) * self.block);
        let w = &self.w[rows.start * self.stride..rows.end * self.stride];
        Block { index: i, bias: &self.bias[rows.clone()], w, rows }
    }

    /// The forward pass of a hidden layer: `output = relu(W·input + bias)`.
    pub fn forward_hidden(&self, input: &Activations, output: &mut Activations, samples: usize) {
        output.reserve(samples);
        let columns = Shards::new(&mut output.columns);
        self.chunks().for_each(|blocks| {
            for block in blocks.map(|i| self.view(i)) {
                // SAFETY: blocks hold different rows.
                let z = unsafe { columns.take(block.rows.start * samples..block.rows.end * samples) };
                block.product(input, samples, z, &mut Ahead::default());
                for (z, bias) in z.chunks_exact_mut(samples).zip(block.bias) {
                    z.iter_mut().for_each(|z| *z = (*z + bias).max(0.0));
                }
            }
        });
        output.rows_from_columns(samples);
    }

    /// Runs `work(block, scratch of rows x samples)` over all blocks, chunk by chunk in parallel.
    pub fn for_each_block(&self, scratch: &mut Scratch, samples: usize, work: impl Fn(Block<'_>, &mut [f32]) + Sync) {
        let size = self.block * samples;
        grow(&mut scratch.block, rayon::current_num_threads() * size);
        let buffers = Shards::new(&mut scratch.block);
        self.chunks().for_each(|blocks| {
            let thread = rayon::current_thread_index().expect("inside the engine's pool");
            // SAFETY: a thread runs one chunk at a time, and the buffer is its own.
            let buffer = unsafe { buffers.take(thread * size..(thread + 1) * size) };
            for block in blocks.map(|i| self.view(i)) {
                let used = block.rows.len() * samples;
                work(block, &mut buffer[..used]);
            }
        });
    }

    /// The backward pass and the update, block by block: `delta(block, out)` writes the loss's gradient for the block's
    /// sums (`rows x samples`); from it come the gradient for the input (into `d_input`, `samples x stride`, not yet
    /// passed through the ReLU) and Adam's step on W and biases. `source(rows)` tells where `delta` will read for the
    /// block of `rows`, so that the block before prefetches it.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &mut self,
        input: &Activations,
        d_input: &mut [f32],
        scratch: &mut Scratch,
        samples: usize,
        step: AdamStep,
        source: impl Fn(Range<usize>) -> (*const f32, usize) + Sync,
        delta: impl Fn(Block<'_>, &mut [f32]) + Sync,
    ) {
        let (stride, block, threads) = (self.stride, self.block, rayon::current_num_threads());
        let partial_size = samples * stride;
        let per_chunk = self.blocks_per_chunk();
        let chunks = self.blocks().div_ceil(per_chunk);
        grow(&mut scratch.block, threads * block * samples);
        grow(&mut scratch.gradient, threads * block * stride);
        grow(&mut scratch.bias, threads * block);
        grow(&mut scratch.partials, chunks * partial_size);
        let tasks = self.chunks();
        let outputs = self.outputs;
        let (all_w, all_m, all_v) = (Shards::new(&mut self.w), Shards::new(&mut self.m), Shards::new(&mut self.v));
        let bias = Shards::new(&mut self.bias);
        let (bias_m, bias_v) = (Shards::new(&mut self.bias_m), Shards::new(&mut self.bias_v));
        let (deltas, gradients) = (Shards::new(&mut scratch.block), Shards::new(&mut scratch.gradient));
        let bias_gradients = Shards::new(&mut scratch.bias);
        let partials = Shards::new(&mut scratch.partials);
        tasks.for_each(|blocks| {
            let thread = rayon::current_thread_index().expect("inside the engine's pool");
            let chunk = blocks.start / per_chunk;
            // SAFETY: buffers by thread (one chunk at a time) or by chunk; weights and state by block.
            let (g, dw, db, partial) = unsafe {
                (
                    deltas.take(thread * block * samples..(thread + 1) * block * samples),
                    gradients.take(thread * block * stride..(thread + 1) * block * stride),
                    bias_gradients.take(thread * block..(thread + 1) * block),
                    partials.take(chunk * partial_size..(chunk + 1) * partial_size),
                )
            };
            for i in blocks.clone() {
                let rows = i * block..outputs.min((i + 1) * block);
                let span = rows.start * stride..rows.end * stride;
                // SAFETY: as above.
                let (w, m, v) = unsafe { (all_w.take(span.clone()), all_m.take(span.clone()), all_v.take(span)) };
                let (g, dw, db) =
                    (&mut g[..rows.len() * samples], &mut dw[..rows.len() * stride], &mut db[..rows.len()]);
                // SAFETY: as above.
                let (b, bm, bv) =
                    unsafe { (bias.take(rows.clone()), bias_m.take(rows.clone()), bias_v.take(rows.clone())) };
                delta(Block { index: i, rows: rows.clone(), w, bias: b }, g);
                row_sums(g, samples, db);
                let accumulate = i > blocks.start;
                let next = rows.end..outputs.min(rows.end + block);
                let next_span = next.start * stride..next.end * stride;
                let mut ahead = Ahead::new([
                    source(next),
                    all_w.place(next_span.clone()),
                    all_m.place(next_span.clone()),
                    all_v.place(next_span),
                ]);
                Product::transposed((samples, stride, rows.len()), g, samples, w, stride)
                    .accumulating(accumulate)
                    .run(partial);
                Product::rows((rows.len(), stride, samples), g, samples, &input.rows, stride).run_ahead(dw, &mut ahead);
                (kernels().adam)(AdamRows { w, m, v }, dw, step);
                (kernels().adam)(AdamRows { w: b, m: bm, v: bv }, db, step);
            }
        });
        let partials = &scratch.partials[..chunks * partial_size];
        d_input[..partial_size].par_chunks_mut(stride).enumerate().for_each(|(b, out)| {
            out.copy_from_slice(&partials[b * stride..(b + 1) * stride]);
            for partial in partials.chunks_exact(partial_size).skip(1) {
                (kernels().axpy)(1.0, &partial[b * stride..(b + 1) * stride], out);
            }
        });
    }

    /// The layer as everyone knows it.
    pub fn to_layer(&self) -> Layer {
        Layer {
            inputs: self.inputs,
            outputs: self.outputs,
            order: crate::network::Order::NeuronMajor,
            weights: unpad_rows(&self.w, self.outputs, self.inputs),
            bias: self.bias.clone(),
        }
    }

    pub fn bytes(&self) -> u64 {
        12 * (self.w.len() + self.bias.len()) as u64
    }
}

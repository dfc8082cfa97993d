//! A neuron-major layer (every layer but the first) and its two passes, by blocks of neurons.
//!
//! Work is cut into **blocks** of rows of W that stay in a core's L2 cache, and blocks into at most [`CHUNKS`] **chunks**,
//! the tasks that threads steal. A chunk adds the gradient for the layer's input over its blocks in order into a
//! partial sum of its own, and the partial sums are added in order: results do not depend on the number of threads.

use super::activations::Activations;
use crate::engine::EngineError;
use crate::engine::common::Shards;
use crate::engine::cpu::matrix::RowState;
use crate::engine::cpu::{Bias, Matrix, Precision, State};
use crate::kernels::bf16::{
    PairProduct, Parts, interleave_rows, pack_pairs, pack_rows, tiled, transpose_pairs, transpose_rows,
};
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::memory::{Aligned, HugePages};
use crate::kernels::weights::Weights;
use crate::kernels::{AdamRows, kernels};
use crate::network::{AdamStep, Layer, Order};
use bytemuck::cast_slice;
use rayon::prelude::*;
use std::ops::Range;

/// Most tasks a pass is cut into.
const CHUNKS: usize = 64;

/// Weights, biases and Adam's moments of both.
pub struct NeuronLayer {
    /// A row a neuron.
    pub weights: Matrix,
    pub bias: Bias,
    /// Rows a block.
    pub block: usize,
    /// The rate of plain gradient descent, which leaves m and v untouched; none: Adam.
    pub sgd: Option<f32>,
}

/// A block of neurons before the update.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    pub index: usize,
    pub rows: Range<usize>,
    /// `rows x stride`.
    pub w: Weights<'a>,
    pub bias: &'a [f32],
}

impl Block<'_> {
    /// `out = W·input`, biases not added, prefetching `ahead` on the side: `rows x samples`. In bf16 whole tiles are
    /// written, so `out` must have room for the rows up to the next tile.
    pub fn product(
        &self,
        input: &Activations,
        samples: usize,
        out: &mut [f32],
        pairs: &mut PairScratch<'_>,
        ahead: &mut Ahead,
    ) {
        let (rows, stride) = (self.rows.len(), input.stride);
        let Some(packed) = &input.packed else {
            let product = Product::rows((rows, samples, stride), self.in_f32(), stride, &input.columns, samples);
            return product.run_ahead(out, ahead);
        };
        let (m, parts) = (tiled(rows), packed.parts);
        let a = self.pairs(m * stride, parts, pairs.rows);
        let product = PairProduct { m, n: samples, k: stride, parts, a, b: &packed.columns, accumulate: false };
        product.run(out, ahead);
    }

    /// The weights of products in f32, which are stored so: the engine refuses options that say otherwise.
    fn in_f32(&self) -> &[f32] {
        let Weights::F32(w) = self.w else { unreachable!("products in f32 are of weights in f32") };
        w
    }

    /// The weights as pairs along the rows, `count` numbers with the padding of the last tile: as they lie, or packed into
    /// `scratch`.
    fn pairs<'s>(&'s self, count: usize, parts: Parts, scratch: &'s mut [u32]) -> &'s [u32] {
        let scratch = &mut scratch[..parts.pairs(count)];
        match self.w {
            Weights::F32(w) => pack_rows(w, parts, scratch),
            // Rows of bf16 are rows of pairs.
            Weights::Bf16(w) if w.len() == count => return cast_slice(w),
            Weights::Bf16(w) => {
                let (stored, padding) = scratch.split_at_mut(w.len() / 2);
                stored.copy_from_slice(cast_slice(w));
                padding.fill(0);
            }
        }
        scratch
    }

    /// From the block's deltas (`rows x samples`), in f32 or as pairs that lie in `pairs`: `d_input (+)= Wᵀ·delta`
    /// (`stride x samples`) and `dw = delta·input` (`rows x stride`; in bf16 whole tiles are written).
    #[allow(clippy::too_many_arguments)]
    fn gradients(
        &self,
        input: &Activations,
        (kind, delta): (Delta, &[f32]),
        samples: usize,
        d_input: &mut [f32],
        accumulate: bool,
        dw: &mut [f32],
        pairs: &mut PairScratch<'_>,
        ahead: &mut Ahead,
    ) {
        let (rows, stride) = (self.rows.len(), input.stride);
        let Some(packed) = &input.packed else {
            Product::transposed((stride, samples, rows), self.in_f32(), stride, delta, samples)
                .accumulating(accumulate)
                .run_ahead(d_input, ahead);
            return Product::rows((rows, stride, samples), delta, samples, &input.rows, stride).run_ahead(dw, ahead);
        };
        let (m, parts) = (tiled(rows), packed.parts);
        let weights = parts.pairs(m * stride);
        let (w, transposed) = (&mut pairs.w[..weights], &mut pairs.transposed[..weights]);
        match self.w {
            Weights::F32(weights) => {
                pack_pairs(weights, stride, parts, w);
                transpose_pairs(w, stride, transposed);
            }
            Weights::Bf16(_) => transpose_rows(self.pairs(m * stride, parts, pairs.rows), stride, transposed),
        }
        let deltas = parts.pairs(m * samples);
        let (along_rows, along_columns) = (&mut pairs.delta_rows[..deltas], &mut pairs.delta_columns[..deltas]);
        match kind {
            Delta::F32 => {
                pack_pairs(delta, samples, parts, along_columns);
                pack_rows(delta, parts, along_rows);
            }
            Delta::Pairs => interleave_rows(along_rows, samples, along_columns),
        }
        let (a, b) = (&*transposed, &*along_columns);
        PairProduct { m: stride, n: samples, k: m, parts, a, b, accumulate }.run(d_input, ahead);
        let (a, b) = (&*along_rows, &packed.rows);
        PairProduct { m, n: stride, k: samples, parts, a, b, accumulate: false }.run(dw, ahead);
    }
}

/// Where the gradient for a block's sums was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// Into the buffer of f32.
    F32,
    /// Into [`PairScratch::delta`], as the products want it.
    Pairs,
}

/// Where a block's operands are packed to bf16; empty in f32.
#[derive(Debug)]
pub struct PairScratch<'a> {
    /// `block x stride` weights in three forms: along rows, along columns, and these transposed.
    rows: &'a mut [u32],
    w: &'a mut [u32],
    transposed: &'a mut [u32],
    /// `block x samples` deltas in two: along rows, and along columns.
    delta_rows: &'a mut [u32],
    delta_columns: &'a mut [u32],
}

impl<'a> PairScratch<'a> {
    /// As many pairs for each form of the weights, and the rest for deltas.
    fn split(pairs: &'a mut [u32], weights: usize) -> Self {
        let (rows, rest) = pairs.split_at_mut(weights);
        let (w, rest) = rest.split_at_mut(weights);
        let (transposed, deltas) = rest.split_at_mut(weights);
        let (delta_rows, delta_columns) = deltas.split_at_mut(deltas.len() / 2);
        Self { rows, w, transposed, delta_rows, delta_columns }
    }

    /// Room for deltas as pairs of one part along the rows, the padding of the last tile behind them zero.
    pub fn delta(&mut self, numbers: usize) -> &mut [u32] {
        let (delta, padding) = self.delta_rows.split_at_mut(numbers / 2);
        padding.fill(0);
        delta
    }
}

/// Buffers that threads and chunks need during a pass, kept from step to step.
#[derive(Debug, Default)]
pub struct Scratch {
    /// For every thread: a block of logits or deltas (`block x samples`), the gradient of a block (`block x stride`)
    /// and of its biases (`block`).
    block: Aligned,
    gradient: Aligned,
    bias: Aligned,
    /// For every thread, what [`PairScratch`] holds.
    pairs: Aligned<u32>,
    /// For every chunk: `stride x samples`.
    partials: Aligned,
}

impl Scratch {
    pub fn bytes(&self) -> u64 {
        let floats = [&self.block, &self.gradient, &self.bias, &self.partials];
        (floats.map(Aligned::bytes).iter().sum::<usize>() + self.pairs.bytes()) as u64
    }
}

impl NeuronLayer {
    pub fn new(layer: &Layer, block: usize, storage: Precision, sgd: Option<f32>) -> Result<Self, EngineError> {
        Ok(Self {
            weights: Matrix::new(
                &layer.weights,
                layer.outputs,
                layer.inputs,
                HugePages::Ask,
                storage,
                State::EachWeight,
            )?,
            bias: Bias::new(&layer.bias, layer.outputs),
            block,
            sgd,
        })
    }

    /// Neurons.
    pub fn outputs(&self) -> usize {
        self.weights.rows
    }

    pub fn blocks(&self) -> usize {
        self.outputs().div_ceil(self.block)
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
        let rows = i * self.block..self.outputs().min((i + 1) * self.block);
        Block { index: i, bias: &self.bias.b[rows.clone()], w: self.weights.weights_of(rows.clone()), rows }
    }

    /// Pairs a thread needs for a [`PairScratch`], and those of them for each form of the weights.
    fn pairs(&self, input: &Activations, samples: usize) -> (usize, usize) {
        let pairs = |numbers| input.packed.as_ref().map_or(0, |packed| packed.parts.pairs(numbers));
        let weights = pairs(self.block * self.weights.stride);
        (3 * weights + 2 * pairs(self.block * samples), weights)
    }

    /// Runs `work(block, scratch of block x samples, …)` over all blocks, chunk by chunk in parallel.
    pub fn for_each_block(
        &self,
        input: &Activations,
        scratch: &mut Scratch,
        samples: usize,
        work: impl Fn(Block<'_>, &mut [f32], &mut PairScratch<'_>) + Sync,
    ) {
        let (size, (pairs, weights)) = (self.block * samples, self.pairs(input, samples));
        scratch.block.first(rayon::current_num_threads() * size);
        scratch.pairs.first(rayon::current_num_threads() * pairs);
        let (buffers, all_pairs) = (Shards::new(&mut scratch.block), Shards::new(&mut scratch.pairs));
        self.chunks().for_each(|blocks| {
            let thread = rayon::current_thread_index().expect("inside the engine's pool");
            // SAFETY: a thread runs one chunk at a time, and the buffers are its own.
            let (buffer, pairs) = unsafe {
                (buffers.take(thread * size..(thread + 1) * size), all_pairs.take(thread * pairs..(thread + 1) * pairs))
            };
            let mut pairs = PairScratch::split(pairs, weights);
            for block in blocks.map(|i| self.view(i)) {
                work(block, buffer, &mut pairs);
            }
        });
    }

    /// The forward pass of a hidden layer: `output = relu(W·input + bias)`.
    pub fn forward_hidden(&self, input: &Activations, output: &mut Activations, scratch: &mut Scratch, samples: usize) {
        output.reserve(samples);
        // The batch before may have been of another size: its numbers must not stand in the padding.
        output.columns[self.outputs() * samples..].fill(0.0);
        let columns = Shards::new(&mut output.columns);
        self.for_each_block(input, scratch, samples, |block, _, pairs| {
            let rows = if input.packed.is_some() { tiled(block.rows.len()) } else { block.rows.len() };
            // SAFETY: blocks hold different rows; in bf16 a block is a whole number of tiles, except the last.
            let z = unsafe { columns.take(block.rows.start * samples..(block.rows.start + rows) * samples) };
            block.product(input, samples, z, pairs, &mut Ahead::default());
            for (z, bias) in z.chunks_exact_mut(samples).zip(block.bias) {
                z.iter_mut().for_each(|z| *z = (*z + bias).max(0.0));
            }
        });
        output.fill_from_columns(samples);
    }

    /// The backward pass and the update, block by block: `delta(block, out, db, …)` writes the loss's gradient for
    /// the block's sums where it says, into the first `rows x samples` of `out` or into the pairs, and what its rows add
    /// up to into `db`; from it come the gradient for the input's own sums (into
    /// `d_input`, ReLU passed) and Adam's step on W and biases. `source(rows)` tells where `delta` will read for the block
    /// of `rows`, so that the block before prefetches it.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &mut self,
        input: &Activations,
        d_input: &mut Activations,
        scratch: &mut Scratch,
        samples: usize,
        step: AdamStep,
        source: impl Fn(Range<usize>) -> (*const f32, usize) + Sync,
        delta: impl Fn(Block<'_>, &mut [f32], &mut [f32], &mut PairScratch<'_>, &mut Ahead) -> Delta + Sync,
    ) {
        let (stride, block, outputs, sgd) = (self.weights.stride, self.block, self.outputs(), self.sgd);
        let (threads, (pairs_size, weights)) = (rayon::current_num_threads(), self.pairs(input, samples));
        let partial_size = stride * samples;
        let per_chunk = self.blocks_per_chunk();
        let chunks = self.blocks().div_ceil(per_chunk);
        scratch.block.first(threads * block * samples);
        scratch.gradient.first(threads * block * stride);
        scratch.bias.first(threads * block);
        scratch.pairs.first(threads * pairs_size);
        scratch.partials.first(chunks * partial_size);
        let tasks = self.chunks();
        let weights_of = self.weights.shards();
        let Bias { b, m, v } = &mut self.bias;
        let (bias_w, bias_m, bias_v) = (Shards::new(b), Shards::new(m), Shards::new(v));
        let (deltas, gradients) = (Shards::new(&mut scratch.block), Shards::new(&mut scratch.gradient));
        let (bias_gradients, all_pairs) = (Shards::new(&mut scratch.bias), Shards::new(&mut scratch.pairs));
        let partials = Shards::new(&mut scratch.partials);
        tasks.for_each(|blocks| {
            let thread = rayon::current_thread_index().expect("inside the engine's pool");
            let chunk = blocks.start / per_chunk;
            // SAFETY: buffers by thread (one chunk at a time) or by chunk; weights and state by block.
            let (g, dw, db, pairs, partial) = unsafe {
                (
                    deltas.take(thread * block * samples..(thread + 1) * block * samples),
                    gradients.take(thread * block * stride..(thread + 1) * block * stride),
                    bias_gradients.take(thread * block..(thread + 1) * block),
                    all_pairs.take(thread * pairs_size..(thread + 1) * pairs_size),
                    partials.take(chunk * partial_size..(chunk + 1) * partial_size),
                )
            };
            let mut pairs = PairScratch::split(pairs, weights);
            for i in blocks.clone() {
                let rows = i * block..outputs.min((i + 1) * block);
                // SAFETY: as above.
                let (state, (b, bm, bv)) = unsafe {
                    let bias = (bias_w.take(rows.clone()), bias_m.take(rows.clone()), bias_v.take(rows.clone()));
                    (weights_of.take(rows.clone()), bias)
                };
                let next = rows.end..outputs.min(rows.end + block);
                let [w, mut m, mut v] = weights_of.places(next.clone());
                if sgd.is_some() {
                    (m, v) = ((std::ptr::null(), 0), (std::ptr::null(), 0));
                }
                let mut ahead = Ahead::new([source(next), w, m, v]);
                let of = Block { index: i, rows: rows.clone(), w: state.weights(), bias: b };
                let db = &mut db[..rows.len()];
                let kind = delta(of.clone(), g, db, &mut pairs, &mut ahead);
                let delta = (kind, &g[..rows.len() * samples]);
                of.gradients(input, delta, samples, partial, i > blocks.start, dw, &mut pairs, &mut ahead);
                let dw = &dw[..rows.len() * stride];
                match (sgd, state) {
                    (Some(rate), RowState::F32(AdamRows { w, .. })) => {
                        (kernels().axpy)(-rate, dw, w);
                        (kernels().axpy)(-rate, db, b);
                    }
                    (_, state) => {
                        state.adam(dw, step);
                        (kernels().adam)(AdamRows { w: b, m: bm, v: bv }, db, step);
                    }
                }
            }
        });
        let partials = &scratch.partials[..chunks * partial_size];
        d_input.reserve(samples);
        let tasks = d_input.columns.par_chunks_mut(samples).zip(input.columns.par_chunks(samples)).enumerate();
        tasks.for_each(|(i, (out, input))| {
            out.copy_from_slice(&partials[i * samples..(i + 1) * samples]);
            for partial in partials.chunks_exact(partial_size).skip(1) {
                (kernels().axpy)(1.0, &partial[i * samples..(i + 1) * samples], out);
            }
            // The ReLU passes a gradient on where its output is above zero.
            for (out, input) in out.iter_mut().zip(input) {
                *out = if *input > 0.0 { *out } else { 0.0 };
            }
        });
        d_input.fill_from_columns(samples);
    }

    /// The layer as everyone knows it.
    pub fn to_layer(&self) -> Layer {
        let Matrix { rows, width, .. } = self.weights;
        let weights = self.weights.unpadded();
        Layer { inputs: width, outputs: rows, order: Order::NeuronMajor, weights, bias: self.bias.b.clone() }
    }

    pub fn bytes(&self) -> u64 {
        self.weights.bytes() + 12 * self.bias.b.len() as u64
    }
}

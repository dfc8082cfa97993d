//! One active set for the whole batch: the true labels of all its samples and the neurons a selection adds.
//!
//! Per-sample sets at half a percent active touch most rows of the layer anyway once a batch is full, so they save
//! arithmetic but little memory traffic. A shared set touches only its own R rows, and its products are plain matrix
//! products over R gathered rows, at the speed of a dense layer of R labels. Every sample sees the other samples'
//! labels as further negatives.

use super::layer::Target;
use crate::engine::common::Shards;
use crate::engine::cpu::{Bias, Matrix, Update};
use crate::engine::exact_top_k::transpose;
use crate::kernels::bf16::{PairProduct, Parts, pack_pairs, pack_rows, tiled, transpose_pairs};
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::kernels;
use crate::kernels::memory::Aligned;
use crate::kernels::softmax::{exp_block, row_sums};
use rayon::prelude::*;
use serde::Deserialize;

/// Rows of a chunk: its gathered weights and logits stay in a core's L2 cache.
const CHUNK: usize = 256;

/// Inputs of the layer, both ways round, padded to `samples`, a multiple of the vector length.
#[derive(Debug, Default)]
struct Inputs {
    samples: usize,
    rows: Aligned,
    columns: Aligned,
    /// The same as the second operand of bf16 products.
    packed_rows: Aligned<u32>,
    packed_columns: Aligned<u32>,
}

/// What the products of a shared step are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Products {
    #[default]
    F32,
    /// Operands rounded to bf16, sums in f32; weights and state stay as they are.
    Bf16,
}

/// Work space of a shared step.
#[derive(Debug, Default)]
pub struct Shared {
    products: Products,
    chunks: Vec<Chunk>,
    inputs: Inputs,
    batch: usize,
    log_normaliser: Vec<f32>,
    share: Vec<f32>,
}

#[derive(Debug, Default)]
struct Chunk {
    /// Active neurons, ascending.
    neurons: Vec<u32>,
    /// The same relative to the first.
    local: Vec<u32>,
    /// Gathered weights (`R x stride`), their gradient, logits then gradients (`R x samples`).
    w: Aligned,
    dw: Aligned,
    z: Aligned,
    /// Bias plus correction, a row.
    bias: Vec<f32>,
    db: Vec<f32>,
    /// By sample: largest logit, sum of exponentials.
    max: Vec<f32>,
    sum: Vec<f32>,
    /// (position in `z`, target mass, sample).
    targets: Vec<(u32, f32, u32)>,
    target_logits: f64,
    dx: Aligned,
    /// bf16 operands: weights, and gradients in two layouts.
    pairs_w: Aligned<u32>,
    pairs_g: Aligned<u32>,
    pairs_gt: Aligned<u32>,
}

impl Shared {
    pub fn new(products: Products) -> Self {
        Self { products, ..Self::default() }
    }

    /// Number of active neurons.
    pub fn neurons(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.neurons.len()).sum()
    }

    /// Forward pass and softmax over the active neurons. `x` is `B x stride`; `active` ascending; `corrections`, one an
    /// active neuron, are added to its logits except where it is the sample's own true label; `targets` are sorted by
    /// neuron, then sample, and their neurons active. Returns the summed loss.
    pub fn forward(
        &mut self,
        weights: &Matrix,
        bias: &Bias,
        x: &[f32],
        active: &[u32],
        corrections: &[f32],
        targets: &[Target],
    ) -> f64 {
        let stride = weights.stride;
        self.batch = x.len() / stride;
        let (samples, products) = (tiled(self.batch), self.products);
        self.inputs.fill(x, stride, samples, products);
        self.chunks.resize_with(active.len().div_ceil(CHUNK), Chunk::default);
        let inputs = &self.inputs;
        self.chunks.par_iter_mut().zip(active.par_chunks(CHUNK)).zip(corrections.par_chunks(CHUNK)).for_each(
            |((chunk, neurons), corrections)| {
                chunk.take(neurons, weights, bias, corrections);
                chunk.logits(inputs, stride, products);
                chunk.find_targets(targets, corrections, samples);
                chunk.max.resize(samples, 0.0);
                chunk.sum.resize(samples, 0.0);
                exp_block(
                    &mut chunk.z[..neurons.len() * samples],
                    samples,
                    &chunk.bias,
                    &mut chunk.max,
                    &mut chunk.sum,
                );
            },
        );
        self.normalise(targets)
    }

    /// Merges the chunks' maxima and sums; afterwards `max` holds what turns a chunk's exponentials into gradients.
    fn normalise(&mut self, targets: &[Target]) -> f64 {
        let (batch, samples) = (self.batch, self.inputs.samples);
        self.share.clear();
        self.share.resize(samples, 0.0);
        for &(_, sample, _) in targets {
            self.share[sample as usize] = 1.0 / batch as f32;
        }
        self.log_normaliser.resize(samples, 0.0);
        let chunks = &self.chunks;
        self.log_normaliser.par_iter_mut().with_min_len(16).enumerate().for_each(|(b, out)| {
            let shift = chunks.iter().map(|chunk| chunk.max[b]).fold(f32::NEG_INFINITY, f32::max);
            let total: f64 =
                chunks.iter().map(|chunk| f64::from(chunk.sum[b]) * f64::from(chunk.max[b] - shift).exp()).sum();
            *out = (f64::from(shift) + total.ln()) as f32;
        });
        let (share, log_normaliser) = (&self.share, &self.log_normaliser);
        self.chunks.par_iter_mut().for_each(|chunk| {
            for ((max, share), log_normaliser) in chunk.max.iter_mut().zip(share).zip(log_normaliser) {
                *max = (*max - log_normaliser).exp() * share;
            }
        });
        let normalisers: f64 = (0..batch).filter(|&b| share[b] > 0.0).map(|b| f64::from(log_normaliser[b])).sum();
        normalisers - self.chunks.iter().map(|chunk| chunk.target_logits).sum::<f64>()
    }

    /// Backward pass and optimiser step on the active rows; writes the gradient of the layer's input to `dx` (`B x stride`).
    pub fn update(&mut self, weights: &mut Matrix, bias: &mut Bias, dx: &mut [f32], step: &Update) {
        let Self { products, chunks, inputs, share, .. } = self;
        let (samples, stride) = (inputs.samples, weights.stride);
        let shards = weights.shards();
        let (b, bm, bv) = (Shards::new(&mut bias.b), Shards::new(&mut bias.m), Shards::new(&mut bias.v));
        chunks.par_iter_mut().for_each(|chunk| {
            let rows = chunk.neurons.len();
            scale_block_in_place(&mut chunk.z[..rows * samples], &chunk.max);
            for &(at, mass, sample) in &chunk.targets {
                chunk.z[at as usize] -= mass * share[sample as usize];
            }
            chunk.db.resize(rows, 0.0);
            row_sums(&chunk.z[..rows * samples], samples, &mut chunk.db);
            chunk.gradients(inputs, stride, *products);
            let (first, last) = (chunk.neurons[0] as usize, chunk.neurons[rows - 1] as usize);
            // SAFETY: chunks hold ascending, distinct neurons, so their ranges of rows do not overlap.
            let state = unsafe { shards.take(first..last + 1) };
            state.row_adam(stride, &chunk.local, &chunk.dw[..rows * stride], step);
            // SAFETY: as above.
            let (b, bm, bv) = unsafe { (b.take(first..last + 1), bm.take(first..last + 1), bv.take(first..last + 1)) };
            for (&row, &g) in chunk.local.iter().zip(&chunk.db) {
                let r = row as usize;
                step.scalar(&mut b[r], &mut bm[r], &mut bv[r], g);
            }
        });
        dx.par_chunks_mut(stride).enumerate().for_each(|(sample, dx)| {
            dx.fill(0.0);
            for chunk in &*chunks {
                (kernels().axpy)(1.0, &chunk.dx[sample * stride..][..stride], dx);
            }
        });
    }
}

fn scale_block_in_place(z: &mut [f32], scale: &[f32]) {
    for z in z.chunks_exact_mut(scale.len()) {
        for (z, s) in z.iter_mut().zip(scale) {
            *z *= s;
        }
    }
}

impl Inputs {
    fn fill(&mut self, x: &[f32], stride: usize, samples: usize, products: Products) {
        self.samples = samples;
        self.rows.resize(samples * stride);
        self.rows[..x.len()].copy_from_slice(x);
        self.rows[x.len()..].fill(0.0);
        self.columns.resize(samples * stride);
        transpose(&self.rows, stride, samples, &mut self.columns, samples);
        if products == Products::Bf16 {
            self.packed_columns.resize(stride / 2 * samples);
            pack_pairs(&self.columns, samples, Parts::One, &mut self.packed_columns);
            self.packed_rows.resize(samples / 2 * stride);
            pack_pairs(&self.rows, stride, Parts::One, &mut self.packed_rows);
        }
    }
}

impl Chunk {
    /// `z = w·xᵀ`, `R x samples`.
    fn logits(&mut self, inputs: &Inputs, stride: usize, products: Products) {
        let (rows, samples) = (self.neurons.len(), inputs.samples);
        let m = tiled(rows);
        self.z.resize(m * samples);
        match products {
            Products::F32 => {
                let dims = (rows, samples, stride);
                Product::rows(dims, &self.w, stride, &inputs.columns, samples).run(&mut self.z);
            }
            Products::Bf16 => {
                self.pairs_w.resize(m * stride / 2);
                pack_rows(&self.w, Parts::One, &mut self.pairs_w);
                let (a, b) = (&self.pairs_w, &inputs.packed_columns);
                let product = PairProduct { m, n: samples, k: stride, parts: Parts::One, a, b, accumulate: false };
                product.run(&mut self.z, &mut Ahead::default());
            }
        }
    }

    /// From the logits' gradients in `z`: `dx = zᵀ·w` (`samples x stride`) and `dw = z·x` (`R x stride`).
    fn gradients(&mut self, inputs: &Inputs, stride: usize, products: Products) {
        let (rows, samples) = (self.neurons.len(), inputs.samples);
        let m = tiled(rows);
        self.dx.resize(samples * stride);
        self.dw.resize(m * stride);
        let z = &self.z[..rows * samples];
        match products {
            Products::F32 => {
                let dims = (samples, stride, rows);
                Product::transposed(dims, z, samples, &self.w, stride).run(&mut self.dx);
                let dims = (rows, stride, samples);
                Product::rows(dims, z, samples, &inputs.rows, stride).run(&mut self.dw);
            }
            Products::Bf16 => {
                pack_pairs(&self.w, stride, Parts::One, &mut self.pairs_w);
                self.pairs_g.resize(m * samples / 2);
                self.pairs_gt.resize(m * samples / 2);
                pack_pairs(z, samples, Parts::One, &mut self.pairs_g);
                transpose_pairs(&self.pairs_g, samples, &mut self.pairs_gt);
                let (a, b) = (&self.pairs_gt, &self.pairs_w);
                let product = PairProduct { m: samples, n: stride, k: m, parts: Parts::One, a, b, accumulate: false };
                product.run(&mut self.dx, &mut Ahead::default());
                pack_rows(z, Parts::One, &mut self.pairs_g);
                let (a, b) = (&self.pairs_g, &inputs.packed_rows);
                let product = PairProduct { m, n: stride, k: samples, parts: Parts::One, a, b, accumulate: false };
                product.run(&mut self.dw, &mut Ahead::default());
            }
        }
    }

    fn take(&mut self, neurons: &[u32], weights: &Matrix, bias: &Bias, corrections: &[f32]) {
        self.neurons.clear();
        self.neurons.extend_from_slice(neurons);
        self.local.clear();
        self.local.extend(neurons.iter().map(|n| n - neurons[0]));
        self.w.resize(neurons.len() * weights.stride);
        (kernels().gather_rows)(&weights.w, weights.stride, neurons, &mut self.w);
        self.bias.clear();
        self.bias.extend(neurons.iter().zip(corrections).map(|(&n, c)| bias.b[n as usize] + c));
    }

    /// Finds the true labels among the chunk's logits, takes the correction off them, and sums them up for the loss.
    fn find_targets(&mut self, targets: &[Target], corrections: &[f32], samples: usize) {
        self.targets.clear();
        self.target_logits = 0.0;
        let (first, last) = (self.neurons[0], self.neurons[self.neurons.len() - 1]);
        let from = targets.partition_point(|t| t.0 < first);
        let to = targets.partition_point(|t| t.0 <= last);
        let mut row = 0;
        for &(neuron, sample, mass) in &targets[from..to] {
            while self.neurons[row] < neuron {
                row += 1;
            }
            assert_eq!(self.neurons[row], neuron, "true labels are active");
            let at = row * samples + sample as usize;
            self.z[at] -= corrections[row];
            self.target_logits += f64::from(mass) * f64::from(self.z[at] + self.bias[row]);
            self.targets.push((at as u32, mass, sample));
        }
    }
}

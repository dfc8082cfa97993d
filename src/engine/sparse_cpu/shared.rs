//! One active set for the whole batch: the true labels of all its samples and the neurons a selection adds.
//!
//! Per-sample sets at half a percent active touch most rows of the layer anyway once a batch is full, so they save
//! arithmetic but little memory traffic. A shared set touches only its own R rows, and its products are plain matrix
//! products over R gathered rows, at the speed of a dense layer of R labels. Every sample sees the other samples'
//! labels as further negatives.
//!
//! Two passes over chunks of rows, as `dense-cpu` makes over its blocks: the first gathers a chunk's weights and leaves
//! maxima and sums of its exponentials; the second, with the normaliser known, makes gradients and updates the rows.
//! Between them wait the gathered weights and the exponentials, in the precision of the products; all else a thread keeps
//! in its cache from chunk to chunk. Where small gradients are rounded to nothing ([`super::thinning`]), the second pass
//! multiplies no matrices but sums over the pairs that are left.
//!
//! Where samples draw labels, those of a sample that are in the set are each weighed by the inverse of the probability π
//! of being there: its own sample drew it, m of n, or something else brought it, which has the probability
//! exp(−correction); π = m/n + (1 − m/n)·exp(−correction). So the label's exponential counts 1/π times in the sum over the
//! set, as that of any other neuron counts exp(correction) times, and so does its part of the target distribution, which
//! then is scaled to sum to 1. Where the softmax over all neurons equals the target distribution, gradients are 0 whatever
//! was drawn. A sample that has no more than m labels keeps them as they are.

use super::targets::Target;
use super::thinning::{Thin, Thinning};
use crate::data::Batch;
use crate::engine::common::Shards;
use crate::engine::cpu::{Bias, Matrix, Update, log_normalisers};
use crate::engine::exact_top_k::transpose;
use crate::kernels::bf16::{
    PairProduct, Parts, exp_rows, interleave_rows, pack_pairs, pack_rows, scale_less_target, scale_rows, tiled,
    transpose_rows,
};
use crate::kernels::gemm::{Ahead, Product};
use crate::kernels::kernels;
use crate::kernels::memory::Aligned;
use crate::kernels::softmax::{exp_block, exp_scale_block, row_sums, scale_bf16_block, scale_block};
use crate::kernels::weights::Weights;
use crate::selection::SharedSelection;
use crate::threads;
use bytemuck::{cast_slice, cast_slice_mut};
use rayon::prelude::*;
use serde::Deserialize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows of a chunk: what a thread works on stays in its L2 cache. Long chunks cost less (the input's gradient is summed
/// in one pass over each), where enough of them are left for all threads; it is the set that decides, not the number
/// of threads, and so sums do not follow that number.
fn chunk_rows(active: usize) -> usize {
    const LONG: usize = 256;
    if active >= GROUPS * LONG { LONG } else { LONG / 2 }
}

/// About so many groups of neighbouring chunks, each of which sums the gradient of the layer's input in one place. Their
/// number does not follow that of the threads, so neither do the sums.
const GROUPS: usize = 32;

/// So many chunks in groups; the last groups are the smaller ones, so that threads end together.
fn groups(chunks: usize) -> Vec<Range<usize>> {
    let most = chunks.div_ceil(GROUPS).max(1);
    let mut groups = Vec::with_capacity(2 * GROUPS);
    let mut first = 0;
    while first < chunks {
        let size = most.min((chunks - first) / 4).max(1);
        groups.push(first..first + size);
        first += size;
    }
    groups
}

/// Runs the tasks of a pass over so many chunks; `first` tells the first task from a chunk on. Every thread begins with a
/// stretch of its own, which is about the same rows in every pass of every step, so that it finds them in its caches; then
/// it helps the others with theirs.
fn in_stretches(chunks: usize, first: impl Fn(usize) -> usize, run: impl Fn(usize) + Sync) {
    let threads = rayon::current_num_threads();
    let cut = |thread| first(chunks * thread / threads);
    let stretches: Vec<_> = (0..threads).map(|t| (AtomicUsize::new(cut(t)), cut(t + 1))).collect();
    threads::for_each((0..threads).into_par_iter().with_max_len(1), |_| {
        let own = rayon::current_thread_index().expect("inside the engine's pool");
        for (next, end) in (0..threads).map(|turn| &stretches[(own + turn) % threads]) {
            while let Some(task) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|task| task < end) {
                run(task);
            }
        }
    });
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
    thinning: Option<Thinning>,
    chunks: Vec<Chunk>,
    inputs: Inputs,
    /// By chunk and sample: largest logit, sum of exponentials.
    max: Aligned<f32>,
    sum: Aligned<f32>,
    /// ln of the normaliser a sample.
    log_normaliser: Vec<f32>,
    /// 1/B, or 0 for samples without labels and for padding.
    share: Vec<f32>,
    /// The same divided by the sum of the sample's labels' weights.
    target_share: Vec<f32>,
    /// Of all chunks, by sample.
    target_sums: Vec<TargetSums>,
    /// One a thread.
    scratch: Vec<Mutex<Scratch>>,
    /// One a group: the gradient of the layer's input, `samples x stride`.
    partials: Aligned<f32>,
    /// Of the last step, where gradients were thinned: the pairs left, and their rows.
    thinned: [AtomicUsize; 2],
}

/// Inputs of the layer, both ways round, padded to `samples`, a multiple of the vector length.
#[derive(Debug, Default)]
struct Inputs {
    samples: usize,
    stride: usize,
    rows: Aligned<f32>,
    columns: Aligned<f32>,
    /// The same as the second operand of bf16 products.
    packed_rows: Aligned<u32>,
    packed_columns: Aligned<u32>,
}

/// What waits between the passes, for R active neurons.
#[derive(Debug, Default)]
struct Chunk {
    /// Active neurons, ascending.
    neurons: Vec<u32>,
    /// The same relative to the first.
    local: Vec<u32>,
    /// Gathered weights (`R x stride`), in f32 or as pairs of bf16 along the rows.
    w: Aligned<f32>,
    pairs: Aligned<u32>,
    /// Exponentials (`R x samples`), in f32 or as pairs of bf16 along the rows.
    kept: Aligned<f32>,
    kept_pairs: Aligned<u32>,
    /// Bias plus correction, a row.
    bias: Vec<f32>,
    targets: Vec<Found>,
    sums: Vec<TargetSums>,
}

/// Over a sample's labels in a chunk: their weights, and weights times logits.
#[derive(Clone, Copy, Debug, Default)]
struct TargetSums {
    weight: f32,
    logit: f64,
}

/// A true label in a chunk.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Position among the chunk's logits.
    at: u32,
    sample: u32,
    /// 1/π.
    weight: f32,
}

/// What a thread needs while a chunk passes.
#[derive(Debug, Default)]
struct Scratch {
    /// Gathered weights on their way to bf16, then the gradient of the weights (`R x stride`).
    rows: Aligned<f32>,
    /// Logits, then their gradients (`R x samples`), and the factor a sample that makes exponentials gradients.
    z: Aligned<f32>,
    scale: Vec<f32>,
    /// By neuron, counted from a chunk's first: its row, where it is active.
    row_of: Vec<u32>,
    /// Gradient of the biases.
    db: Vec<f32>,
    /// Weights and gradients as bf16 operands.
    w_pairs: Aligned<u32>,
    z_pairs: Aligned<u32>,
    z_transposed: Aligned<u32>,
    thin: Thin,
}

/// The calling thread's own.
fn of_thread(scratch: &[Mutex<Scratch>]) -> std::sync::MutexGuard<'_, Scratch> {
    let thread = rayon::current_thread_index().expect("inside the engine's pool");
    scratch[thread].lock().expect("no thread panics while it computes")
}

impl Shared {
    pub fn new(products: Products, thinning: Option<Thinning>) -> Self {
        Self { products, thinning, ..Self::default() }
    }

    /// Number of active neurons.
    pub fn neurons(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.neurons.len()).sum()
    }

    /// Pairs of a neuron and a sample in the last backward pass, and neurons that it moved, where gradients are thinned.
    pub fn thinned(&self) -> Option<(usize, usize)> {
        let [pairs, rows] = self.thinned.each_ref().map(|count| count.load(Ordering::Relaxed));
        self.thinning.is_some().then_some((pairs, rows))
    }

    /// Bytes of work space.
    pub fn bytes(&self) -> u64 {
        let chunk = |c: &Chunk| {
            let wide = c.w.bytes() + c.pairs.bytes() + c.kept.bytes() + c.kept_pairs.bytes();
            wide + 4 * (c.neurons.capacity() + c.local.capacity() + c.bias.capacity())
                + size_of::<Found>() * c.targets.capacity()
                + size_of::<TargetSums>() * c.sums.capacity()
        };
        let Inputs { rows, columns, packed_rows, packed_columns, .. } = &self.inputs;
        let inputs = rows.bytes() + columns.bytes() + packed_rows.bytes() + packed_columns.bytes();
        let sums = self.max.bytes() + self.sum.bytes() + self.partials.bytes();
        (self.chunks.iter().map(chunk).sum::<usize>() + inputs + sums) as u64
    }

    /// Takes the layer's inputs for the step, `x` being `B x stride`.
    pub fn take_inputs(&mut self, batch: &Batch, x: &[f32], stride: usize) {
        let samples = tiled(batch.len());
        let share = |sample| if batch.labels(sample).is_empty() { 0.0 } else { 1.0 / batch.len() as f32 };
        self.share.clear();
        self.share.extend((0..batch.len()).map(share));
        self.share.resize(samples, 0.0);
        self.inputs.fill(x, stride, samples, self.products);
        let (left, _) = self.thinned().unwrap_or_default();
        if let Some(thinning) = &mut self.thinning {
            thinning.begin(batch.len(), samples, left);
            self.thinned = Default::default();
        }
    }

    /// Forward pass and softmax of the inputs taken over the set `selected` for the batch. A neuron's correction is added
    /// to its logits except where it is the sample's own true label; `targets` are sorted by neuron, then sample, and active
    /// but for those that their samples did not draw. Returns the summed loss.
    pub fn forward(&mut self, weights: &Matrix, bias: &Bias, selected: &SharedSelection, targets: &[Target]) -> f64 {
        let (active, corrections, draw) = (&selected.neurons, &selected.corrections, selected.draw());
        let Self { products, chunks, inputs, max, sum, scratch, .. } = self;
        let (samples, products) = (inputs.samples, *products);
        let rows = chunk_rows(active.len());
        let count = active.len().div_ceil(rows);
        chunks.resize_with(count, Chunk::default);
        scratch.resize_with(rayon::current_num_threads(), Mutex::default);
        max.resize(count * samples, 0.0);
        sum.resize(count * samples, 0.0);
        let (inputs, scratch) = (&*inputs, &*scratch);
        let (chunks, max, sum) = (Shards::new(chunks), Shards::new(max), Shards::new(sum));
        let run = |index| {
            let own = index * samples..(index + 1) * samples;
            // SAFETY: every chunk is run once.
            let (chunk, max, sum) =
                unsafe { (&mut chunks.take(index..index + 1)[0], max.take(own.clone()), sum.take(own)) };
            let of_chunk = index * rows..active.len().min((index + 1) * rows);
            let (neurons, corrections) = (&active[of_chunk.clone()], &corrections[of_chunk]);
            let Scratch { rows: gathered, z, row_of, .. } = &mut *of_thread(scratch);
            chunk.take(neurons, weights, bias, corrections, gathered, products);
            if products == Products::F32 {
                std::mem::swap(z, &mut chunk.kept);
            }
            chunk.logits(inputs, products, z);
            chunk.find_targets(targets, corrections, draw, samples, row_of, z);
            let (logits, bias) = (&mut z[..neurons.len() * samples], &chunk.bias);
            match products {
                Products::F32 => {
                    exp_block(logits, samples, bias, max, sum);
                    std::mem::swap(z, &mut chunk.kept);
                }
                Products::Bf16 => {
                    chunk.kept_pairs.resize(logits.len() / 2, 0);
                    exp_rows(logits, samples, bias, max, sum, &mut chunk.kept_pairs);
                }
            }
        };
        in_stretches(count, |chunk| chunk, run);
        self.normalise()
    }

    /// From the chunks' maxima and sums to the normaliser of each sample; returns the summed loss.
    fn normalise(&mut self) -> f64 {
        let Self { chunks, inputs, max, sum, log_normaliser, share, target_share, target_sums, .. } = self;
        rayon::join(
            || log_normalisers(max, sum, inputs.samples, log_normaliser),
            || {
                target_sums.clear();
                target_sums.resize(inputs.samples, TargetSums::default());
                for chunk in chunks {
                    for (sums, more) in target_sums.iter_mut().zip(&chunk.sums) {
                        sums.weight += more.weight;
                        sums.logit += more.logit;
                    }
                }
            },
        );
        target_share.clear();
        target_share.resize(inputs.samples, 0.0);
        let mut loss = 0.0;
        for (sample, sums) in target_sums.iter().enumerate().filter(|(sample, _)| share[*sample] > 0.0) {
            target_share[sample] = share[sample] / sums.weight;
            loss += f64::from(log_normaliser[sample]) - sums.logit / f64::from(sums.weight);
        }
        loss
    }

    /// Backward pass and optimiser step on the active rows; writes the gradient of the layer's input to `dx` (`B x stride`).
    pub fn update(&mut self, weights: &mut Matrix, bias: &mut Bias, dx: &mut [f32], step: &Update) {
        let (samples, stride) = (self.inputs.samples, weights.stride);
        let groups = groups(self.chunks.len());
        let mut partials = std::mem::take(&mut self.partials);
        partials.resize(groups.len() * samples * stride, 0.0);
        let shards = weights.shards();
        let bias = [&mut bias.b, &mut bias.m, &mut bias.v].map(|values| Shards::new(values));
        let sums = Shards::new(&mut partials);
        let this = &*self;
        let first = |chunk| groups.partition_point(|group| group.start < chunk);
        in_stretches(this.chunks.len(), first, |group| {
            let scratch = &mut *of_thread(&this.scratch);
            // SAFETY: every group is run once, and has sums of its own.
            let dx = unsafe { sums.take(group * samples * stride..(group + 1) * samples * stride) };
            for index in groups[group].clone() {
                let (chunk, first) = (&this.chunks[index], index == groups[group].start);
                // SAFETY: chunks hold ascending, distinct neurons, so their ranges of rows do not overlap.
                let state = unsafe { shards.take(chunk.range()) };
                // SAFETY: as above.
                let bias = bias.each_ref().map(|shards| unsafe { shards.take(chunk.range()) });
                this.scale(index, &mut scratch.scale);
                if let Some(thinning) = &this.thinning {
                    if first {
                        dx.fill(0.0);
                    }
                    let g = this.exact_delta(chunk, &scratch.scale, &mut scratch.z);
                    thinning.thin(index, &chunk.local, g, &mut scratch.thin);
                    let (pairs, g) = scratch.thin.pairs();
                    for (count, more) in this.thinned.iter().zip([g.len(), pairs.rows.len()]) {
                        count.fetch_add(more, Ordering::Relaxed);
                    }
                    let of_row = |(row, range): (u32, Range<usize>)| (row, g[range].iter().sum());
                    step_biases(bias, pairs.by_row().map(of_row), step);
                    state.pair_update(&this.inputs.rows, Some(dx), stride, pairs, g, step);
                } else {
                    this.delta(chunk, scratch);
                    chunk.gradients(&this.inputs, this.products, scratch, dx, !first);
                    step_biases(bias, chunk.local.iter().copied().zip(scratch.db.iter().copied()), step);
                    state.row_adam(stride, &chunk.local, &scratch.rows[..chunk.neurons.len() * stride], step);
                }
            }
        });
        // Long enough stretches of each that the CPU sees them coming.
        let stretch = 8 * stride;
        threads::for_each(dx.par_chunks_mut(stretch).enumerate(), |(index, dx)| {
            dx.fill(0.0);
            for partial in partials.chunks_exact(samples * stride) {
                (kernels().axpy)(1.0, &partial[index * stretch..][..dx.len()], dx);
            }
        });
        self.partials = partials;
    }

    /// The factor a sample that makes exponentials of the `index`-th chunk gradients.
    fn scale(&self, index: usize, scale: &mut Vec<f32>) {
        let samples = self.inputs.samples;
        scale.clear();
        scale.extend_from_slice(&self.max[index * samples..][..samples]);
        exp_scale_block(scale, &[0.0], &self.log_normaliser, &self.share);
    }

    /// The loss's gradient for the chunk's logits into `z`.
    fn exact_delta<'a>(&self, chunk: &Chunk, scale: &[f32], z: &'a mut Aligned<f32>) -> &'a mut [f32] {
        let (rows, samples) = (chunk.neurons.len(), self.inputs.samples);
        let size = rows * samples;
        let z = &mut z.first(tiled(rows) * samples)[..size];
        match self.products {
            Products::F32 => scale_block(&chunk.kept[..size], z, scale),
            Products::Bf16 => scale_bf16_block(cast_slice(&chunk.kept_pairs), z, scale),
        }
        for found in &chunk.targets {
            z[found.at as usize] -= found.weight * self.target_share[found.sample as usize];
        }
        z
    }

    /// The loss's gradient for the chunk's logits as products take it, into `scratch.z`, or `scratch.z_pairs` as pairs of
    /// bf16 along the rows, and for its biases into `scratch.db`.
    fn delta(&self, chunk: &Chunk, scratch: &mut Scratch) {
        let Scratch { z, z_pairs, scale, db, .. } = scratch;
        let (rows, samples) = (chunk.neurons.len(), self.inputs.samples);
        let size = rows * samples;
        db.resize(rows, 0.0);
        match self.products {
            Products::F32 => row_sums(self.exact_delta(chunk, scale, z), samples, db),
            Products::Bf16 => {
                let (z, beyond) = z_pairs.first(tiled(rows) * samples / 2).split_at_mut(size / 2);
                beyond.fill(0);
                scale_rows(&chunk.kept_pairs, scale, z, db);
                for found in &chunk.targets {
                    let (at, sample) = (found.at as usize, found.sample as usize);
                    let target = found.weight * self.target_share[sample];
                    scale_less_target(&chunk.kept_pairs, scale[sample], target, at, z);
                    db[at / samples] -= target;
                }
            }
        }
    }
}

/// The optimiser's step on biases, each counted from a chunk's first, with its gradient.
fn step_biases([b, m, v]: [&mut [f32]; 3], gradients: impl Iterator<Item = (u32, f32)>, step: &Update) {
    for (row, g) in gradients {
        let r = row as usize;
        step.scalar(&mut b[r], &mut m[r], &mut v[r], g);
    }
}

impl Inputs {
    fn fill(&mut self, x: &[f32], stride: usize, samples: usize, products: Products) {
        (self.samples, self.stride) = (samples, stride);
        self.rows.clear();
        self.rows.extend_from_slice(x);
        self.rows.resize(samples * stride, 0.0);
        let Self { rows, columns, packed_rows, packed_columns, .. } = self;
        let bf16 = products == Products::Bf16;
        rayon::join(
            || {
                columns.resize(samples * stride, 0.0);
                transpose(rows, stride, samples, columns, samples);
                if bf16 {
                    packed_columns.resize(stride / 2 * samples, 0);
                    pack_pairs(columns, samples, Parts::One, packed_columns);
                }
            },
            || {
                if bf16 {
                    packed_rows.resize(samples / 2 * stride, 0);
                    pack_pairs(rows, stride, Parts::One, packed_rows);
                }
            },
        );
    }
}

impl Chunk {
    /// Gathers the rows of `neurons`, by way of `rows`.
    fn take(
        &mut self,
        neurons: &[u32],
        weights: &Matrix,
        bias: &Bias,
        corrections: &[f32],
        rows: &mut Aligned<f32>,
        products: Products,
    ) {
        self.neurons.clear();
        self.neurons.extend_from_slice(neurons);
        self.local.clear();
        self.local.extend(neurons.iter().map(|n| n - neurons[0]));
        self.bias.clear();
        self.bias.extend(neurons.iter().zip(corrections).map(|(&n, c)| bias.b[n as usize] + c));
        let stride = weights.stride;
        let (size, in_pairs) = (neurons.len() * stride, tiled(neurons.len()) * stride / 2);
        match (weights.weights(), products) {
            (Weights::F32(w), Products::F32) => {
                self.w.resize(size, 0.0);
                (kernels().gather_rows)(w, stride, neurons, &mut self.w);
            }
            (Weights::F32(w), Products::Bf16) => {
                let rows = rows.first(size);
                (kernels().gather_rows)(w, stride, neurons, rows);
                self.pairs.resize(in_pairs, 0);
                pack_rows(rows, Parts::One, &mut self.pairs);
            }
            // Rows of bf16 are rows of pairs, and a pair has the bits of an f32.
            (Weights::Bf16(w), Products::F32) => {
                let rows = rows.first(size / 2);
                (kernels().gather_rows)(cast_slice(w), stride / 2, neurons, rows);
                self.w.resize(size, 0.0);
                (kernels().bf16.widen)(cast_slice(rows), &mut self.w);
            }
            (Weights::Bf16(w), Products::Bf16) => {
                self.pairs.resize(in_pairs, 0);
                let (gathered, rest) = self.pairs.split_at_mut(size / 2);
                (kernels().gather_rows)(cast_slice(w), stride / 2, neurons, cast_slice_mut(gathered));
                rest.fill(0);
            }
        }
    }

    /// `z = w·xᵀ`, `R x samples`.
    fn logits(&self, inputs: &Inputs, products: Products, z: &mut Aligned<f32>) {
        let (rows, &Inputs { samples, stride, .. }) = (self.neurons.len(), inputs);
        let m = tiled(rows);
        let z = z.first(m * samples);
        match products {
            Products::F32 => {
                Product::rows((rows, samples, stride), &self.w, stride, &inputs.columns, samples).run(z);
            }
            Products::Bf16 => {
                let (a, b) = (&self.pairs, &inputs.packed_columns);
                let product = PairProduct { m, n: samples, k: stride, parts: Parts::One, a, b, accumulate: false };
                product.run(z, &mut Ahead::default());
            }
        }
    }

    /// Finds the true labels among the chunk's logits, puts their weights in place of corrections, and sums them up for the
    /// loss. Samples with more labels than `draw` drew so many.
    fn find_targets(
        &mut self,
        targets: &[Target],
        corrections: &[f32],
        draw: usize,
        samples: usize,
        row_of: &mut Vec<u32>,
        z: &mut [f32],
    ) {
        self.targets.clear();
        self.sums.clear();
        self.sums.resize(samples, TargetSums::default());
        let (first, last) = (self.neurons[0], self.neurons[self.neurons.len() - 1]);
        let from = targets.partition_point(|t| t.neuron < first);
        let to = targets.partition_point(|t| t.neuron <= last);
        // Looked up, since to walk both lists side by side is to guess wrongly at every other target.
        row_of.resize(row_of.len().max((last - first) as usize + 1), 0);
        for (row, &local) in (0..).zip(&self.local) {
            row_of[local as usize] = row;
        }
        for same in targets[from..to].chunk_by(|a, b| a.neuron == b.neuron) {
            let drawn = |target: &Target| draw as f32 / target.labels as f32;
            // That of a neuron outside the set is an earlier chunk's.
            let row = row_of[(same[0].neuron - first) as usize] as usize;
            if self.neurons.get(row) != Some(&same[0].neuron) {
                assert!(same.iter().all(|target| drawn(target) < 1.0), "labels that are not drawn for are active");
                continue;
            }
            let (correction, bias) = (corrections[row], self.bias[row]);
            let otherwise = (-correction).exp();
            for target in same {
                let (sample, drawn) = (target.sample, drawn(target));
                let (weight, shift) = if drawn < 1.0 {
                    let weight = 1.0 / (drawn + (1.0 - drawn) * otherwise);
                    (weight, weight.ln())
                } else {
                    (1.0, 0.0)
                };
                let at = row * samples + sample as usize;
                z[at] -= correction;
                let sums = &mut self.sums[sample as usize];
                sums.weight += weight;
                sums.logit += f64::from(weight) * f64::from(z[at] + bias);
                z[at] += shift;
                self.targets.push(Found { at: at as u32, sample, weight });
            }
        }
    }

    /// From the logits' gradients in `scratch.z`: `dx (+)= zᵀ·w` (`samples x stride`) and the weights' gradient `z·x` into
    /// `scratch.rows` (`R x stride`).
    fn gradients(&self, inputs: &Inputs, products: Products, scratch: &mut Scratch, dx: &mut [f32], accumulate: bool) {
        let (rows, &Inputs { samples, stride, .. }) = (self.neurons.len(), inputs);
        let m = tiled(rows);
        let Scratch { rows: dw, z, w_pairs, z_pairs, z_transposed, .. } = scratch;
        let dw = dw.first(m * stride);
        match products {
            Products::F32 => {
                let z = &z[..rows * samples];
                let dims = (samples, stride, rows);
                Product::transposed(dims, z, samples, &self.w, stride).accumulating(accumulate).run(dx);
                Product::rows((rows, stride, samples), z, samples, &inputs.rows, stride).run(dw);
            }
            Products::Bf16 => {
                let w_pairs = w_pairs.first(m * stride / 2);
                let z_pairs = &z_pairs[..m * samples / 2];
                let z_transposed = z_transposed.first(m * samples / 2);
                interleave_rows(&self.pairs, stride, w_pairs);
                transpose_rows(z_pairs, samples, z_transposed);
                let (a, b) = (&*z_transposed, &*w_pairs);
                let product = PairProduct { m: samples, n: stride, k: m, parts: Parts::One, a, b, accumulate };
                product.run(dx, &mut Ahead::default());
                let (a, b) = (z_pairs, &inputs.packed_rows);
                let product = PairProduct { m, n: stride, k: samples, parts: Parts::One, a, b, accumulate: false };
                product.run(dw, &mut Ahead::default());
            }
        }
    }

    /// From the first neuron to the last.
    fn range(&self) -> Range<usize> {
        self.neurons[0] as usize..self.neurons[self.neurons.len() - 1] as usize + 1
    }
}

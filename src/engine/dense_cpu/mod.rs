//! `dense-cpu`: every neuron, every step, on the CPU.
//!
//! A step over the output layer makes two passes over blocks of labels, with all of softmax, gradients and Adam done
//! while a block is in the cache:
//!
//! 1. logits of the block, their maximum a sample, and e^(z − max), which is kept if the budget allows;
//! 2. with the sum over all blocks known, p − t from what was kept (or from the logits, computed again), the gradient
//!    for the hidden activations, the gradient for the block of W, Adam.
//!
//! Nothing of size B x L exists except what the budget allows to be kept. Blocks are cut the same way whatever the
//! number of threads, and sums over blocks run in block order, so 1 and 64 threads give the same bits.
//!
//! **Counted work.** FLOPs are the multiply-adds of the matrix products, 6·B·in·out for a layer (forward, gradient of W,
//! gradient of the input), 4·nnz·H for sparse and 4·B·I·H for dense input; exponentials, Adam and products computed
//! again are not counted. Bytes: W read in the forward pass, then W, m, v read and written; kept exponentials written
//! and read; rows of the input layer read by every occurrence and, once, updated.

mod input;
mod layer;

use super::common::{Shards, cpu_model};
use super::exact_top_k::ExactTopK;
use super::{Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, Phase, StepStats, TopK};
use crate::data::{Batch, Inputs};
use crate::kernels::gemm::Ahead;
use crate::kernels::memory::Buffer;
use crate::kernels::softmax::{exp, exp_block, exp_scale_block, scale_block};
use crate::kernels::{kernels, padded};
use crate::network::{AdamStep, Parameters, Training};
use input::InputLayer;
use layer::{Activations, Block, NOWHERE, NeuronLayer, Scratch, zeros};
use rayon::prelude::*;
use serde::Deserialize;
use std::io;
use std::ops::Range;
use std::time::Instant;

/// `[engine.options]` of `dense-cpu`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Rows of W a block.
    block: usize,
    /// Most MiB of exponentials kept between the two passes; what does not fit is computed again.
    logits_budget_mib: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { block: 128, logits_budget_mib: 1024 }
    }
}

/// The engine.
#[derive(Debug)]
pub struct DenseCpu {
    training: Training,
    options: Options,
    pool: rayon::ThreadPool,
    network: Option<Network>,
    t: u64,
    stats: StepStats,
    loss_sum: f64,
}

/// Builds the engine.
pub fn build(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    let options: Options = settings
        .options
        .clone()
        .try_into()
        .map_err(|error| EngineError::Settings(format!("dense-cpu: {}", error.to_string().trim())))?;
    if options.block == 0 {
        return Err(EngineError::Settings("dense-cpu: `block` must be at least 1".into()));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads.max(1))
        .thread_name(|i| format!("dense-cpu-{i}"))
        .build()
        .map_err(|error| EngineError::Failed(format!("dense-cpu: cannot start threads: {error}")))?;
    Ok(Box::new(DenseCpu {
        training: settings.training.clone(),
        options,
        pool,
        network: None,
        t: 0,
        stats: StepStats::default(),
        loss_sum: 0.0,
    }))
}

/// The network in the engine's layout, with its work space.
#[derive(Debug)]
struct Network {
    input: InputLayer,
    /// Hidden layers after the first, then the output layer.
    layers: Vec<NeuronLayer>,
    /// Outputs of the hidden layers, and the loss's gradients for their sums.
    hidden: Vec<Activations>,
    deltas: Vec<Activations>,
    scratch: Scratch,
    softmax: Softmax,
    top_k: ExactTopK,
}

/// What the output layer's first pass leaves for its second.
#[derive(Debug, Default)]
struct Softmax {
    /// e^(z − the block's maximum) of the first blocks, `rows x samples` each.
    kept: Option<Buffer>,
    /// Maxima and sums by block: `blocks x samples`.
    max: Vec<f32>,
    sum: Vec<f32>,
    /// Blocks in `kept`.
    kept_blocks: usize,
    /// ln of the normaliser a sample.
    log_normaliser: Vec<f32>,
    /// 1/B, or 0 for samples without labels and for padding.
    share: Vec<f32>,
    /// True labels with their samples: `label << 32 | sample`, ascending.
    truths: Vec<u64>,
}

impl Softmax {
    fn bytes(&self) -> u64 {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.len());
        let floats = kept + self.max.capacity() + self.sum.capacity() + self.log_normaliser.capacity();
        (4 * floats + 8 * self.truths.capacity()) as u64
    }

    /// Adds the blocks' sums up, in block order, into the normaliser of each sample; then turns every block's maximum
    /// into the factor that makes its kept exponentials gradients, e^(max − ln normaliser) / B. Samples without labels
    /// and padding get the factor 0.
    fn merge(&mut self, batch: &Batch, samples: usize) {
        let (max, sum) = (&self.max, &self.sum);
        let blocks = max.len() / samples;
        self.log_normaliser.resize(samples, 0.0);
        self.log_normaliser.par_iter_mut().enumerate().for_each(|(b, out)| {
            let largest = (0..blocks).map(|i| max[i * samples + b]).fold(f32::NEG_INFINITY, f32::max);
            let total: f64 =
                (0..blocks).map(|i| f64::from(sum[i * samples + b] * exp(max[i * samples + b] - largest))).sum();
            *out = (f64::from(largest) + total.ln()) as f32;
        });
        self.share.clear();
        self.share.resize(samples, 0.0);
        for b in 0..batch.len() {
            if !batch.labels(b).is_empty() {
                self.share[b] = 1.0 / batch.len() as f32;
            }
        }
        let (share, log_normaliser) = (&self.share, &self.log_normaliser);
        self.max.par_chunks_mut(samples).for_each(|max| {
            for ((max, share), log_normaliser) in max.iter_mut().zip(share).zip(log_normaliser) {
                *max = exp(*max - log_normaliser) * share;
            }
        });
    }

    /// Where the exponentials of `rows` are kept, if they are.
    fn kept_place(&self, rows: Range<usize>, samples: usize) -> (*const f32, usize) {
        let kept = self.kept.as_deref().unwrap_or_default();
        kept.get(rows.start * samples..rows.end * samples).map_or((std::ptr::null(), 0), |e| (e.as_ptr(), e.len()))
    }

    /// The loss's gradient for a block's logits: (p − t) / B.
    fn gradient(&self, batch: &Batch, hidden: &Activations, samples: usize, block: &Block<'_>, g: &mut [f32]) {
        if block.index < self.kept_blocks {
            let kept = self.kept.as_ref().expect("blocks have been kept");
            let e = &kept[block.rows.start * samples..block.rows.end * samples];
            scale_block(e, g, &self.max[block.index * samples..(block.index + 1) * samples]);
        } else {
            block.product(hidden, samples, g, &mut Ahead::default());
            exp_scale_block(g, block.bias, &self.log_normaliser, &self.share);
        }
        let first = self.truths.partition_point(|&truth| ((truth >> 32) as usize) < block.rows.start);
        for &truth in &self.truths[first..] {
            let (label, b) = ((truth >> 32) as usize, truth as u32 as usize);
            if label >= block.rows.end {
                break;
            }
            g[(label - block.rows.start) * samples + b] -= self.share[b] / batch.labels(b).len() as f32;
        }
    }

    /// The true labels with their samples, ascending by label.
    fn list_truths(&mut self, batch: &Batch) {
        self.truths.clear();
        for b in 0..batch.len() {
            self.truths.extend(batch.labels(b).iter().map(|&label| u64::from(label) << 32 | b as u64));
        }
        self.truths.sort_unstable();
    }
}

impl Network {
    fn new(parameters: &Parameters, training: &Training, options: &Options) -> io::Result<Self> {
        let (first, rest) = parameters.layers.split_first().expect("a network has layers");
        let widths = || parameters.layers[..parameters.layers.len() - 1].iter().map(|l| Activations::new(l.outputs));
        Ok(Self {
            input: InputLayer::new(first, training.input_rows)?,
            layers: rest.iter().map(|layer| NeuronLayer::new(layer, options.block)).collect::<io::Result<_>>()?,
            hidden: widths().collect(),
            deltas: widths().collect(),
            scratch: Scratch::default(),
            softmax: Softmax::default(),
            top_k: ExactTopK::default(),
        })
    }

    /// Activations of all hidden layers.
    fn forward(&mut self, batch: &Batch, samples: usize) {
        self.input.forward(batch, &mut self.hidden[0], samples);
        for (index, layer) in self.layers[..self.layers.len() - 1].iter().enumerate() {
            let (below, above) = self.hidden.split_at_mut(index + 1);
            layer.forward_hidden(&below[index], &mut above[0], samples);
        }
    }

    /// The first pass over the output layer: exponentials, and the normaliser of each sample.
    fn softmax_pass(&mut self, batch: &Batch, samples: usize, budget: usize) -> Result<(), EngineError> {
        let output = self.layers.last().expect("an output layer");
        let hidden = self.hidden.last().expect("a hidden layer");
        let softmax = &mut self.softmax;
        let kept_blocks = output.blocks().min(budget / (4 * output.block * samples));
        let size = output.outputs.min(kept_blocks * output.block) * samples;
        let kept = match &mut softmax.kept {
            Some(kept) if kept.len() >= size => kept,
            kept => {
                *kept = None; // give its memory back first
                kept.insert(zeros(size).map_err(|error| out_of_memory("exponentials", 4 * size as u64, &error))?)
            }
        };
        softmax.kept_blocks = kept_blocks;
        softmax.max.resize(output.blocks() * samples, 0.0);
        softmax.sum.resize(output.blocks() * samples, 0.0);
        let (kept, max, sum) = (Shards::new(kept), Shards::new(&mut softmax.max), Shards::new(&mut softmax.sum));
        output.for_each_block(&mut self.scratch, samples, |block, scratch| {
            let (i, rows) = (block.index, block.rows.clone());
            // SAFETY: every block has places of its own.
            let (max, sum) =
                unsafe { (max.take(i * samples..(i + 1) * samples), sum.take(i * samples..(i + 1) * samples)) };
            let z = if i < kept_blocks {
                // SAFETY: as above.
                unsafe { kept.take(rows.start * samples..rows.end * samples) }
            } else {
                scratch
            };
            // Memory of the next block of this shape: its weights, and where its exponentials go.
            let next = rows.end..rows.end + rows.len();
            let mut ahead = Ahead::new([
                (block.w.as_ptr().wrapping_add(block.w.len()), block.w.len()),
                if i + 1 < kept_blocks {
                    kept.place(next.start * samples..next.end * samples)
                } else {
                    (std::ptr::null(), 0)
                },
                (std::ptr::null(), 0),
                (std::ptr::null(), 0),
            ]);
            block.product(hidden, samples, z, &mut ahead);
            exp_block(z, samples, block.bias, max, sum);
        });
        softmax.merge(batch, samples);
        softmax.list_truths(batch);
        Ok(())
    }

    /// Gradients and Adam, from the output layer down. Returns the rows of the input layer that moved.
    fn backward(&mut self, batch: &Batch, samples: usize, step: AdamStep) -> usize {
        let Self { input, layers, hidden, deltas, scratch, softmax, .. } = self;
        for (index, layer) in layers.iter_mut().enumerate().rev() {
            let (below, above) = deltas.split_at_mut(index + 1);
            let (h, delta) = (&hidden[index], &mut below[index]);
            delta.reserve(samples);
            if let Some(above) = above.first() {
                layer.backward(h, &mut delta.rows, scratch, samples, step, NOWHERE, |block, g| {
                    g.copy_from_slice(&above.columns[block.rows.start * samples..block.rows.end * samples]);
                });
            } else {
                let kept = |rows: Range<usize>| softmax.kept_place(rows, samples);
                layer.backward(h, &mut delta.rows, scratch, samples, step, kept, |block, g| {
                    softmax.gradient(batch, h, samples, &block, g);
                });
            }
            // The ReLU passes a gradient on where its output is above zero.
            for (delta, h) in delta.rows.iter_mut().zip(&h.rows) {
                *delta = if *h > 0.0 { *delta } else { 0.0 };
            }
            if index > 0 {
                delta.columns_from_rows(samples);
            }
        }
        input.backward(batch, &deltas[0].rows, step)
    }

    /// Multiply-adds, times two, and bytes of a step; see the module's documentation.
    fn work(&self, batch: &Batch, samples: usize, moved_rows: usize) -> (f64, f64) {
        let b = batch.len() as f64;
        let width = self.input.outputs as f64;
        let entries = match &batch.inputs {
            Inputs::Sparse { indices, .. } => indices.len() as f64,
            Inputs::Dense { width, .. } => b * *width as f64,
        };
        let read_rows = match &batch.inputs {
            Inputs::Sparse { indices, .. } => indices.len(),
            Inputs::Dense { width, .. } => *width,
        };
        let mut flops = 4.0 * entries * width;
        let mut bytes = 4.0 * width * (read_rows + 6 * moved_rows) as f64;
        for layer in &self.layers {
            let weights = (layer.inputs * layer.outputs) as f64;
            flops += 6.0 * b * weights;
            bytes += 4.0 * 7.0 * weights;
        }
        let output = self.layers.last().expect("an output layer");
        let kept = output.outputs.min(self.softmax.kept_blocks * output.block) * samples;
        (flops, bytes + 8.0 * kept as f64)
    }

    fn bytes(&self) -> u64 {
        let activations: u64 = self.hidden.iter().chain(&self.deltas).map(Activations::bytes).sum();
        let layers: u64 = self.layers.iter().map(NeuronLayer::bytes).sum();
        self.input.bytes() + layers + activations + self.scratch.bytes() + self.softmax.bytes() + self.top_k.bytes()
    }

    /// The batch's summed loss, from the normalisers and the logits of the true labels.
    fn loss(&self, batch: &Batch) -> f64 {
        let output = self.layers.last().expect("an output layer");
        let (hidden, stride) = (self.hidden.last().expect("a hidden layer"), output.stride);
        let mut loss = 0.0;
        for b in 0..batch.len() {
            let h = &hidden.rows[b * stride..(b + 1) * stride];
            let labels = batch.labels(b);
            for &y in labels {
                let y = y as usize;
                let z = (kernels().dot)(&output.w[y * stride..(y + 1) * stride], h) + output.bias[y];
                loss += f64::from(self.softmax.log_normaliser[b] - z) / labels.len() as f64;
            }
        }
        loss
    }
}

fn out_of_memory(what: &str, needs: u64, error: &io::Error) -> EngineError {
    EngineError::OutOfMemory {
        what: format!("dense-cpu: {what} ({error})"),
        needs,
        remedy: "take fewer labels, a narrower layer, or a smaller `logits-budget-mib`".into(),
    }
}

/// The loaded network, or why there is none.
fn loaded(network: &mut Option<Network>) -> Result<&mut Network, EngineError> {
    network.as_mut().ok_or_else(|| EngineError::Failed("dense-cpu: used before load".into()))
}

impl Engine for DenseCpu {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            name: "dense-cpu".into(),
            device: cpu_model(),
            precision: "f32".into(),
            threads: self.pool.current_num_threads(),
            notes: vec![("kernels".into(), kernels().name.into())],
        }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        self.network = None; // give its memory back first
        let needs = 12 * initial.layers.iter().map(|l| l.weights.len() as u64).sum::<u64>();
        let network = self.pool.install(|| Network::new(initial, &self.training, &self.options));
        self.network = Some(network.map_err(|error| out_of_memory("weights and Adam's state", needs, &error))?);
        self.t = 0;
        self.stats = StepStats::default();
        self.loss_sum = 0.0;
        Ok(())
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        let Self { training, options, pool, network, t, stats, loss_sum } = self;
        let network = loaded(network)?;
        *t += 1;
        let step = training.adam_step(*t);
        let samples = padded(batch.len());
        pool.install(|| {
            let start = Instant::now();
            network.forward(batch, samples);
            network.softmax_pass(batch, samples, options.logits_budget_mib << 20)?;
            *loss_sum += network.loss(batch);
            let forward = start.elapsed();
            let moved_rows = network.backward(batch, samples, step);
            let total = start.elapsed();
            let (flops, bytes) = network.work(batch, samples, moved_rows);
            stats.steps += 1;
            stats.samples += batch.len() as u64;
            stats.device_time += total;
            stats.phases[Phase::Forward as usize] += forward;
            stats.phases[Phase::Backward as usize] += total - forward;
            stats.flops += flops;
            stats.bytes += bytes;
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        let mut stats = std::mem::take(&mut self.stats);
        stats.loss = self.loss_sum / stats.samples.max(1) as f64;
        self.loss_sum = 0.0;
        Ok(stats)
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        let Self { pool, network, .. } = self;
        let network = loaded(network)?;
        Ok(pool.install(|| {
            network.forward(batch, padded(batch.len()));
            let output = network.layers.last().expect("an output layer");
            let hidden = &network.hidden.last().expect("a hidden layer").rows[..batch.len() * output.stride];
            network.top_k.run(&output.w, output.stride, &output.bias, hidden, k)
        }))
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        let network = loaded(&mut self.network)?;
        let first = std::iter::once(network.input.to_layer());
        Ok(Parameters { layers: first.chain(network.layers.iter().map(NeuronLayer::to_layer)).collect() })
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { host_bytes: self.network.as_ref().map_or(0, Network::bytes), device_bytes: 0 }
    }
}

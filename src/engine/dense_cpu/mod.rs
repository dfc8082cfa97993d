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
//! again are not counted, and a product counts once in whatever precision (`bf16x3` makes three of it). Bytes: W read in
//! the forward pass, then W, m, v (with SGD, W) read and written, as they are stored;
//! kept exponentials written and read; rows of the input layer read by every occurrence and, once, updated.

mod activations;
mod layer;
mod softmax;

use super::common::{average_note, cpu_model, huge_pages_note};
use super::cpu::input::Storage;
use super::cpu::{Average, InputLayer, Precision as StoredAs, State, Update, each_step};
use super::exact_top_k::ExactTopK;
use super::{Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, NextBatch, Phase, StepStats, TopK};
use crate::data::{Batch, Inputs};
use crate::kernels::bf16::{Method, TILE, tiled};
use crate::kernels::kernels;
use crate::kernels::memory::HugePages;
use crate::kernels::softmax::row_sums;
use crate::network::{AdamStep, Parameters, Training};
use activations::{Activations, Precision};
use layer::{Delta, NeuronLayer, Scratch};
use serde::Deserialize;
use softmax::Softmax;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// `[engine.options]` of `dense-cpu`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Rows of W a block. By default 128; with products in bf16 256 at batches up to 128, whose blocks of logits are no
    /// larger for it.
    block: Option<usize>,
    /// Most MiB of exponentials kept between the two passes; what does not fit is computed again. By default 1,024,
    /// but 0 for products of two parts in AMX, which multiplies faster than memory could bring them back.
    logits_budget_mib: Option<usize>,
    precision: Precision,
    /// How weights and Adam's moments are stored.
    storage: StoredAs,
    /// What the optimiser remembers of the first layer.
    input_state: State,
    /// How gradients move the weights above the first layer; without Adam, what it costs is the difference.
    optimiser: Optimiser,
    /// Steps between snapshots of the weights, whose average is evaluated in place of the last ones ([`Average`]); 0: none.
    average: u64,
}

/// The first layer's rows always move by Adam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Optimiser {
    #[default]
    Adam,
    /// w ← w − η·g, without state.
    Sgd,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            block: None,
            logits_budget_mib: None,
            precision: Precision::F32,
            storage: StoredAs::F32,
            input_state: State::EachWeight,
            optimiser: Optimiser::Adam,
            average: 0,
        }
    }
}

impl Options {
    /// Rows of W a block, at `batch` samples.
    fn block(&self, batch: usize) -> usize {
        let by_default = if self.precision != Precision::F32 && batch <= 128 { 256 } else { 128 };
        self.block.unwrap_or(by_default)
    }

    /// Bytes of exponentials to keep.
    fn budget(&self) -> usize {
        let by_default = if self.precision == Precision::Bf16x3 && Method::best() == Method::Amx { 0 } else { 1024 };
        self.logits_budget_mib.unwrap_or(by_default) << 20
    }
}

/// The engine.
pub struct DenseCpu {
    training: Training,
    options: Options,
    pool: Arc<rayon::ThreadPool>,
    network: Option<Network>,
    average: Average,
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
    let block = options.block(settings.training.batch);
    if block == 0 {
        return Err(EngineError::Settings("dense-cpu: `block` must be at least 1".into()));
    }
    if options.storage.bf16_weights() && options.precision != Precision::Bf16 {
        let problem = "dense-cpu: `storage` of weights in bf16 goes with `precision = \"bf16\"`";
        return Err(EngineError::Settings(problem.into()));
    }
    if options.storage != StoredAs::F32 && options.optimiser != Optimiser::Adam {
        let problem = "dense-cpu: `storage` other than \"f32\" goes with `optimiser = \"adam\"`";
        return Err(EngineError::Settings(problem.into()));
    }
    if options.precision != Precision::F32 && !block.is_multiple_of(TILE) {
        let problem = format!("dense-cpu: with a `precision` other than \"f32\", `block` must be a multiple of {TILE}");
        return Err(EngineError::Settings(problem));
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads.max(1))
        .thread_name(|i| format!("dense-cpu-{i}"))
        .build()
        .map_err(|error| EngineError::Failed(format!("dense-cpu: cannot start threads: {error}")))?;
    Ok(Box::new(DenseCpu {
        training: settings.training.clone(),
        average: Average::default(),
        options,
        pool: Arc::new(pool),
        network: None,
        t: 0,
        stats: StepStats::default(),
        loss_sum: 0.0,
    }))
}

/// The network in the engine's layout, with its work space.
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

impl Network {
    fn new(parameters: &Parameters, training: &Training, options: &Options) -> Result<Self, EngineError> {
        let (first, rest) = parameters.layers.split_first().expect("a network has layers");
        let sgd = (options.optimiser == Optimiser::Sgd).then_some(training.learning_rate);
        let widths = || {
            parameters.layers[..parameters.layers.len() - 1]
                .iter()
                .map(|l| Activations::new(l.outputs, options.precision))
        };
        Ok(Self {
            input: InputLayer::new(
                first,
                training,
                Storage { precision: options.storage, state: options.input_state, ..Storage::default() },
            )?,
            layers: rest
                .iter()
                .map(|layer| NeuronLayer::new(layer, options.block(training.batch), options.storage, sgd))
                .collect::<Result<_, _>>()?,
            hidden: widths().collect(),
            deltas: widths().collect(),
            scratch: Scratch::default(),
            softmax: Softmax::default(),
            top_k: ExactTopK::default(),
        })
    }

    /// Brings the averages of all rows up to date.
    fn settle_average(&self, average: &mut Average) {
        average.settle(&self.input, self.layers.iter().map(|layer| &layer.weights));
    }

    /// Activations of all hidden layers.
    fn forward(&mut self, batch: &Batch, samples: usize, training: bool) {
        let first = &mut self.hidden[0];
        first.reserve(samples);
        let (rows, padding) = first.rows[..samples * first.stride].split_at_mut(batch.len() * first.stride);
        padding.fill(0.0);
        if training {
            self.input.forward(batch, rows)
        } else {
            self.input.predict(batch, rows)
        }
        first.fill_from_rows(samples);
        for (index, layer) in self.layers[..self.layers.len() - 1].iter().enumerate() {
            let (below, above) = self.hidden.split_at_mut(index + 1);
            layer.forward_hidden(&below[index], &mut above[0], &mut self.scratch, samples);
        }
    }

    /// The output layer's first pass.
    fn softmax_forward(&mut self, batch: &Batch, samples: usize, budget: usize) -> Result<(), EngineError> {
        let Self { layers, hidden, scratch, softmax, .. } = self;
        let (output, hidden) = (layers.last().expect("an output layer"), hidden.last().expect("a hidden layer"));
        softmax
            .forward(output, hidden, scratch, batch, samples, budget)
            .map_err(|error| out_of_memory("kept exponentials", budget as u64, &error))
    }

    /// Gradients and Adam, from the output layer down. Returns the rows of the input layer that moved.
    fn backward(&mut self, batch: &Batch, samples: usize, step: AdamStep) -> usize {
        let Self { input, layers, hidden, deltas, scratch, softmax, .. } = self;
        for (index, layer) in layers.iter_mut().enumerate().rev() {
            let (below, above) = deltas.split_at_mut(index + 1);
            let (h, d_input) = (&hidden[index], &mut below[index]);
            if let Some(above) = above.first() {
                let deltas = |rows: &Range<usize>| &above.columns[rows.start * samples..rows.end * samples];
                let place = |rows: Range<usize>| (deltas(&rows).as_ptr(), rows.len() * samples);
                layer.backward(h, d_input, scratch, samples, step, place, |block, g, db, _, _| {
                    let deltas = deltas(&block.rows);
                    g[..deltas.len()].copy_from_slice(deltas);
                    row_sums(deltas, samples, db);
                    Delta::F32
                });
            } else {
                let place = |rows| softmax.kept_place(rows, samples);
                layer.backward(h, d_input, scratch, samples, step, place, |block, g, db, pairs, ahead| {
                    softmax.gradient(batch, h, samples, &block, g, db, pairs, ahead)
                });
            }
        }
        input.backward(batch, &deltas[0].rows, &Update::adam(step))
    }

    /// Multiply-adds, times two, and bytes of a step; see the module's documentation.
    fn work(&self, batch: &Batch, samples: usize, moved_rows: usize) -> (f64, f64) {
        let b = batch.len() as f64;
        let width = self.input.weights.width as f64;
        let entries = batch.entries() as f64;
        // Dense input reads the weights in blocks, once for all samples.
        let read_rows =
            if matches!(batch.inputs, Inputs::Dense { .. }) { self.input.weights.rows } else { batch.entries() };
        let mut flops = 4.0 * entries * width;
        let first = &self.input.weights;
        let moved = 2 * first.bytes_per_state() * moved_rows;
        let mut bytes = width * (first.bytes_per_weight() * read_rows + moved) as f64;
        for layer in &self.layers {
            let weights = (layer.weights.width * layer.outputs()) as f64;
            flops += 6.0 * b * weights;
            let (read, state) = (layer.weights.bytes_per_weight(), layer.weights.bytes_per_state());
            bytes += weights * if layer.sgd.is_some() { 3 * read } else { read + 2 * state } as f64;
        }
        let output = self.layers.last().expect("an output layer");
        let kept = self.softmax.kept_len(output, samples);
        (flops, bytes + 8.0 * kept as f64)
    }

    fn bytes(&self) -> u64 {
        let activations: u64 = self.hidden.iter().chain(&self.deltas).map(Activations::bytes).sum();
        let layers: u64 = self.layers.iter().map(NeuronLayer::bytes).sum();
        self.input.bytes() + layers + activations + self.scratch.bytes() + self.softmax.bytes() + self.top_k.bytes()
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
        let mut notes = vec![("kernels".to_string(), kernels().name.to_string())];
        if self.options.precision != Precision::F32 {
            notes.push(("products".into(), Method::best().name().into()));
        }
        notes.extend(average_note(self.options.average));
        if let Some(Network { input, layers, .. }) = &self.network {
            let huge = layers
                .iter()
                .map(|layer| layer.weights.huge_bytes())
                .fold(input.weights.huge_bytes(), |sum, of| Some(sum? + of?));
            notes.extend(huge_pages_note(huge, layers.iter().map(NeuronLayer::bytes).sum::<u64>() + input.bytes()));
        }
        let stored = match self.options.storage {
            StoredAs::F32 => "",
            StoredAs::PackedMoments => ", moments in bf16",
            StoredAs::Bf16Weights => ", weights in bf16",
            StoredAs::Packed => ", weights and moments in bf16",
        };
        let stored = format!("{stored}{}", self.options.input_state.note());
        EngineInfo {
            name: "dense-cpu".into(),
            device: cpu_model(),
            precision: match self.options.precision {
                Precision::F32 => format!("f32{stored}"),
                Precision::Bf16 => format!("bf16 products, f32 sums{stored}"),
                Precision::Bf16x3 => format!("bf16x3 products (16 bits of mantissa), f32 sums{stored}"),
            },
            threads: self.pool.current_num_threads(),
            notes,
        }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        // Give their memory back first.
        (self.network, self.average) = (None, Average::default());
        let (training, options) = (&self.training, &self.options);
        let (network, average) = self.pool.install(|| {
            let network = Network::new(initial, training, options)?;
            let layers = network.layers.iter().map(|layer| (&layer.weights, &layer.bias));
            let average = Average::new(options.average, HugePages::Ask, &network.input, layers)?;
            Ok::<_, EngineError>((network, average))
        })?;
        (self.network, self.average) = (Some(network), average);
        self.t = 0;
        self.stats = StepStats::default();
        self.loss_sum = 0.0;
        Ok(())
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        let Self { training, options, pool, network, average, t, stats, loss_sum } = self;
        let network = loaded(network)?;
        *t += 1;
        let step = training.adam_step(*t);
        let samples = tiled(batch.len());
        pool.install(|| {
            let start = Instant::now();
            network.forward(batch, samples, true);
            network.softmax_forward(batch, samples, options.budget())?;
            *loss_sum += network.softmax.loss(batch);
            let forward = start.elapsed();
            average.moving_input(&network.input, batch);
            let moved_rows = network.backward(batch, samples, step);
            let layers = network.layers.iter().map(|layer| (&layer.weights, &layer.bias));
            average.take(*t, &mut network.input, layers, |_| false);
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

    fn steps(&mut self, batch: &mut Batch, next: NextBatch<'_>) -> Result<(), EngineError> {
        let pool = Arc::clone(&self.pool);
        pool.install(|| each_step(batch, next, |batch| self.step(batch)))
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        let start = Instant::now();
        if let Some(network) = &mut self.network {
            let average = &mut self.average;
            self.pool.install(|| {
                network.input.settle();
                network.settle_average(average);
            });
        }
        let mut stats = std::mem::take(&mut self.stats);
        stats.device_time += start.elapsed();
        stats.phases[Phase::Backward as usize] += start.elapsed();
        stats.loss = self.loss_sum / stats.samples.max(1) as f64;
        self.loss_sum = 0.0;
        Ok(stats)
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        let Self { pool, network, average, .. } = self;
        let network = loaded(network)?;
        if batch.is_empty() {
            return Ok(TopK { k: k.min(network.layers.last().expect("an output layer").outputs()), ..TopK::default() });
        }
        Ok(pool.install(|| {
            network.settle_average(average);
            if let Some(best) = average.predict(&network.input, &mut network.top_k, batch, k) {
                return best;
            }
            network.forward(batch, tiled(batch.len()), false);
            let output = network.layers.last().expect("an output layer");
            let hidden = &network.hidden.last().expect("a hidden layer").rows[..batch.len() * output.weights.stride];
            network.top_k.run(output.weights.weights(), output.weights.stride, &output.bias.b, hidden, k)
        }))
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        let (network, average) = (loaded(&mut self.network)?, &mut self.average);
        self.pool.install(|| network.settle_average(average));
        if let Some(average) = average.parameters() {
            return Ok(average);
        }
        let first = std::iter::once(self.pool.install(|| network.input.layer()));
        Ok(Parameters { layers: first.chain(network.layers.iter().map(NeuronLayer::to_layer)).collect() })
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse {
            host_bytes: self.average.bytes() + self.network.as_ref().map_or(0, Network::bytes),
            device_bytes: 0,
        }
    }
}

//! `dense-gpu`: dense training in WGSL compute shaders (`shaders/`), the strongest GPU baseline we know how to write.
//!
//! A step never waits for the host. The batch is packed into one buffer; then, all on the device:
//!
//! 1. **forward**: sparse gather (or matrix product) into the first hidden layer, matrix products up to the logits.
//!    Logits lie label by label, so that a window of output weights is a window of logits; the kernel's epilogue
//!    leaves row maxima and exponential sums, so softmax needs no pass of its own;
//! 2. **backward**: the gradient of the hidden layer, split over labels and summed in a fixed order;
//! 3. **update**: weight gradients that stay in registers, with Adam in the epilogue. Softmax is applied to the logits
//!    as they are loaded, and the few targets of a sparse label list are taken off as extra columns of the product.
//!
//! Every sum has a fixed order: the same batches give the same bits on the same adapter. Matrices larger than a
//! binding may be lie in windows of whole rows, each in buffers of its own.

mod average;
mod cost;
mod gpu;
mod hashed;
mod kernels;
mod matrix;
mod options;
mod pack;
mod plan;
mod probe;
mod sample;
#[cfg(test)]
mod tests;
mod tune;

pub use gpu::{AdapterSummary, adapters};
pub use kernels::validate_shaders;
pub use probe::{Roofline, roofline};

use super::common::average_note;
use super::{ActiveStats, Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, Phase, StepStats, TopK};
use crate::data::{Batch, Inputs};
use crate::network::{Layer, Order, Parameters};
use crate::selection::HashedSettings;
use average::Average;
use gpu::Gpu;
use hashed::Hashed;
use kernels::{Kernel, Kernels};
use options::Options;
use pack::{Packer, Purpose};
use plan::{Counts, Dispatch, Feed, LOSS_SLOTS, Plan, State};
use rayon::prelude::*;
use sample::Sampler;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Steps that may be queued on the device before `step` waits.
const IN_FLIGHT: usize = 3;

/// Labels in a chunk of the best-k search.
const TOP_K_CHUNK: usize = 4096;

/// Share of the labels in the set of `lsh-gpu`.
const DEFAULT_SET: f64 = 0.05;

/// Builds the engine.
///
/// Options: `precision` (`"f32"`, or `"f16"` for 16-bit output weights and logits), `matrix-units` (false keeps f16
/// products off them), `tile` (`"128x128x16"`; measured and chosen otherwise), `sampled` (`0.05`: softmax over that share
/// of the labels in training, drawn anew every step and shared by the batch), `average` (32: the average of the weights
/// after every 32nd step is evaluated in place of the last ones; f32 only), `upload-dense-labels` (see
/// [`build_as_published`]) and `max-binding-bytes` (an upper bound on one binding, to test windows).
///
/// # Errors
/// [`EngineError::Unavailable`] without a usable adapter.
pub fn build(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(construct(settings)?))
}

fn construct(settings: &EngineSettings) -> Result<DenseGpu, EngineError> {
    let options = Options::read(&settings.options)?;
    let gpu = Arc::new(Gpu::open(settings.allow_software)?);
    let (kernels, notes) = tune::choose(&gpu, settings, &options)?;
    let clock = if gpu.timestamps { Some(Clock::new(&gpu)?) } else { None };
    let mut engine = DenseGpu::new(gpu, settings.clone(), kernels, clock, &options);
    engine.notes = notes;
    Ok(engine)
}

/// Builds `lsh-gpu`: softmax over a set of neurons shared by the batch (its true labels, what collides
/// with the batch most often in hash tables on the host, and uniform ones where that is too little), fetched, computed and updated on the device.
///
/// What it pays that `dense-gpu` does not: the device waits while hidden activations go to the host and are hashed
/// there, every step; output weights go to the host at every rebuild. Both are within the device clock, as `select`
/// and `rebuild`. Softmax is over the set as if there were nothing else; logits are not corrected.
///
/// Options: those of [`build`] without `precision` and `upload-dense-labels`; `sampled` is the size of the set as a
/// share of L, 0.05 if not given; `hashed` holds tables, retrieval and rebuilds as for `lsh-cpu`.
///
/// # Errors
/// As [`build`].
pub fn build_lsh(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    let mut settings = settings.clone();
    let hashed: HashedSettings = match settings.options.remove("hashed") {
        Some(table) => table
            .try_into()
            .map_err(|error| EngineError::Settings(format!("[engine.options.hashed]: {}", error.message())))?,
        None => HashedSettings::default(),
    };
    settings.options.entry("sampled").or_insert_with(|| DEFAULT_SET.into());
    let mut engine = construct(&settings)?;
    let size = engine.sampler.as_ref().map_or(settings.shape.labels, Sampler::size);
    engine.hashed = Some((Hashed::new(&hashed, &settings, size)?, hashed));
    Ok(Box::new(engine))
}

/// Builds the engine with the handicap of SLIDE's published GPU baseline: every step, the host fills a dense B x L label
/// matrix and sends it to the device, where the loss is taken from it. Everything else is as fast as in [`build`]; the
/// gradient still takes its targets from the list, so the handicap is that of feeding alone.
///
/// # Errors
/// As [`build`].
pub fn build_as_published(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    let mut settings = settings.clone();
    settings.options.insert("upload-dense-labels".into(), true.into());
    build(&settings)
}

/// The engine; see the module.
struct DenseGpu {
    settings: EngineSettings,
    max_binding: u64,
    dense_labels: bool,
    sampler: Option<Sampler>,
    /// Hash tables that fill the sample, with their settings: `lsh-gpu`.
    hashed: Option<(Hashed, HashedSettings)>,
    /// What they yielded for the batch in work.
    wanted: Vec<u32>,
    /// What was tried when kernels were chosen.
    notes: Vec<(String, String)>,
    gpu: Arc<Gpu>,
    kernels: Kernels,
    clock: Option<Clock>,
    state: Option<State>,
    /// Steps between snapshots, where weights are averaged, and their average.
    average_every: Option<u64>,
    average: Option<Average>,
    /// Dispatches for dense (true) or sparse input.
    plan: Option<(bool, Plan)>,
    packer: Packer,
    top_k: HashMap<usize, Kernel>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    /// Steps since `load`.
    time: u64,
    /// Since the last `finish`; `true_labels` counts those in the samples.
    stats: StepStats,
    true_labels: f64,
    retrieved: f64,
    queued_since: Option<Instant>,
}

/// Timestamps at the ends of the three passes of a step, summed on the device.
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    ticks: wgpu::Buffer,
    add: Dispatch,
}

impl Clock {
    const PASSES: usize = 3;

    fn new(gpu: &Gpu) -> Result<Self, EngineError> {
        use wgpu::BufferUsages as Usage;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("passes"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * Self::PASSES as u32,
        });
        let bytes = 2 * Self::PASSES as u64 * 8;
        let resolved = gpu.buffer("timestamps", bytes, Usage::QUERY_RESOLVE | Usage::STORAGE)?;
        let ticks = gpu.storage("ticks", (Self::PASSES as u64 + 1) * 8)?;
        let add = Dispatch::new(gpu, &Kernel::clock(gpu)?, &[&resolved, &ticks], |_| [1, 1, 1]);
        Ok(Self { queries, resolved, ticks, add })
    }

    fn writes(&self, pass: usize) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * pass as u32),
            end_of_pass_write_index: Some(2 * pass as u32 + 1),
        }
    }
}

fn not_loaded() -> EngineError {
    EngineError::Failed("dense-gpu was asked to compute before parameters were loaded".into())
}

impl DenseGpu {
    fn new(gpu: Arc<Gpu>, settings: EngineSettings, kernels: Kernels, clock: Option<Clock>, options: &Options) -> Self {
        Self {
            max_binding: options.max_binding.min(gpu.limits.max_storage_buffer_binding_size),
            dense_labels: options.dense_labels,
            sampler: options.sampled.map(|share| Sampler::new(settings.shape.labels, share, settings.seed)),
            hashed: None,
            wanted: Vec::new(),
            notes: Vec::new(),
            settings,
            kernels,
            clock,
            gpu,
            state: None,
            average_every: options.average,
            average: None,
            plan: None,
            packer: Packer::default(),
            top_k: HashMap::new(),
            in_flight: VecDeque::new(),
            time: 0,
            stats: StepStats::default(),
            true_labels: 0.0,
            retrieved: 0.0,
            queued_since: None,
        }
    }

    /// Packs the samples of a batch, sends them to the device and binds dispatches anew where buffers grew.
    fn stage(&mut self, batch: &Batch, rows: std::ops::Range<usize>, training: bool) -> Result<(), EngineError> {
        let state = self.state.as_mut().ok_or_else(not_loaded)?;
        let dense = matches!(batch.inputs, Inputs::Dense { .. });
        let purpose = if !training {
            Purpose::Predict
        } else if let Some(sampler) = &mut self.sampler {
            sampler.draw(batch, &self.wanted)?;
            Purpose::Train { sample: Some(&sampler.chosen) }
        } else {
            Purpose::Train { sample: None }
        };
        self.packer.pack(batch, rows, &state.shape, &state.input_windows(), state.capacity, purpose)?;
        let changed = state.reserve(&self.gpu, self.packer.words.len(), dense)?;
        if changed || self.plan.as_ref().is_none_or(|(kind, _)| *kind != dense) {
            let plan = Plan::new(&self.gpu, &self.kernels, state, dense, self.settings.training.input_rows)?;
            self.plan = Some((dense, plan));
        }
        let queue = &self.gpu.queue;
        queue.write_buffer(&state.head, 0, bytemuck::bytes_of(&self.packer.head));
        queue.write_buffer(&state.batch, 0, bytemuck::cast_slice(&self.packer.words));
        if let (true, Some(x)) = (dense, &state.x) {
            queue.write_buffer(x, 0, bytemuck::cast_slice(&self.packer.dense));
        }
        if let (true, Some(labels)) = (training, &state.dense_labels) {
            for (w, buffer) in state.output.layer.weights.windows.iter().zip(&labels.windows) {
                let matrix = pack::dense_labels(batch, w.first, w.rows, state.capacity);
                queue.write_buffer(buffer, 0, bytemuck::cast_slice(&matrix));
            }
        }
        Ok(())
    }

    /// Finds the neurons of a batch in the hash tables; rebuilds them first where they are due.
    fn retrieve(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if self.hashed.is_none() {
            return Ok(());
        }
        // Steps before this one have a clock of their own.
        self.gpu.wait(None)?;
        self.in_flight.clear();
        let started = Instant::now();
        self.stage(batch, 0..batch.len(), false)?;
        let counts = Counts { samples: self.packer.head.samples, touched: &self.packer.touched };
        let (Some(state), Some((_, plan)), Some((hashed, _))) = (&self.state, &self.plan, &mut self.hashed) else {
            return Err(not_loaded());
        };
        let Some((activations, stride)) = state.last_activations() else { return Err(not_loaded()) };
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            plan.hidden.iter().for_each(|dispatch| dispatch.encode(&mut pass, &counts));
        }
        self.gpu.queue.submit([encoder.finish()]);
        let words = self.gpu.download(activations, (batch.len() * stride * 4) as u64)?;
        let hidden = started.elapsed();

        let started = Instant::now();
        if hashed.wants_weights(self.time) {
            let output = &state.output.layer;
            let mut bias = Vec::with_capacity(self.settings.shape.labels);
            for part in &output.biases {
                bias.extend(part.download(&self.gpu)?);
            }
            hashed.rebuild(self.time, &output.weights.download(&self.gpu)?, &bias);
        }
        let rebuild = started.elapsed();

        let started = Instant::now();
        self.wanted.clear();
        self.wanted.extend(hashed.choose(self.time, batch, bytemuck::cast_slice(&words), stride));
        self.stats.phases[Phase::Select as usize] += hidden + started.elapsed();
        self.stats.phases[Phase::Rebuild as usize] += rebuild;
        Ok(())
    }

    /// Puts the average of the weights in their place, where there is one, or the weights back in theirs.
    fn show(&mut self, average: bool) {
        let counts = Counts { samples: self.packer.head.samples, touched: &self.packer.touched };
        if let Some(own) = &mut self.average {
            own.show(&self.gpu, average, &counts);
        }
    }

    fn counts(&self) -> Counts<'_> {
        Counts { samples: self.packer.head.samples, touched: &self.packer.touched }
    }

    fn encode_step(&self, plan: &Plan) -> wgpu::CommandBuffer {
        let counts = self.counts();
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let snapshot =
            self.average.as_ref().filter(|_| self.packer.head.snapshot > 0.0).map_or(&[][..], |average| &average.take);
        let phases: [&[&[Dispatch]]; Clock::PASSES] = [
            &[&plan.hidden, plan.sampled.as_ref().unwrap_or(&plan.logits), &plan.softmax],
            &[&plan.backward],
            &[&plan.update, snapshot],
        ];
        for (index, lists) in phases.into_iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: self.clock.as_ref().map(|clock| clock.writes(index)),
            });
            for dispatch in lists.iter().copied().flatten() {
                dispatch.encode(&mut pass, &counts);
            }
        }
        if let Some(clock) = &self.clock {
            encoder.resolve_query_set(&clock.queries, 0..2 * Clock::PASSES as u32, &clock.resolved, 0);
            clock.add.encode(&mut encoder.begin_compute_pass(&Default::default()), &counts);
        }
        encoder.finish()
    }

    /// The best k of `rows` of a batch, appended to `out`.
    fn predict_rows(
        &mut self,
        batch: &Batch,
        rows: std::ops::Range<usize>,
        k: usize,
        out: &mut TopK,
    ) -> Result<(), EngineError> {
        self.show(true);
        self.stage(batch, rows.clone(), false)?;
        if !self.top_k.contains_key(&k) {
            self.top_k.insert(k, Kernel::top_k(&self.gpu, self.kernels.precision, k)?);
        }
        let kernel = &self.top_k[&k];
        let (state, plan) = match (&self.state, &self.plan) {
            (Some(state), Some((_, plan))) => (state, plan),
            _ => return Err(not_loaded()),
        };
        let windows = &state.output.layer.weights.windows;
        let lists_of = |labels: usize| 4 * labels.div_ceil(TOP_K_CHUNK);
        let lists: usize = windows.iter().map(|w| lists_of(w.rows)).sum();
        let bytes = (lists * k * state.capacity * 8) as u64;
        let found = self.gpu.storage("best labels", bytes)?;
        let mut dispatches = Vec::new();
        let mut first_list = 0;
        for (w, z) in windows.iter().zip(&state.output.logits) {
            let dims = [w.first, w.rows, state.capacity, TOP_K_CHUNK, first_list].map(|dim| dim as u32);
            let dims = self.gpu.uniform("topk", &dims)?;
            let chunks = w.rows.div_ceil(TOP_K_CHUNK) as u32;
            let buffers = [&state.head, &dims, z, &found];
            dispatches.push(Dispatch::new(&self.gpu, kernel, &buffers, move |c| [chunks, c.samples.div_ceil(64), 1]));
            self.gpu.release(&dims);
            first_list += lists_of(w.rows);
        }
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let counts = self.counts();
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for dispatch in plan.hidden.iter().chain(&plan.logits).chain(&dispatches) {
                dispatch.encode(&mut pass, &counts);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
        let words = self.gpu.download(&found, bytes)?;
        self.gpu.release(&found);

        let capacity = state.capacity;
        let best: Vec<Vec<(f32, u32)>> = (0..rows.len())
            .into_par_iter()
            .map(|b| {
                let entries = (0..lists * k).map(|entry| {
                    let at = 2 * (entry * capacity + b);
                    (f32::from_bits(words[at + 1]), words[at])
                });
                let mut entries: Vec<_> = entries.filter(|&(_, label)| label != u32::MAX).collect();
                entries.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                entries.truncate(k);
                entries
            })
            .collect();
        for row in best {
            if row.len() < k {
                return Err(EngineError::Failed("logits are not numbers: the training has diverged".into()));
            }
            out.labels.extend(row.iter().map(|entry| entry.1));
            out.scores.extend(row.iter().map(|entry| entry.0));
        }
        Ok(())
    }
}

impl Engine for DenseGpu {
    fn describe(&self) -> EngineInfo {
        let adapter = &self.gpu.adapter;
        let tile = self.kernels.output_tile;
        let mut notes = vec![
            ("backend".into(), adapter.backend.clone()),
            ("driver".into(), adapter.driver.clone()),
            ("software".into(), adapter.software.to_string()),
            ("timestamps".into(), self.gpu.timestamps.to_string()),
            ("tile".into(), tile.to_string()),
        ];
        notes.extend(self.notes.clone());
        notes.extend(average_note(self.average_every.unwrap_or(0)));
        if let Some(sampler) = &self.sampler {
            notes.push(("softmax over".into(), format!("{} sampled labels", sampler.size())));
        }
        let name = match &self.hashed {
            Some(_) => "lsh-gpu",
            None if self.dense_labels => "dense-gpu:as-published",
            None => "dense-gpu",
        };
        EngineInfo {
            name: name.into(),
            device: adapter.name.clone(),
            precision: self.kernels.precision.to_string(),
            threads: self.hashed.as_ref().map_or(1, |(hashed, _)| hashed.threads()),
            notes,
        }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        let shape = &self.settings.shape;
        let widths: Vec<_> = initial.layers.iter().map(|layer| (layer.inputs, layer.outputs)).collect();
        if widths != shape.layers() || shape.hidden.is_empty() {
            return Err(EngineError::Settings("the parameters do not have the network's shape".into()));
        }
        if let (Some((hashed, options)), Some(sampler)) = (&mut self.hashed, &self.sampler) {
            *hashed = Hashed::new(options, &self.settings, sampler.size())?;
        }
        // Give the old memory back before asking for the new.
        (self.plan, self.state, self.average) = (None, None, None);
        self.in_flight.clear();
        self.gpu.wait(None)?;
        self.gpu.forget();
        let capacity = self.settings.training.batch.max(1).next_multiple_of(4);
        let (gpu, kernels) = (&self.gpu, &self.kernels);
        let feed = Feed {
            limit: self.max_binding,
            dense_labels: self.dense_labels,
            sample: self.sampler.as_ref().map(Sampler::size),
        };
        let state = State::new(gpu, kernels, shape, initial, capacity, feed)?;
        self.average = self.average_every.map(|every| Average::new(gpu, kernels, &state, every)).transpose()?;
        self.state = Some(state);
        (self.time, self.stats, self.queued_since) = (0, StepStats::default(), None);
        self.gpu.wait(None)
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let samples = batch.len();
        if samples == 0 {
            return Ok(());
        }
        if samples > self.settings.training.batch {
            return Err(EngineError::Settings(format!(
                "a batch of {samples} samples was given to an engine built for {}",
                self.settings.training.batch
            )));
        }
        self.queued_since.get_or_insert_with(Instant::now);
        self.show(false);
        self.retrieve(batch)?;
        let started = Instant::now();
        let head = &mut self.packer.head;
        head.set_adam(self.settings.training.adam_step(self.time + 1));
        head.time = (self.time + 1) as u32;
        head.snapshot = self.average.as_mut().and_then(|average| average.due(self.time + 1)).unwrap_or(0.0);
        head.slot = (self.stats.steps % LOSS_SLOTS as u64) as u32;
        self.stage(batch, 0..samples, true)?;
        let Some((_, plan)) = &self.plan else { return Err(not_loaded()) };
        let commands = self.encode_step(plan);
        self.in_flight.push_back(self.gpu.queue.submit([commands]));
        self.time += 1;

        let input = match &batch.inputs {
            Inputs::Sparse { indices, .. } => Some((indices.len(), self.packer.touched.iter().sum::<u32>() as usize)),
            Inputs::Dense { .. } => None,
        };
        let mut shape = self.settings.shape.clone();
        if let Some(sampler) = &self.sampler {
            shape.labels = sampler.size();
            self.true_labels += sampler.true_labels as f64;
            self.retrieved += sampler.wanted as f64;
        }
        let cost = cost::step_cost(&shape, samples, input, self.settings.training.input_rows);
        self.stats.steps += 1;
        self.stats.samples += samples as u64;
        self.stats.flops += cost.flops;
        self.stats.bytes += cost.bytes;
        self.stats.phases[Phase::Upload as usize] += started.elapsed();
        if self.in_flight.len() > IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            self.gpu.wait(oldest)?;
        }
        self.gpu.check()
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        let Some(state) = &self.state else { return Err(not_loaded()) };
        self.gpu.wait(None)?;
        self.in_flight.clear();
        let mut stats = std::mem::take(&mut self.stats);
        let Some(since) = self.queued_since.take() else { return Ok(stats) };
        stats.device_time = since.elapsed();
        let true_labels = std::mem::take(&mut self.true_labels) / stats.steps as f64;
        let retrieved = std::mem::take(&mut self.retrieved) / stats.steps as f64;
        stats.active = self.sampler.as_ref().map(|sampler| {
            let size = sampler.size() as f64;
            ActiveStats {
                mean: size,
                p5: size,
                p95: size,
                labels: true_labels,
                // Chosen by hashing, or, without it, by chance.
                selected: if self.hashed.is_some() { retrieved } else { size - true_labels },
                fill: if self.hashed.is_some() { size - true_labels - retrieved } else { 0.0 },
                distinct: size,
                ..ActiveStats::default()
            }
        });
        let losses = self.gpu.download(&state.totals, state.totals.size())?;
        stats.loss = losses.iter().map(|&bits| f64::from(f32::from_bits(bits))).sum::<f64>() / stats.samples as f64;
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&state.totals, 0, None);
        if let Some(clock) = &self.clock {
            let period = f64::from(self.gpu.queue.get_timestamp_period());
            let words = self.gpu.download(&clock.ticks, clock.ticks.size())?;
            let times: Vec<Duration> = words
                .chunks_exact(2)
                .map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32)
                .map(|ticks| Duration::from_nanos((ticks as f64 * period) as u64))
                .collect();
            for (phase, time) in [Phase::Forward, Phase::Backward, Phase::Update].into_iter().zip(&times) {
                stats.phases[phase as usize] = *time;
            }
            let host = [Phase::Select, Phase::Rebuild].map(|phase| stats.phases[phase as usize]);
            stats.device_time = times[Clock::PASSES] + host.iter().sum::<Duration>();
            encoder.clear_buffer(&clock.ticks, 0, None);
        }
        self.gpu.queue.submit([encoder.finish()]);
        Ok(stats)
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        let k = k.min(self.settings.shape.labels);
        let mut out = TopK { k, ..TopK::default() };
        let capacity = self.settings.training.batch.max(1);
        for first in (0..batch.len()).step_by(capacity) {
            if k > 0 {
                self.predict_rows(batch, first..batch.len().min(first + capacity), k, &mut out)?;
            }
        }
        Ok(out)
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        self.show(true);
        let state = self.state.as_ref().ok_or_else(not_loaded)?;
        let layers = state.hidden.iter().chain([&state.output.layer]).zip(state.shape.layers()).enumerate();
        let layers = layers.map(|(index, (layer, (inputs, outputs)))| {
            let mut bias = Vec::with_capacity(outputs);
            for part in &layer.biases {
                bias.extend(part.download(&self.gpu)?);
            }
            let order = if index == 0 { Order::InputMajor } else { Order::NeuronMajor };
            Ok(Layer { inputs, outputs, order, weights: layer.weights.download(&self.gpu)?, bias })
        });
        Ok(Parameters { layers: layers.collect::<Result<_, EngineError>>()? })
    }

    fn memory(&self) -> MemoryUse {
        let host = self.packer.words.capacity() * 4 + self.packer.dense.capacity() * 4;
        let host = host as u64 + self.hashed.as_ref().map_or(0, |(hashed, _)| hashed.bytes());
        MemoryUse { host_bytes: host, device_bytes: self.gpu.allocated() }
    }
}

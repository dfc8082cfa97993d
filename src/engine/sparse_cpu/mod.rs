//! The sparse engine: SLIDE on the CPU. Every layer above the first computes only its active neurons, chosen by an
//! exchangeable [`Selection`]; with LSH it is called `lsh-cpu`, with another selection `sparse-cpu:uniform` and so on.
//!
//! Faithful to the algorithm (SLIDE, MLSys 2020, sections 3 and 4): hash the layer's input, take the union of the
//! buckets it falls into, force the true labels active in training, softmax over the active set alone, gradients and
//! Adam for active neurons alone, rebuild the tables on a schedule. Where it departs from the authors' program: a batch
//! is processed neuron by neuron rather than sample by sample, which computes the same sums (in a fixed order) while
//! reading each weight row once a pass; see [`layer`].

mod layer;
mod non_zeros;
mod options;
mod preset;
mod recall;
mod shared;
mod targets;
mod thinning;

use self::layer::SparseLayer;
use self::options::{Options, Output};
use self::recall::Recall;
use self::shared::{Products, Shared};
use self::targets::Targets;
use self::thinning::Thinning;
use super::common::{average_note, huge_pages_note};
use super::cpu::{Average, InputLayer, Matrix, Sums, Update, each_step};
use super::exact_top_k::ExactTopK;
use super::{
    ActiveStats, Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, NextBatch, Phase, StepStats, TopK,
};
use crate::data::Batch;
use crate::kernels::memory::Aligned;
use crate::kernels::{Kernels, choose, force, kernels};
use crate::network::{self, Order, Parameters, Rows};
use crate::selection::{ActiveSets, All, Queries, Selection, SharedSelection};
use crate::threads::awake;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::options::{
    build_all, build_best, build_frequency, build_log_uniform, build_lsh, build_top_k, build_uniform,
};

/// The sparse engine.
pub struct SparseCpu {
    name: &'static str,
    settings: EngineSettings,
    options: Options,
    /// Every thread of it computes with `kernels`.
    pool: Arc<rayon::ThreadPool>,
    kernels: &'static Kernels,
    net: Option<Net>,
    exact: ExactTopK,
    average: Average,
    recall: Recall,
    step: u64,
    totals: Totals,
}

/// Layers, their selections and work space.
struct Net {
    input: InputLayer,
    /// Rows of the first layer that the last step moved.
    touched: usize,
    layers: Vec<SparseLayer>,
    selections: Vec<Box<dyn Selection>>,
    sets: Vec<ActiveSets>,
    /// Input of each layer above the first, `B x stride`, and its gradient.
    x: Vec<Aligned<f32>>,
    dx: Vec<Aligned<f32>>,
    targets: Targets,
    /// In place of the output layer's own selection when training: one set for the whole batch.
    shared: Option<(SharedSelection, Shared)>,
    /// Whether output neurons that were not active are updated as well.
    dense_rows: bool,
    /// Whether hidden layers above the first skip neurons.
    skips_hidden: bool,
}

/// What a forward pass is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Selected neurons and the true labels.
    Training,
    /// Selected neurons.
    Hashed,
    /// Every neuron.
    Dense,
}

/// Time by phase.
type Phases = [Duration; Phase::ALL.len()];

/// Sums since the last `finish`.
#[derive(Default)]
struct Totals {
    stats: StepStats,
    loss: f64,
    active: Vec<u32>,
    labels: u64,
    selected: u64,
    fill: u64,
    candidates: u64,
    distinct: u64,
    /// Neurons of the output layer in the backward pass; none where these are the active ones.
    backward: Option<u64>,
    /// Active neurons of hidden layers; none where these compute all.
    hidden: Option<u64>,
}

impl SparseCpu {
    fn new(name: &'static str, settings: &EngineSettings, options: Options) -> Result<Self, EngineError> {
        let kernels = match &options.simd {
            None => kernels(),
            Some(name) => {
                choose(Some(name)).map_err(|e| EngineError::Settings(format!("[engine.options]: simd: {e}")))?
            }
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(settings.threads)
            .start_handler(|_| force(kernels))
            .build()
            .map_err(|e| EngineError::Failed(format!("cannot start {} threads: {e}", settings.threads)))?;
        let recall = Recall::new(options.recall_every, options.recall_at);
        Ok(Self {
            recall,
            average: Average::default(),
            name,
            settings: settings.clone(),
            options,
            pool: Arc::new(pool),
            kernels,
            net: None,
            exact: ExactTopK::default(),
            step: 0,
            totals: Totals::default(),
        })
    }

    /// One optimiser step, on a thread of the pool.
    fn train(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let started = Instant::now();
        let step = self.step;
        let training = &self.settings.training;
        let update = Update {
            optimiser: self.options.optimiser,
            adam: training.adam_step(step + 1),
            rate: training.learning_rate,
            momentum: self.options.momentum,
        };
        let net = self.net.as_mut().ok_or_else(no_parameters)?;
        let (average, phases) = (&mut self.average, &mut self.totals.stats.phases);
        let loss = net.train(batch, step, &update, average, &mut self.recall, phases);
        self.step += 1;
        let lists_last = net.shared.is_some() && !net.dense_rows;
        let (last, layers) = (net.layers.len() - 1, net.layers.iter().map(|layer| (&layer.weights, &layer.bias)));
        average.take(self.step, &mut net.input, layers, |layer| layer == last && lists_last);
        self.totals.add(net, batch, loss, started.elapsed().saturating_sub(self.recall.take_time()));
        Ok(())
    }
}

impl Net {
    fn new(settings: &EngineSettings, options: &Options, initial: &Parameters) -> Result<Self, EngineError> {
        let layers: Vec<_> = initial.layers[1..]
            .iter()
            .enumerate()
            .map(|(index, layer)| SparseLayer::new(layer, index > 0 && options.skips_hidden(), options))
            .collect::<Result<_, _>>()?;
        let mut selections = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let below = layers.len() - 1 - index;
            selections.push(options.selection(settings, below, layer.neurons())?);
        }
        let output = layers.last().expect("an output layer").neurons();
        let shared = options.shared(settings, output)?.map(|selection| {
            let thinning = (options.backward > 0).then(|| Thinning::new(options.backward, settings.seed));
            (selection, Shared::new(options.products, thinning))
        });
        Ok(Self {
            shared,
            dense_rows: options.output_rows == Rows::Dense,
            skips_hidden: options.skips_hidden(),
            input: InputLayer::new(&initial.layers[0], &settings.training, options.storage())?,
            touched: 0,
            sets: layers.iter().map(|layer| ActiveSets::new(layer.weights.rows)).collect(),
            x: layers.iter().map(|_| Aligned::default()).collect(),
            dx: layers.iter().map(|_| Aligned::default()).collect(),
            layers,
            selections,
            targets: Targets::default(),
        })
    }

    /// Forward pass up to the logits of the output layer's active neurons.
    fn forward(&mut self, batch: &Batch, step: u64, pass: Pass, phases: &mut Phases) {
        self.hidden(batch, step, pass, phases);
        self.layer(batch, self.layers.len() - 1, step, pass, phases);
    }

    /// Forward pass up to the input of the output layer.
    fn hidden(&mut self, batch: &Batch, step: u64, pass: Pass, phases: &mut Phases) {
        let mut clock = PhaseClock::new(phases);
        self.x[0].resize(batch.len() * self.layers[0].weights.stride, 0.0);
        match pass {
            Pass::Training => self.input.forward(batch, &mut self.x[0]),
            Pass::Hashed | Pass::Dense => self.input.predict(batch, &mut self.x[0]),
        }
        clock.lap(Phase::Forward);
        for index in 0..self.layers.len() - 1 {
            self.layer(batch, index, step, pass, phases);
        }
    }

    /// Forward pass of one layer above the first.
    fn layer(&mut self, batch: &Batch, index: usize, step: u64, pass: Pass, phases: &mut Phases) {
        let mut clock = PhaseClock::new(phases);
        let (samples, training) = (batch.len(), pass == Pass::Training);
        let output = index + 1 == self.layers.len();
        let layer = &mut self.layers[index];
        let (selection, sets) = (&mut self.selections[index], &mut self.sets[index]);
        if training && selection.prepare(step, layer.neurons()) {
            clock.lap(Phase::Rebuild);
        }
        sets.reset(samples);
        if training && output {
            sets.for_each(|sample, marks, counts| {
                marks.mark_all(batch.labels(sample));
                counts.labels = marks.take_added();
            });
        }
        let queries = Queries { x: &self.x[index], width: layer.weights.width, stride: layer.weights.stride };
        match pass {
            Pass::Dense => All.select(step, queries, layer.neurons(), sets),
            Pass::Training | Pass::Hashed => selection.select(step, queries, layer.neurons(), sets),
        }
        clock.lap(Phase::Select);
        layer.forward(queries, sets, selection.corrections().filter(|_| training));
        if !output {
            let stride = self.layers[index + 1].weights.stride;
            self.x[index + 1].resize(samples * stride, 0.0);
            let (layer, y) = (&self.layers[index], &mut self.x[index + 1]);
            layer.relu_into(y, stride);
        }
        clock.lap(Phase::Forward);
    }

    /// As [`Net::layer`] for the output layer with a shared set: selection, forward pass and softmax. Returns the loss.
    fn shared_forward(&mut self, batch: &Batch, step: u64, phases: &mut Phases) -> f64 {
        let mut clock = PhaseClock::new(phases);
        let Self { shared, layers, x, targets, .. } = self;
        let (selection, shared) = shared.as_mut().expect("a shared selection");
        let (layer, x) = (layers.last().expect("an output layer"), x.last().expect("an output layer"));
        if selection.prepare(step, layer.neurons()) {
            clock.lap(Phase::Rebuild);
        }
        let queries = Queries { x, width: layer.weights.width, stride: layer.weights.stride };
        let mut take_inputs = || shared.take_inputs(batch, x, layer.weights.stride);
        if selection.asks() {
            rayon::join(|| selection.choose(queries), take_inputs);
        } else {
            take_inputs();
        }
        clock.lap(Phase::Select);
        let loss = shared.forward(&layer.weights, &layer.bias, selection, targets.list());
        clock.lap(Phase::Forward);
        loss
    }

    /// One optimiser step; returns the summed loss.
    fn train(
        &mut self,
        batch: &Batch,
        step: u64,
        update: &Update,
        average: &mut Average,
        recall: &mut Recall,
        phases: &mut Phases,
    ) -> f64 {
        // Sorting the labels keeps one thread busy, the first layer the others.
        let (mut targets, mut shared) = (std::mem::take(&mut self.targets), self.shared.take());
        rayon::join(
            || self.hidden(batch, step, Pass::Training, phases),
            || {
                targets.take(batch);
                if let Some((selection, _)) = &mut shared {
                    selection.begin(step, batch);
                }
            },
        );
        (self.targets, self.shared) = (targets, shared);
        let last = self.layers.len() - 1;
        let loss = if self.shared.is_some() {
            let loss = self.shared_forward(batch, step, phases);
            if let Some((selection, _)) = self.shared.as_ref().filter(|_| recall.due(step)) {
                let active = |_, neuron: u32| selection.neurons.binary_search(&neuron).is_ok();
                recall.measure(&self.layers[last], &self.x[last], batch, active);
            }
            loss
        } else {
            self.layer(batch, last, step, Pass::Training, phases);
            if recall.due(step) {
                let sets = &self.sets[last];
                recall
                    .measure(&self.layers[last], &self.x[last], batch, |sample, neuron| sets.contains(sample, neuron));
            }
            self.layers[last].softmax_gradient(batch.len(), self.targets.list(), self.selections[last].corrections())
        };
        self.backward(batch, update, average, phases);
        loss
    }

    /// Brings the averages of all rows up to date.
    fn settle_average(&mut self, average: &mut Average) {
        average.settle(&self.input, self.layers.iter().map(|layer| &layer.weights));
    }

    /// Backward pass and updates; the gradients of the output layer's logits are at hand.
    fn backward(&mut self, batch: &Batch, step: &Update, average: &mut Average, phases: &mut Phases) {
        let mut clock = PhaseClock::new(phases);
        let last = self.layers.len() - 1;
        for index in (0..=last).rev() {
            if index < last {
                let (below, above) = self.layers.split_at_mut(index + 1);
                below[index].relu_gradient(&self.dx[index + 1], above[0].weights.stride);
            }
            let layer = &mut self.layers[index];
            let queries = Queries { x: &self.x[index], width: layer.weights.width, stride: layer.weights.stride };
            self.dx[index].resize(self.x[index].len(), 0.0);
            match &mut self.shared {
                Some((selection, shared)) if index == last => {
                    average.moving(last, &layer.weights, &selection.neurons);
                    shared.update(&mut layer.weights, &mut layer.bias, &mut self.dx[index], step);
                    if self.dense_rows {
                        layer.update_others(&selection.neurons, queries, step);
                    }
                }
                _ => layer.update(queries, &mut self.dx[index], step),
            }
        }
        for (dx, x) in self.dx[0].iter_mut().zip(self.x[0].iter()) {
            // Without a branch: it could not be foreseen.
            *dx = if *x > 0.0 { *dx } else { 0.0 };
        }
        average.moving_input(&self.input, batch);
        self.touched = self.input.backward(batch, &self.dx[0], step);
        clock.lap(Phase::Backward);
    }
}

impl Engine for SparseCpu {
    fn describe(&self) -> EngineInfo {
        let mut notes = vec![("kernels".to_string(), self.kernels.name.to_string())];
        if let Some(selection) = self.net.as_ref().and_then(|net| net.selections.last()) {
            notes.extend(selection.notes());
        }
        notes.extend(average_note(self.options.average));
        if let Some(net) = &self.net {
            let matrices = || std::iter::once(&net.input.weights).chain(net.layers.iter().map(|layer| &layer.weights));
            let huge = matrices().map(Matrix::huge_bytes).sum::<Option<usize>>();
            notes.extend(huge_pages_note(huge, matrices().map(Matrix::bytes).sum()));
        }
        if let Some(net) = self.net.as_ref().filter(|_| self.options.sums != Sums::Deterministic) {
            let layers = net.layers.iter().map(SparseLayer::additions);
            let (added, lost) = layers.fold(net.input.additions(), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            notes.push(("lost gradient additions".into(), format!("{lost} of {added}")));
        }
        EngineInfo {
            name: self.name.into(),
            device: "cpu".into(),
            precision: {
                let bf16_products = self.options.shared && self.options.products == Products::Bf16;
                let products = if bf16_products { ", products in bf16" } else { "" };
                let weights = if self.options.precision.bf16_weights() { ", weights in bf16" } else { "" };
                let moments = if self.options.precision.bf16_moments() { ", moments in bf16" } else { "" };
                format!("f32{products}{weights}{moments}{}", self.options.input_state.note())
            },
            threads: self.settings.threads,
            notes,
        }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        let (settings, options) = (&self.settings, &self.options);
        let (net, average) = self.pool.install(|| {
            let mut net = Net::new(settings, options, initial)?;
            for (layer, selection) in net.layers.iter().zip(&mut net.selections) {
                selection.prepare(0, layer.neurons());
            }
            if let Some((selection, _)) = &mut net.shared {
                selection.prepare(0, net.layers.last().expect("an output layer").neurons());
            }
            let layers = net.layers.iter().map(|layer| (&layer.weights, &layer.bias));
            let average = Average::new(options.average, options.huge_pages, &net.input, layers)?;
            Ok::<_, EngineError>((net, average))
        })?;
        self.net = Some(net);
        self.average = average;
        self.step = 0;
        self.totals = Totals::default();
        self.recall.take();
        Ok(())
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let pool = Arc::clone(&self.pool);
        awake(&pool, || self.train(batch))
    }

    fn steps(&mut self, batch: &mut Batch, next: NextBatch<'_>) -> Result<(), EngineError> {
        let pool = Arc::clone(&self.pool);
        awake(&pool, || each_step(batch, next, |batch| self.train(batch)))
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        let started = Instant::now();
        if let Some(net) = &mut self.net {
            let average = &mut self.average;
            self.pool.install(|| {
                net.input.settle();
                net.settle_average(average);
            });
        }
        self.totals.stats.device_time += started.elapsed();
        self.totals.stats.phases[Phase::Backward as usize] += started.elapsed();
        let mut stats = std::mem::take(&mut self.totals).into_stats();
        if let Some(active) = &mut stats.active {
            active.recall = self.recall.take();
        }
        Ok(stats)
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        let step = self.step;
        let net = self.net.as_mut().ok_or_else(no_parameters)?;
        let (exact, average) = (&mut self.exact, &mut self.average);
        Ok(self.pool.install(|| {
            net.settle_average(average);
            if let Some(best) = average.predict(&net.input, exact, batch, k) {
                return best;
            }
            net.hidden(batch, step, Pass::Dense, &mut Phases::default());
            let output = net.layers.last().expect("an output layer");
            let x = net.x.last().expect("an output layer");
            exact.run(output.weights.weights(), output.weights.stride, &output.bias.b, x, k)
        }))
    }

    fn predict_hashed(&mut self, batch: &Batch, k: usize) -> Option<Result<TopK, EngineError>> {
        let step = self.step;
        if self.options.output != Output::Lsh || self.options.shared || self.options.average > 0 {
            return None;
        }
        let Some(net) = self.net.as_mut() else { return Some(Err(no_parameters())) };
        let best = self.pool.install(|| {
            net.forward(batch, step, Pass::Hashed, &mut Phases::default());
            net.layers.last().expect("an output layer").best_active(batch.len(), k)
        });
        let mut top = TopK { k, ..TopK::default() };
        for list in best {
            for rank in 0..k {
                let (label, score) = list.get(rank).copied().unwrap_or((u32::MAX, f32::NEG_INFINITY));
                top.labels.push(label);
                top.scores.push(score);
            }
        }
        Some(Ok(top))
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        let (net, average) = (self.net.as_mut().ok_or_else(no_parameters)?, &mut self.average);
        self.pool.install(|| net.settle_average(average));
        if let Some(average) = average.parameters() {
            return Ok(average);
        }
        let mut layers = vec![self.pool.install(|| net.input.layer())];
        layers.extend(net.layers.iter().map(|layer| network::Layer {
            inputs: layer.weights.width,
            outputs: layer.weights.rows,
            order: Order::NeuronMajor,
            weights: layer.weights.unpadded(),
            bias: layer.bias.b.clone(),
        }));
        Ok(Parameters { layers })
    }

    fn memory(&self) -> MemoryUse {
        let host_bytes = self.net.as_ref().map_or(0, |net| {
            net.input.bytes()
                + net.layers.iter().map(SparseLayer::bytes).sum::<u64>()
                + net.selections.iter().map(|s| s.bytes()).sum::<u64>()
                + net.sets.iter().map(ActiveSets::bytes).sum::<u64>()
                + net.shared.as_ref().map_or(0, |(selection, shared)| selection.bytes() + shared.bytes())
                + net.x.iter().chain(&net.dx).map(|x| 4 * x.capacity() as u64).sum::<u64>()
        });
        MemoryUse { host_bytes: host_bytes + self.average.bytes(), device_bytes: 0 }
    }
}

fn no_parameters() -> EngineError {
    EngineError::Failed("no parameters were loaded".into())
}

/// Attributes time to phases, lap by lap.
struct PhaseClock<'a> {
    phases: &'a mut Phases,
    last: Instant,
}

impl<'a> PhaseClock<'a> {
    fn new(phases: &'a mut Phases) -> Self {
        Self { phases, last: Instant::now() }
    }

    fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        self.phases[phase as usize] += now - self.last;
        self.last = now;
    }
}

impl Totals {
    /// Books one step. FLOPs: two a weight and sample forward, four backward, twelve a weight updated by Adam. Bytes:
    /// an active row is read once forward, and a row that moves is read and written with both moments once backward.
    fn add(&mut self, net: &Net, batch: &Batch, loss: f64, time: Duration) {
        let samples = batch.len();
        self.stats.steps += 1;
        self.stats.samples += samples as u64;
        self.stats.device_time += time;
        self.loss += loss;
        // Of each pass the products and the rows.
        let mut work = |forward: (usize, usize), backward: (usize, usize), weights: &Matrix| {
            let width = weights.width;
            self.stats.flops += (2 * forward.0 + 4 * backward.0 + 12 * backward.1 * width) as f64;
            let (read, moved) = (weights.bytes_per_weight() * forward.1, 2 * weights.bytes_per_state() * backward.1);
            self.stats.bytes += ((read + moved) * width) as f64;
        };
        let last = net.layers.len() - 1;
        for (index, layer) in net.layers.iter().enumerate() {
            match &net.shared {
                Some((_, shared)) if index == last => {
                    let (width, forward) = (layer.weights.width, (samples * shared.neurons(), shared.neurons()));
                    let (pairs, rows) = shared.thinned().unwrap_or(forward);
                    let moved = if net.dense_rows { layer.weights.rows } else { rows };
                    work((forward.0 * width, forward.1), (pairs * width, moved), &layer.weights);
                }
                _ => {
                    let both = (layer.products(), layer.moved());
                    work(both, both, &layer.weights);
                }
            }
        }
        if net.skips_hidden {
            let active =
                net.sets[..last].iter().flat_map(|sets| sets.counts()).map(|counts| u64::from(counts.active()));
            *self.hidden.get_or_insert(0) += active.sum::<u64>();
        }
        let both = (batch.entries() * net.input.weights.width, net.touched);
        work(both, both, &net.input.weights);
        if let Some((selection, shared)) = &net.shared {
            if let Some((pairs, _)) = shared.thinned() {
                *self.backward.get_or_insert(0) += pairs as u64;
            }
            self.active.extend(std::iter::repeat_n(shared.neurons() as u32, samples));
            self.labels += (samples * selection.labels) as u64;
            self.selected += (samples * (shared.neurons() - selection.labels)) as u64;
            self.distinct += shared.neurons() as u64;
            return;
        }
        for counts in net.sets.last().expect("an output layer").counts() {
            self.active.push(counts.active());
            self.labels += u64::from(counts.labels);
            self.selected += u64::from(counts.selected);
            self.fill += u64::from(counts.fill);
            self.candidates += u64::from(counts.candidates);
        }
        self.distinct += net.layers.last().expect("an output layer").distinct() as u64;
    }

    fn into_stats(mut self) -> StepStats {
        let samples = self.stats.samples;
        if samples == 0 {
            return self.stats;
        }
        self.stats.loss = self.loss / samples as f64;
        self.active.sort_unstable();
        let at = |share: f64| f64::from(self.active[((self.active.len() - 1) as f64 * share).round() as usize]);
        let mean = |sum: u64| sum as f64 / samples as f64;
        self.stats.active = Some(ActiveStats {
            mean: mean(self.labels + self.selected + self.fill),
            p5: at(0.05),
            p95: at(0.95),
            labels: mean(self.labels),
            selected: mean(self.selected),
            fill: mean(self.fill),
            candidates: mean(self.candidates),
            distinct: self.distinct as f64 / self.stats.steps as f64,
            recall: None,
            backward: self.backward.map(mean),
            hidden: self.hidden.map(mean),
        });
        self.stats
    }
}

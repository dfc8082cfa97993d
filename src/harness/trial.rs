//! One run: one engine learns one data set from one seed.

use super::clock::Stopwatch;
use super::{Batches, Event, Harness, PeakMemory, Plan, Schedule, Stage, Tally, evaluate};
use crate::data::Batch;
use crate::engine::{Engine, EngineError, EngineSettings, Phase, StepStats};
use crate::network::{Parameters, Shape, Training};
use crate::record::{self, Row};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Least time between two progress events.
const TELL: Duration = Duration::from_millis(100);

/// P@1 by step, as a run's evaluations found it.
pub(super) type Curve = Vec<(u64, f64)>;

/// Runs a plan unless the records show it finished, and records how it went; beside the tally, the curve of a run that
/// finished.
pub(super) fn run(harness: &mut Harness<'_>, plan: &Plan<'_>) -> io::Result<(Tally, Option<Curve>)> {
    let hidden = plan.engine.hidden.as_ref().unwrap_or(&harness.experiment.network.hidden).clone();
    let shape = Shape { inputs: plan.data.inputs, hidden, labels: plan.data.labels };
    let given = &harness.experiment.training;
    let batch = plan.engine.batch.unwrap_or(given.batch);
    let training = Training { batch, learning_rate: plan.rate, ..given.clone() };
    let identity = Row {
        experiment: harness.experiment.id(harness.options.scale),
        dataset: plan.entry.source.clone(),
        fingerprint: format!("{:016x}", plan.data.fingerprint),
        labels: Some(shape.labels as u64),
        engine: plan.engine.label().into(),
        options: serde_json::to_string(&plan.engine.options)?,
        seed: plan.seed,
        threads: plan.threads,
        batch: training.batch,
        learning_rate: plan.rate,
        stage: if plan.stage == Stage::Train { "train" } else { "search" }.into(),
        settings: settings_hash(harness, plan, &training)?,
        status: "ok".into(),
        ..Row::default()
    };
    let (engine, dataset, seed) = (plan.engine.label(), plan.entry.source.as_str(), plan.seed);
    let earlier = || harness.earlier.iter().filter(|row| row.settings == identity.settings && row.seed == plan.seed);
    if earlier().any(ends) {
        let curve = earlier().filter_map(point).collect();
        harness.observer.observe(Event::Resumed { engine, dataset, seed });
        return Ok((Tally { resumed: 1, ..Tally::default() }, Some(curve)));
    }
    let stage = &identity.stage;
    harness.observer.observe(Event::Started { engine, dataset, seed, learning_rate: plan.rate, stage });
    let started = harness.clock.now();
    let (peak, curve) = (PeakMemory::reset(), Curve::new());
    let mut trial = Trial { harness, plan, shape, training, started, peak, row: identity, curve };
    let outcome = catch_unwind(AssertUnwindSafe(|| trial.conduct()))
        .unwrap_or_else(|panic| Err(Stop::Failed(format!("panic: {}", panic_message(&*panic)))));
    let tally = trial.conclude(outcome)?;
    let curve = (tally.finished == 1).then_some(trial.curve);
    harness.observer.observe(Event::Ended);
    Ok((tally, curve))
}

/// Whether a row is the last one of a finished run.
fn ends(row: &Row) -> bool {
    row.status == "ok" && row.evaluation == "full" && row.inference == "dense"
}

/// A row's point of the curve.
fn point(row: &Row) -> Option<(u64, f64)> {
    row.p1.filter(|_| row.inference == "dense").map(|p1| (row.step, p1))
}

/// Equal for runs that differ in nothing but their seed.
fn settings_hash(harness: &Harness<'_>, plan: &Plan<'_>, training: &Training) -> io::Result<String> {
    let run = &harness.experiment.run;
    let everything = serde_json::to_string(&(
        (&harness.experiment.name, harness.options.scale, &harness.options.identity, harness.options.allow_software),
        (&plan.entry.source, plan.data.fingerprint, plan.rows.len(), plan.limits, plan.stage),
        (&harness.experiment.network, training, plan.engine, plan.threads),
        (run.evaluations, run.early_evaluations, plan.judge.sample.len(), plan.judge.all.len()),
    ))?;
    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(everything.as_bytes())))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Why a run came to no good end.
enum Stop {
    Skipped(String),
    Failed(String),
    /// By the user; whether its row is written already.
    Interrupted {
        recorded: bool,
    },
    Sink(io::Error),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Unavailable(reason) => Stop::Skipped(reason),
            error => Stop::Failed(error.to_string()),
        }
    }
}

struct Trial<'t, 'h> {
    harness: &'t mut Harness<'h>,
    plan: &'t Plan<'t>,
    shape: Shape,
    training: Training,
    started: Duration,
    peak: PeakMemory,
    /// What the next row will say.
    row: Row,
    curve: Curve,
}

impl Trial<'_, '_> {
    fn conduct(&mut self) -> Result<(), Stop> {
        let (plan, run) = (self.plan, &self.harness.experiment.run);
        if plan.rows.is_empty() {
            return Err(Stop::Failed("there are no training rows".into()));
        }
        let mut engine = self.set_up()?;
        let engine = &mut *engine;
        let mut batches = Batches::new(&plan.data.train, plan.rows, self.training.batch, plan.seed);
        let per_epoch = batches.per_epoch();
        let schedule = Schedule::new(run.evaluations, per_epoch, run.early_evaluations);
        let by_epochs = plan.limits.epochs.map(|epochs| (epochs * per_epoch as f64).ceil() as u64);
        let last = [plan.limits.steps, by_epochs].into_iter().flatten().min().unwrap_or(u64::MAX);
        let seconds = plan.limits.seconds.map_or(Duration::MAX, Duration::from_secs_f64);
        let mut watch = Stopwatch::new(self.harness.clock);
        let mut batch = Batch::default();

        self.evaluate(engine, &plan.judge.sample, "sample", false)?;
        loop {
            let pause = schedule.after(self.row.step).min(last);
            let mut told = watch.wall();
            watch.start();
            let (row, harness, mut under_way) = (&mut self.row, &mut *self.harness, None);
            let (observer, interrupt) = (&mut *harness.observer, harness.interrupt);
            engine.steps(&mut batch, &mut |batch| {
                let wall = watch.wall();
                if let Some(samples) = under_way {
                    row.step += 1;
                    row.samples += samples;
                    if wall >= told + TELL {
                        told = wall;
                        observer.observe(progress(row, plan.rows.len(), wall, last, seconds));
                    }
                }
                let more = row.step < pause && wall < seconds && !interrupt.load(Ordering::Relaxed);
                under_way = more.then(|| {
                    batches.fill(batch);
                    batch.len() as u64
                });
                more
            })?;
            let stats = engine.finish()?;
            watch.stop();

            self.row.epoch = self.row.samples as f64 / plan.rows.len() as f64;
            self.count(&stats, &watch);
            self.tell(watch.wall(), last, seconds);
            if stats.steps > 0 && !stats.loss.is_finite() {
                let (loss, step, rate) = (stats.loss, self.row.step, plan.rate);
                return Err(Stop::Failed(format!(
                    "diverged: the loss is {loss} at step {step}; try a learning rate below {rate}"
                )));
            }
            let memory = engine.memory();
            self.row.host_bytes = Some(memory.host_bytes);
            self.row.device_bytes = Some(memory.device_bytes);
            if self.harness.interrupted() {
                (self.row.status, self.row.reason) = ("interrupted".into(), self.stopped());
                if stats.steps > 0 {
                    self.evaluate(engine, &plan.judge.sample, "sample", false)?;
                }
                return Err(Stop::Interrupted { recorded: stats.steps > 0 && !plan.judge.sample.is_empty() });
            }
            self.evaluate(engine, &plan.judge.sample, "sample", false)?;
            let reached = plan.limits.target_p1.is_some_and(|target| self.row.p1.is_some_and(|p1| p1 >= target));
            if self.row.step >= last || watch.wall() >= seconds || reached {
                break;
            }
        }
        // The hashed row first: the dense one on everything marks the run as finished.
        self.evaluate(engine, &plan.judge.all, "full", true)?;
        self.evaluate(engine, &plan.judge.all, "full", false)
    }

    /// Builds the engine and gives it the first parameters.
    fn set_up(&mut self) -> Result<Box<dyn Engine>, Stop> {
        let plan = self.plan;
        let settings = EngineSettings {
            shape: self.shape.clone(),
            training: self.training.clone(),
            options: plan.engine.options.clone(),
            threads: plan.threads,
            allow_software: self.harness.options.allow_software,
            seed: plan.seed,
            label_rows: plan.label_rows.clone(),
        };
        let from = self.harness.clock.now();
        let mut engine = (self.harness.build)(&plan.engine.name, &settings)?;
        let built = self.harness.clock.now() - from;
        // Drawn between the two stretches of set-up: it costs every engine the same and is none of its doing.
        let start = plan.engine.start.unwrap_or(plan.seed);
        let initial = Parameters::new(&self.shape, self.harness.experiment.network.init, start);
        let from = self.harness.clock.now();
        engine.load(&initial)?;
        engine.finish()?;
        self.row.setup_s = Some((built + (self.harness.clock.now() - from)).as_secs_f64());
        let info = engine.describe();
        self.row.device = info.device;
        self.row.precision = info.precision;
        self.row.threads = info.threads;
        self.row.software = info.notes.iter().any(|(key, value)| key == "software" && value == "true");
        self.row.notes = info.notes.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("; ");
        Ok(engine)
    }

    /// Takes over what happened since the last row.
    fn count(&mut self, stats: &StepStats, watch: &Stopwatch<'_>) {
        let row = &mut self.row;
        let steps = stats.steps as f64;
        let add = |sum: &mut Option<f64>, time: Duration| *sum = Some(sum.unwrap_or(0.0) + time.as_secs_f64());
        row.loss = (stats.steps > 0).then_some(stats.loss).or(row.loss);
        row.train_s = Some(watch.wall().as_secs_f64());
        row.cpu_s = watch.cpu().map(|cpu| cpu.as_secs_f64());
        add(&mut row.device_s, stats.device_time);
        for (sum, phase) in [
            (&mut row.upload_s, Phase::Upload),
            (&mut row.select_s, Phase::Select),
            (&mut row.forward_s, Phase::Forward),
            (&mut row.backward_s, Phase::Backward),
            (&mut row.update_s, Phase::Update),
            (&mut row.rebuild_s, Phase::Rebuild),
        ] {
            add(sum, stats.phases[phase as usize]);
        }
        if stats.steps > 0 {
            row.flops_per_step = Some(stats.flops / steps);
            row.bytes_per_step = Some(stats.bytes / steps);
        }
        if let Some(active) = &stats.active {
            row.active_mean = Some(active.mean);
            row.active_p5 = Some(active.p5);
            row.active_p95 = Some(active.p95);
            row.active_labels = Some(active.labels);
            row.active_selected = Some(active.selected);
            row.active_fill = Some(active.fill);
            row.candidates = Some(active.candidates);
            row.distinct = Some(active.distinct);
            row.recall = active.recall;
            row.active_backward = active.backward;
            row.hidden_active = active.hidden;
        }
    }

    /// Evaluates, off the clock, and records a row; a hashed evaluation only where the engine offers it.
    fn evaluate(&mut self, engine: &mut dyn Engine, rows: &[u32], name: &str, hashed: bool) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        self.harness.observer.observe(Event::Evaluating { rows: rows.len() });
        let mut offered = true;
        let from = self.harness.clock.now();
        let precision = evaluate(self.plan.judge.split, rows, self.training.batch, |batch, k| {
            let k = k.min(self.shape.labels);
            match hashed.then(|| engine.predict_hashed(batch, k)) {
                None => engine.predict(batch, k),
                Some(Some(answers)) => answers,
                Some(None) => {
                    offered = false;
                    Err(EngineError::Unavailable("the engine has no hashed inference".into()))
                }
            }
        });
        if !offered {
            return Ok(());
        }
        let precision = precision?;
        let [p1, p3, p5] = precision.at().map_or([None; 3], |at| at.map(Some));
        let row = &mut self.row;
        (row.p1, row.p3, row.p5) = (p1, p3, p5);
        row.eval_rows = Some(precision.rows());
        row.eval_s = Some((self.harness.clock.now() - from).as_secs_f64());
        row.evaluation = name.into();
        row.inference = if hashed { "hashed" } else { "dense" }.into();
        if row.step == 0 {
            (row.train_s, row.device_s) = (Some(0.0), Some(0.0));
            row.cpu_s = self.harness.clock.cpu().map(|_| 0.0);
        }
        self.record()
    }

    /// Writes the row as it stands.
    fn record(&mut self) -> Result<(), Stop> {
        self.row.total_s = Some((self.harness.clock.now() - self.started).as_secs_f64());
        self.row.peak_rss_bytes = self.peak.read();
        self.row.time = record::now();
        (self.harness.sink)(&self.row).map_err(Stop::Sink)?;
        self.curve.extend(point(&self.row));
        self.harness.observer.observe(Event::Row(&self.row));
        Ok(())
    }

    /// Turns the end of the run into its last row, where that is still missing.
    fn conclude(&mut self, outcome: Result<(), Stop>) -> io::Result<Tally> {
        let (status, reason, tally) = match outcome {
            Ok(()) => return Ok(Tally { finished: 1, ..Tally::default() }),
            Err(Stop::Sink(error)) => return Err(error),
            Err(Stop::Interrupted { recorded }) => {
                let tally = Tally { interrupted: true, ..Tally::default() };
                if recorded {
                    return Ok(tally);
                }
                ("interrupted", self.stopped(), tally)
            }
            Err(Stop::Skipped(reason)) => ("skipped", reason, Tally { skipped: 1, ..Tally::default() }),
            Err(Stop::Failed(reason)) => ("failed", reason, Tally { failed: 1, ..Tally::default() }),
        };
        let row = &mut self.row;
        (row.status, row.reason) = (status.into(), reason);
        (row.evaluation, row.inference) = (String::new(), String::new());
        (row.p1, row.p3, row.p5, row.eval_rows, row.eval_s) = (None, None, None, None, None);
        match self.record() {
            Err(Stop::Sink(error)) => Err(error),
            _ => Ok(tally),
        }
    }

    fn stopped(&self) -> String {
        format!("stopped by the user at step {}", self.row.step)
    }

    fn tell(&mut self, wall: Duration, last: u64, seconds: Duration) {
        self.harness.observer.observe(progress(&self.row, self.plan.rows.len(), wall, last, seconds));
    }
}

/// How far a run has come after `wall` of training, of `seconds` at most, by what its row says; `rows` are an epoch's, and
/// after step `last` it ends.
fn progress(row: &Row, rows: usize, wall: Duration, last: u64, seconds: Duration) -> Event<'static> {
    let by_steps = if last == u64::MAX { 0.0 } else { row.step as f64 / last as f64 };
    let by_time = wall.as_secs_f64() / seconds.as_secs_f64();
    Event::Progress {
        step: row.step,
        samples: row.samples,
        epoch: row.samples as f64 / rows as f64,
        seconds: wall.as_secs_f64(),
        done: by_steps.max(by_time).min(1.0),
    }
}

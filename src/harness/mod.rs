//! Who runs an experiment: order, clocks, evaluation, stopping, progress.
//!
//! The rules every run obeys, whatever the engine:
//!
//! - **Same start, same order.** Parameters are drawn from the seed, the batches of an epoch from the seed and the
//!   epoch's number; no engine sees other bytes or another order. Batches are gathered row by row into one reused
//!   buffer by the thread that trains: a loader thread would hide its cost from the CPU clock.
//! - **Three clocks.** [`Stopwatch`] runs while batches are gathered and steps taken, and stops only after
//!   [`Engine::finish`], so that no queued work escapes it. The device's own clock comes
//!   from the engine. The third runs from before set-up to the row's writing. CPU seconds are those of the whole
//!   process while the stopwatch ran. Set-up (with shader compilation and first table build) and evaluation are
//!   recorded apart.
//! - **Evaluation** is dense, P@k = hits among the first k ÷ k, averaged over the rows that have labels; on one fixed
//!   shuffled sample of the test set during training (from step 0), on all of it at the end. An engine that can look
//!   labels up by hashing gets a second row at the end, marked `hashed`.
//! - **Taking turns.** All engines train on a seed before any trains on the next, and each seed begins with another
//!   engine, so that a machine that warms up or gets noisy neighbours favours none.
//! - **Failures are rows.** An engine that cannot run, fails, panics or diverges leaves a row with the reason, and the
//!   next engine runs.
//! - **Resuming.** A run is known by the hash of everything that was set, program and machine included; if the
//!   records hold its end, it is not repeated.

mod clock;
mod evaluate;
mod memory;
mod observe;
mod order;
mod schedule;
mod search;
mod trial;

pub use clock::{Clock, Stopwatch, SystemClock};
pub use evaluate::{EVALUATED, Precision, evaluate};
pub use memory::PeakMemory;
pub use observe::{Event, Observer, Silent};
pub use order::{Batches, SAMPLE_SEED, holdout};
pub use schedule::Schedule;
pub use search::Found;

use crate::data::{self, Dataset, LabelLists, Split};
use crate::engine::{self, Engine, EngineError, EngineSettings};
use crate::experiment::{Contestant, Data, Experiment, Scale, Search};
use crate::record::{self, Row};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Builds the engine of a name.
pub type Builder<'a> = dyn Fn(&str, &EngineSettings) -> Result<Box<dyn Engine>, EngineError> + 'a;

/// Builds an engine of the registry.
///
/// # Errors
/// If there is none of this name, or it cannot be built here.
pub fn registered(name: &str, settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    let entry = engine::find(name).ok_or_else(|| EngineError::Settings(format!("there is no engine {name:?}")))?;
    (entry.build)(settings)
}

/// How an experiment is run here, beside what its file says.
#[derive(Clone, Debug)]
pub struct Options {
    pub scale: Scale,
    /// Host threads of an engine for which neither its entry nor the experiment says.
    pub threads: usize,
    /// A limit on every run's training clock, seconds, on top of the file's.
    pub seconds: Option<f64>,
    pub allow_software: bool,
    /// Program and machine: records of others do not stand in for a run.
    pub identity: String,
}

/// What became of the runs of an experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub finished: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Found finished in the records, not repeated.
    pub resumed: usize,
    pub interrupted: bool,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.finished += other.finished;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.resumed += other.resumed;
        self.interrupted |= other.interrupted;
    }
}

/// Everything a run needs besides the data.
pub struct Harness<'a> {
    pub experiment: &'a Experiment,
    pub options: Options,
    pub build: &'a Builder<'a>,
    pub clock: &'a dyn Clock,
    /// Set from outside (Ctrl-C) to end the run after its current row.
    pub interrupt: &'a AtomicBool,
    /// Rows recorded before; runs that they show finished are not repeated.
    pub earlier: &'a [Row],
    /// Takes every row as soon as it is known; what it returned `Ok` for must survive the process.
    pub sink: &'a mut dyn FnMut(&Row) -> io::Result<()>,
    pub observer: &'a mut dyn Observer,
}

/// Which part of an experiment a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    Train,
    Search,
}

impl Harness<'_> {
    /// Runs every engine with every seed on one data set of the experiment.
    ///
    /// # Errors
    /// Only if a row cannot be recorded; what engines do wrong becomes rows.
    pub fn run(&mut self, entry: &Data, data: &Dataset) -> io::Result<Tally> {
        let experiment = self.experiment;
        let labels = Arc::new(data.train.labels.clone());
        let rows: Vec<u32> = (0..data.train.rows() as u32).collect();
        let mut tally = Tally::default();
        for (turn, &seed) in experiment.run.seeds.iter().enumerate() {
            for index in 0..experiment.engines.len() {
                let engine = &experiment.engines[(index + turn) % experiment.engines.len()];
                if self.interrupted() {
                    tally.interrupted = true;
                    return Ok(tally);
                }
                let plan = Plan {
                    rate: experiment.learning_rate(entry, engine),
                    limits: self.limits(entry, engine),
                    stage: Stage::Train,
                    rows: &rows,
                    judge: Judge::test(data, experiment.run.eval_sample),
                    ..self.plan(entry, data, engine, seed, &labels)
                };
                tally += trial::run(self, &plan)?.0;
            }
        }
        Ok(tally)
    }

    /// Records why a data set could not be trained on, once for every engine: as skipped where it is only not at hand.
    ///
    /// # Errors
    /// If a row cannot be recorded.
    pub fn without_data(&mut self, entry: &Data, reason: &str, absent: bool) -> io::Result<Tally> {
        for engine in &self.experiment.engines {
            let row = Row {
                experiment: self.experiment.id(self.options.scale),
                dataset: entry.source.clone(),
                engine: engine.label().into(),
                stage: "train".into(),
                status: if absent { "skipped" } else { "failed" }.into(),
                reason: reason.into(),
                time: record::now(),
                ..Row::default()
            };
            (self.sink)(&row)?;
            self.observer.observe(Event::Row(&row));
        }
        let rows = self.experiment.engines.len();
        let (skipped, failed) = if absent { (rows, 0) } else { (0, rows) };
        Ok(Tally { skipped, failed, ..Tally::default() })
    }

    /// Tries every learning rate of `search` with every engine on one data set, on training rows only.
    ///
    /// # Errors
    /// If a row cannot be recorded.
    pub fn search(&mut self, search: &Search, entry: &Data, data: &Dataset) -> io::Result<(Found, Tally)> {
        search::run(self, search, entry, data)
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    fn limits(&self, entry: &Data, engine: &Contestant) -> Limits {
        let seconds = [entry.seconds, self.options.seconds].into_iter().flatten().reduce(f64::min);
        Limits { epochs: entry.epochs_of(engine), steps: entry.steps, seconds, target_p1: entry.target_p1 }
    }

    /// The part of a plan that every stage shares.
    fn plan<'p>(
        &self,
        entry: &'p Data,
        data: &'p Dataset,
        engine: &'p Contestant,
        seed: u64,
        labels: &Arc<LabelLists>,
    ) -> Plan<'p> {
        Plan {
            entry,
            data,
            engine,
            seed,
            threads: engine.threads.or(self.experiment.run.threads).unwrap_or(self.options.threads),
            label_rows: labels.clone(),
            rate: 0.0,
            limits: Limits::default(),
            stage: Stage::Train,
            rows: &[],
            judge: Judge { split: &data.test, sample: vec![], all: vec![] },
        }
    }
}

/// What ends a run; the first limit reached does.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
struct Limits {
    epochs: Option<f64>,
    steps: Option<u64>,
    seconds: Option<f64>,
    target_p1: Option<f64>,
}

/// What a run is judged by.
struct Judge<'a> {
    split: &'a Split,
    /// Rows of the evaluations during training; none if only the end counts.
    sample: Vec<u32>,
    /// Rows of the last evaluation.
    all: Vec<u32>,
}

impl<'a> Judge<'a> {
    fn test(data: &'a Dataset, count: usize) -> Self {
        let rows = data.test.rows();
        Judge {
            split: &data.test,
            sample: data::sample(rows, count, order::SAMPLE_SEED),
            all: (0..rows as u32).collect(),
        }
    }
}

/// One run: one engine, one data set, one seed, one learning rate.
struct Plan<'a> {
    entry: &'a Data,
    data: &'a Dataset,
    engine: &'a Contestant,
    seed: u64,
    threads: usize,
    label_rows: Arc<LabelLists>,
    rate: f32,
    limits: Limits,
    stage: Stage,
    /// Training rows.
    rows: &'a [u32],
    judge: Judge<'a>,
}

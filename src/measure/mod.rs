//! Measurements of parts: what one insertion, one hash, one kernel costs, and whether it does what a formula says.
//!
//! The harness trains networks; a claim about a part of one (SLIDE's table 3, its figure 11) is answered here, through
//! the very code that the engines run. An experiment names a measurement in place of engines:
//!
//! ```toml
//! name = "slide20-table3-insertion"
//! question = "What does it cost to put 205,443 neurons into 50 hash tables?"
//!
//! [measure]
//! what = "insertion"
//! repeats = 5
//! options = { neurons = 205443 }     # the measurement's own; it refuses what it does not know
//! ```
//!
//! Adding one is a file here and a line in [`REGISTRY`]. Every value becomes an [`Observation`] as soon as it is known.

mod counters;
mod densified;
mod evaluation;
mod huge_pages;
mod incremental;
mod insertion;
mod layers;
mod linear_tree;
mod packing;
mod projections;
mod retrieved;
pub mod row_kernels;
mod selection;
mod strategies;
mod table_one;

use crate::harness::{Clock, SystemClock};
use crate::lsh::LshError;
use crate::record::{Observation, now};
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_pcg::Pcg64Mcg;
use serde::de::DeserializeOwned;
use std::hint::black_box;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a measurement ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The experiment asks for something wrong.
    #[error("{0}")]
    Settings(String),
    /// Ctrl-C; what was measured is recorded.
    #[error("interrupted")]
    Interrupted,
    #[error(transparent)]
    Sink(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

/// A measurement as the command line and TOML know it.
pub struct Entry {
    pub name: &'static str,
    /// One sentence for `slidebench list`.
    pub summary: &'static str,
    pub run: fn(&mut Bench<'_>) -> Result<(), Error>,
}

/// Every measurement there is.
pub const REGISTRY: &[Entry] = &[
    Entry {
        name: "insertion",
        summary: "Hashing a layer's neurons and filing them in its hash tables.",
        run: insertion::run,
    },
    Entry {
        name: "selection",
        summary: "How often a neuron is selected, against the formula: many draws of the hash functions.",
        run: selection::run,
    },
    Entry {
        name: "strategies",
        summary: "Choosing neurons from the ids in the buckets: vanilla, top-k, hard threshold.",
        run: strategies::run,
    },
    Entry {
        name: "incremental",
        summary: "Correcting SimHash codes by what changed, against hashing every row anew.",
        run: incremental::run,
    },
    Entry {
        name: "projections",
        summary: "Recall and hash time of SimHash by the sparsity of its projections.",
        run: projections::run,
    },
    Entry {
        name: "densified",
        summary: "How well WTA and DWTA tell like from unlike sparse vectors.",
        run: densified::run,
    },
    Entry {
        name: "packing",
        summary: "What is retrieved, by K and by how DWTA's codes are packed.",
        run: packing::run,
    },
    Entry { name: "table-one", summary: "Statistics of data sets beside the published ones.", run: table_one::run },
    Entry { name: "huge-pages", summary: "Row kernels over a table on small and on huge pages.", run: huge_pages::run },
    Entry { name: "row-kernels", summary: "Row kernels against the bandwidth of random rows.", run: row_kernels::run },
    Entry {
        name: "evaluation",
        summary: "P@1 on the first rows of a sorted test file, on a sample, on everything.",
        run: evaluation::run,
    },
    Entry {
        name: "layers",
        summary: "A dense step with all labels and with few: the last layer's share of it.",
        run: layers::run,
    },
    Entry {
        name: "linear-tree",
        summary: "Trees of linear classifiers, by the program omikuji: seconds and P@1.",
        run: linear_tree::run,
    },
];

/// Looks a measurement up by name.
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

/// What a measurement is given, and where its values go.
pub struct Bench<'a> {
    pub options: toml::Table,
    /// How often every timing is repeated.
    pub repeats: u64,
    /// Host threads to use where a measurement uses more than one.
    pub threads: usize,
    /// Goes into every line: experiment and settings.
    pub identity: Observation,
    pub interrupt: &'a AtomicBool,
    pub sink: &'a mut (dyn FnMut(&Observation) -> io::Result<()> + Send),
    /// Told what is being measured, for a progress bar.
    pub observer: &'a mut (dyn FnMut(&str) + Send),
}

/// Wall and CPU seconds of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub seconds: f64,
    /// Of the whole process, all threads; the wall time where the platform does not tell.
    pub cpu_seconds: f64,
}

impl Bench<'_> {
    /// The measurement's options, read into its own type (`deny_unknown_fields`, `default`).
    ///
    /// # Errors
    /// If they hold what the type does not know.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.options.clone().try_into().map_err(|error: toml::de::Error| Error::Settings(error.message().to_owned()))
    }

    /// Starts the next case: tells the observer, and ends the measurement where Ctrl-C was pressed.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn case(&mut self, what: &str) -> Result<(), Error> {
        (self.observer)(what);
        if self.interrupt.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Records a value.
    ///
    /// # Errors
    /// If the records cannot be written.
    pub fn record(&mut self, observation: Observation) -> Result<(), Error> {
        let Observation { experiment, settings, .. } = self.identity.clone();
        let status = if observation.status.is_empty() { "ok".into() } else { observation.status.clone() };
        let threads = if observation.threads == 0 { 1 } else { observation.threads };
        let whole = Observation { experiment, settings, status, threads, time: now(), ..observation };
        Ok((self.sink)(&whole)?)
    }

    /// Records a value of the case, x and repeat that `like` names.
    ///
    /// # Errors
    /// If the records cannot be written.
    pub fn value(&mut self, like: &Observation, quantity: &str, unit: &str, value: f64) -> Result<(), Error> {
        let (quantity, unit) = (quantity.into(), unit.into());
        self.record(Observation { quantity, unit, value: Some(value), ..like.clone() })
    }

    /// Runs `work` the number of repeats, after once for warmth, and records its wall and CPU seconds as the
    /// quantity `time` in `s` and `CPU s`; `like` names case and x.
    ///
    /// # Errors
    /// If the records cannot be written, or on Ctrl-C.
    pub fn time<T>(&mut self, like: &Observation, mut work: impl FnMut() -> T) -> Result<(), Error> {
        self.time_each(like, 1, &mut (), |()| {}, |()| work())
    }

    /// As [`time`](Self::time), of one of the `count` like things that `work` does, and with a `prepare` before every
    /// call that is not timed.
    ///
    /// # Errors
    /// If the records cannot be written, or on Ctrl-C.
    pub fn time_each<S, T>(
        &mut self,
        like: &Observation,
        count: usize,
        state: &mut S,
        mut prepare: impl FnMut(&mut S),
        mut work: impl FnMut(&mut S) -> T,
    ) -> Result<(), Error> {
        self.case(&like.case)?;
        prepare(state);
        black_box(work(state));
        for repeat in 0..self.repeats {
            prepare(state);
            let whole = cost_of(|| work(state));
            for (unit, seconds) in [("s", whole.seconds), ("CPU s", whole.cpu_seconds)] {
                self.value(&Observation { repeat, ..like.clone() }, "time", unit, seconds / count.max(1) as f64)?;
            }
        }
        Ok(())
    }
}

/// A pool of so many threads.
fn threads(count: usize) -> Result<rayon::ThreadPool, Error> {
    rayon::ThreadPoolBuilder::new().num_threads(count).build().map_err(|error| Error::Failed(error.to_string()))
}

/// Independent normal values of mean 0.
fn normal(count: usize, deviation: f32, seed: u64) -> Vec<f32> {
    let mut random = Pcg64Mcg::seed_from_u64(seed);
    let normal = Normal::new(0.0, deviation).expect("a finite deviation");
    (0..count).map(|_| normal.sample(&mut random)).collect()
}

/// A setting that hashing refused.
fn refused(error: LshError) -> Error {
    Error::Settings(error.to_string())
}

/// Wall and CPU seconds of one call.
pub fn cost_of<T>(work: impl FnOnce() -> T) -> Cost {
    let clock = SystemClock::default();
    let (wall, cpu) = (clock.now(), clock.cpu());
    black_box(work());
    let seconds = (clock.now() - wall).as_secs_f64();
    let cpu_seconds = cpu.zip(clock.cpu()).map_or(seconds, |(before, after)| (after - before).as_secs_f64());
    Cost { seconds, cpu_seconds }
}

/// Runs a measurement to its end and records that it came there, so that it need not be repeated.
///
/// # Errors
/// If there is none of this name, its options are wrong, it fails, or Ctrl-C was pressed.
pub fn run(what: &str, bench: &mut Bench<'_>) -> Result<(), Error> {
    let entry = find(what).ok_or_else(|| {
        let known: Vec<&str> = REGISTRY.iter().map(|entry| entry.name).collect();
        Error::Settings(format!("there is no measurement {what:?}; there are: {}", known.join(", ")))
    })?;
    (entry.run)(bench)?;
    bench.record(Observation { status: "complete".into(), ..Observation::default() })
}

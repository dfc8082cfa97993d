//! What an onlooker is told while an experiment runs.

use crate::record::Row;

/// Something happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A run begins: an engine, a data set, a seed.
    Started { engine: &'a str, dataset: &'a str, seed: u64, learning_rate: f32, stage: &'a str },
    /// A run was found finished in the records.
    Resumed { engine: &'a str, dataset: &'a str, seed: u64 },
    /// Training goes on; told at most ten times a second, since telling lies inside the training clock.
    Progress {
        step: u64,
        samples: u64,
        epoch: f64,
        /// Seconds of the training clock so far.
        seconds: f64,
        /// Share of the nearest limit that is used up, 0 to 1.
        done: f64,
    },
    /// An evaluation begins: so many rows.
    Evaluating { rows: usize },
    /// A row was recorded.
    Row(&'a Row),
    /// The run is over.
    Ended,
}

/// An onlooker.
pub trait Observer: Send {
    fn observe(&mut self, event: Event<'_>);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _: Event<'_>) {}
}

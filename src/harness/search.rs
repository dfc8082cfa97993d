//! A learning-rate search with the same budget for every engine.

use super::{Harness, Judge, Limits, Plan, Stage, Tally, holdout, trial};
use crate::data::Dataset;
use crate::experiment::{Data, Search};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The best learning rate of each engine, by label, with the P@1 that it reached on the held-out rows.
pub type Found = BTreeMap<String, (f32, f64)>;

/// Every engine tries every rate for the same epochs from the first seed on training rows only; rows that were held
/// out of training judge. Rates that another search with the same settings recorded are taken from the records.
pub(super) fn run(
    harness: &mut Harness<'_>,
    search: &Search,
    entry: &Data,
    data: &Dataset,
) -> io::Result<(Found, Tally)> {
    let experiment = harness.experiment;
    let seed = experiment.run.seeds[0];
    let counts: Arc<[f32]> = data.label_shares().into();
    let (rows, judges) = holdout(data.train.rows(), search.validation);
    let (mut found, mut tally) = (Found::new(), Tally::default());
    for (turn, &rate) in search.learning_rates.iter().enumerate() {
        for index in 0..experiment.engines.len() {
            let engine = &experiment.engines[(index + turn) % experiment.engines.len()];
            if harness.interrupted() {
                tally.interrupted = true;
                return Ok((found, tally));
            }
            let plan = Plan {
                rate,
                limits: Limits { epochs: Some(search.epochs), ..Limits::default() },
                stage: Stage::Search,
                rows: &rows,
                judge: Judge { split: &data.train, sample: vec![], all: judges.clone() },
                ..harness.plan(entry, data, engine, seed, &counts)
            };
            let (one, p1) = trial::run(harness, &plan)?;
            tally += one;
            if let Some(p1) = p1 {
                let best = found.entry(engine.label().to_owned()).or_insert((rate, p1));
                // Of equals, the smaller rate: it is the safer one.
                if p1 > best.1 || (p1 == best.1 && rate < best.0) {
                    *best = (rate, p1);
                }
            }
        }
    }
    Ok((found, tally))
}

//! A learning-rate search with the same grid for every engine.

use super::trial::{self, Curve};
use super::{Harness, Judge, Limits, Plan, Stage, Tally, holdout};
use crate::data::Dataset;
use crate::experiment::{Data, Search};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The best learning rate of each engine, by label, with its P@1 on the held-out rows over the last pass of its try.
pub type Found = BTreeMap<String, (f32, f64)>;

/// Every engine tries every rate from the first seed on training rows only, for as many epochs as it then trains for
/// unless the search says how many; rows that were held out of training judge. Rates that another search with the same
/// settings recorded are taken from the records.
pub(super) fn run(
    harness: &mut Harness<'_>,
    search: &Search,
    entry: &Data,
    data: &Dataset,
) -> io::Result<(Found, Tally)> {
    let experiment = harness.experiment;
    let seed = experiment.run.seeds[0];
    let labels = Arc::new(data.train.labels.clone());
    let (rows, judges) = holdout(data.train.rows(), search.validation);
    let (mut found, mut tally) = (Found::new(), Tally::default());
    for (turn, &rate) in search.learning_rates.iter().enumerate() {
        for index in 0..experiment.engines.len() {
            let engine = &experiment.engines[(index + turn) % experiment.engines.len()];
            if harness.interrupted() {
                tally.interrupted = true;
                return Ok((found, tally));
            }
            let limits = match search.epochs {
                None => Limits { target_p1: None, ..harness.limits(entry, engine) },
                epochs => Limits { epochs, ..Limits::default() },
            };
            let plan = Plan {
                rate,
                limits,
                stage: Stage::Search,
                rows: &rows,
                judge: Judge { split: &data.train, sample: judges.clone(), all: judges.clone() },
                ..harness.plan(entry, data, engine, seed, &labels)
            };
            let (one, curve) = trial::run(harness, &plan)?;
            tally += one;
            let pass = rows.len().div_ceil(engine.batch.unwrap_or(experiment.training.batch));
            if let Some(p1) = curve.and_then(|curve| last_pass(&curve, pass as u64)) {
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

/// Mean P@1 of the evaluations in the last `pass` steps: steadier than the last one alone.
fn last_pass(curve: &Curve, pass: u64) -> Option<f64> {
    let last = curve.last()?.0;
    // By step: the last is evaluated twice, as any other and as the end.
    let p1: BTreeMap<u64, f64> = curve.iter().copied().filter(|&(step, _)| step + pass > last).collect();
    Some(p1.values().sum::<f64>() / p1.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_judged_by_its_last_pass() {
        let curve = vec![(0, 0.0), (5, 0.25), (10, 0.5), (15, 0.75), (20, 1.0), (20, 1.0)];
        assert_eq!(last_pass(&curve, 10), Some(0.875));
        assert_eq!(last_pass(&curve, 1), Some(1.0));
        assert_eq!(last_pass(&curve, 30), Some(0.5), "a try of less than a pass");
        assert_eq!(last_pass(&vec![], 10), None);
    }
}

//! A learning-rate search with the same grid and rule for every engine.

use super::trial::{self, Curve};
use super::{Harness, Judge, Limits, Plan, Stage, Tally, holdout};
use crate::data::Dataset;
use crate::experiment::{Data, Search};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// The learning rate found for each engine, by label.
pub type Found = BTreeMap<String, Choice>;

/// A learning rate and what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    pub rate: f32,
    /// P@1 on the held-out rows at the end of the try.
    pub p1: f64,
    /// What the ends of all rates that are as good as the best have in common: its P@1 less one standard error.
    pub target: f64,
    /// Steps to `target`, of which this rate takes the fewest.
    pub steps: u64,
}

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
    let shares: Arc<[f32]> = data.label_shares().into();
    let (rows, judges) = holdout(data.train.rows(), search.validation);
    let (mut tries, mut tally) = (BTreeMap::<String, Vec<(f32, Curve)>>::new(), Tally::default());
    'tries: for (turn, &rate) in search.learning_rates.iter().enumerate() {
        for index in 0..experiment.engines.len() {
            let engine = &experiment.engines[(index + turn) % experiment.engines.len()];
            if harness.interrupted() {
                tally.interrupted = true;
                break 'tries;
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
                ..harness.plan(entry, data, engine, seed, &shares)
            };
            let (one, curve) = trial::run(harness, &plan)?;
            tally += one;
            if let Some(curve) = curve {
                tries.entry(engine.label().to_owned()).or_default().push((rate, curve));
            }
        }
    }
    let found = tries.into_iter().filter_map(|(label, tries)| Some((label, choose(&tries, judges.len())?)));
    Ok((found.collect(), tally))
}

/// The rate that is soonest at what all good ones reach. Rates whose ends lie within one standard error of the best end are
/// as good as that one, as far as so many `rows` can tell; of some that are equally soon, the smallest is the safest.
///
/// Steps stand for time: a rate hardly changes what a step costs, and a busy machine has no say in steps.
fn choose(tries: &[(f32, Curve)], rows: usize) -> Option<Choice> {
    let end = |curve: &Curve| curve.last().map(|&(_, p1)| p1);
    let best = tries.iter().filter_map(|(_, curve)| end(curve)).max_by(f64::total_cmp)?;
    let target = best - (best * (1.0 - best) / rows as f64).sqrt();
    let choices = tries.iter().filter_map(|(rate, curve)| {
        let p1 = end(curve).filter(|&p1| p1 >= target)?;
        let steps = curve.iter().find(|(_, p1)| *p1 >= target)?.0;
        Some(Choice { rate: *rate, p1, target, steps })
    });
    choices.min_by(|a, b| a.steps.cmp(&b.steps).then(a.rate.total_cmp(&b.rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P@1 .9 has a standard error of .01 on 900 rows.
    const ROWS: usize = 900;

    fn rate(curves: &[[f64; 3]]) -> f32 {
        let tries: Vec<(f32, Curve)> =
            (1..).zip(curves).map(|(rate, p1)| (rate as f32, (10..).step_by(10).zip(*p1).collect())).collect();
        choose(&tries, ROWS).unwrap().rate
    }

    #[test]
    fn of_rates_that_end_as_high_the_soonest_is_chosen() {
        assert_eq!(rate(&[[0.5, 0.8, 0.9], [0.6, 0.891, 0.891]]), 2.0, "within the error, and sooner");
        assert_eq!(rate(&[[0.5, 0.8, 0.9], [0.6, 0.889, 0.889]]), 1.0, "sooner, but ends lower");
        assert_eq!(rate(&[[0.5, 0.8, 0.9], [0.6, 0.895, 0.889]]), 1.0, "was there, but ends lower");
        assert_eq!(rate(&[[0.5, 0.9, 0.895], [0.6, 0.895, 0.9]]), 1.0, "as soon: the smaller one");
        assert_eq!(rate(&[[0.5, 0.8, 0.85], [0.6, 0.7, 0.9]]), 2.0);
    }

    #[test]
    fn nothing_tried_is_nothing_found() {
        assert_eq!(choose(&[], ROWS), None);
    }
}

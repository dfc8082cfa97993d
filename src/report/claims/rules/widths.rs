//! Rules over seconds a step: from how many labels on hashing pays, above which hidden layers, on how dense an input.

use super::super::super::runs::{Axis, Contestant, Panel, Run, Study};
use super::super::super::statistics::{Spread, number, thousands, times};
use super::super::Claim;
use super::Verdict::{DoesNotHold, Holds, InPart};
use super::{Found, among, found};

/// Baseline's seconds a step over the challenger's, seed by seed, as `(seed, ratio)`.
fn step_ratios(challenger: &Contestant, baseline: &Contestant, axis: Axis) -> Vec<(u64, f64)> {
    let pair = |run: &Run| {
        let other = baseline.runs.iter().find(|other| other.seed == run.seed)?;
        let ratio = other.a_step(axis)? / run.a_step(axis)?;
        (ratio > 0.0 && ratio.is_finite()).then_some((run.seed, ratio))
    };
    challenger.runs.iter().filter_map(pair).collect()
}

/// The same over all seeds, by the training clock.
pub fn step_ratio(challenger: &Contestant, baseline: &Contestant) -> Option<Spread> {
    Spread::of(step_ratios(challenger, baseline, Axis::TrainSeconds).into_iter().map(|(_, ratio)| ratio))
}

/// Where ratios pass 1 for good, on a logarithmic axis between the two points around it; `points` ascend in x. 0 if
/// they are above from the first on, infinite if the last is still below.
fn overtaken(points: &[(f64, f64)]) -> Option<f64> {
    let &(_, last) = points.last()?;
    if last < 1.0 {
        return Some(f64::INFINITY);
    }
    let Some(below) = points.iter().rposition(|&(_, ratio)| ratio < 1.0) else { return Some(0.0) };
    let ((x0, y0), (x1, y1)) = (points[below], points[below + 1]);
    Some((x0.ln() - (x1.ln() - x0.ln()) * y0.ln() / (y1.ln() - y0.ln())).exp())
}

/// Break-even label counts of one pair over the data sets of a study: one a seed.
fn break_evens(study: &Study, challenger: &str, baseline: &str, axis: Axis) -> Option<Vec<f64>> {
    let mut points: Vec<(f64, Vec<(u64, f64)>)> = study
        .panels
        .iter()
        .filter_map(|panel| {
            let (ours, theirs) = (panel.find(challenger)?, panel.find(baseline)?);
            Some((ours.labels()?, step_ratios(ours, theirs, axis)))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let seeds = points.first()?.1.iter().map(|(seed, _)| *seed);
    let of_seed = |seed: u64| {
        let ratio = |ratios: &[(u64, f64)]| ratios.iter().find(|(other, _)| *other == seed).map(|(_, ratio)| *ratio);
        let curve: Option<Vec<(f64, f64)>> = points.iter().map(|(x, ratios)| Some((*x, ratio(ratios)?))).collect();
        overtaken(&curve.filter(|curve| curve.len() > 1)?)
    };
    let mut found: Vec<f64> = seeds.filter_map(of_seed).collect();
    found.sort_by(f64::total_cmp);
    (!found.is_empty()).then_some(found)
}

/// The label count at which each hashed contestant's step becomes cheaper than each dense one's. Holds where all need
/// more labels than the claim's figure, does not where none does.
pub fn break_even(claim: &Claim, study: &Study) -> Option<Found> {
    let widths = || study.panels.iter().flat_map(|panel| &panel.contestants).filter_map(Contestant::labels);
    let (least, most) = (widths().min_by(f64::total_cmp)?, widths().max_by(f64::total_cmp)?);
    let place = |at: f64| match at {
        0.0 => format!("fewer than {} labels", thousands(least as i64)),
        at if at.is_infinite() => format!("more than {} labels", thousands(most as i64)),
        at => format!("{} labels", number(at)),
    };
    let median = |sorted: &[f64]| sorted[sorted.len() / 2];
    let text = |sorted: &[f64]| {
        let (low, high) = (place(sorted[0]), place(*sorted.last().expect("not empty")));
        let middle = place(median(sorted));
        if low == high { middle } else { format!("{middle} ({low} to {high})") }
    };
    let (mut words, mut wide) = (Vec::new(), Vec::new());
    for challenger in names(study).iter().filter(|name| name.starts_with("lsh-cpu")) {
        for baseline in names(study).iter().filter(|name| name.starts_with("dense-")) {
            let Some(wall) = break_evens(study, challenger, baseline, Axis::TrainSeconds) else { continue };
            wide.push(median(&wall) > claim.figure.unwrap_or(f64::NAN));
            let cpu = break_evens(study, challenger, baseline, Axis::CpuSeconds)
                .filter(|_| !baseline.starts_with("dense-gpu"))
                .map_or_else(String::new, |cpu| format!(", by CPU seconds at {}", text(&cpu)));
            words.push(format!("{challenger} overtakes {baseline} at {}{cpu}", text(&wall)));
        }
    }
    found(among(&wide)?, words.join("; "))
}

/// Names of the contestants that may be compared, each once.
fn names(study: &Study) -> Vec<String> {
    let mut names = Vec::new();
    for contestant in study.panels.iter().flat_map(|panel| &panel.contestants).filter(|c| c.counts()) {
        if !names.contains(&contestant.name) {
            names.push(contestant.name.clone());
        }
    }
    names
}

/// The ratio of step times above hidden layers of several widths, `lsh-cpu:H` against `dense-cpu:H`: whether it stays
/// what it is at the first, within the tolerance.
pub fn hidden_width(panel: &Panel, tolerance: f64) -> Option<Found> {
    let ratios: Vec<(&str, Spread)> = panel
        .contestants
        .iter()
        .filter_map(|ours| {
            let width = ours.name.strip_prefix("lsh-cpu:")?;
            let theirs = panel.find(&format!("dense-cpu:{}", width.trim_end_matches("-hashed")))?;
            Some((width, step_ratio(panel.find(&ours.name)?, theirs)?))
        })
        .collect();
    let (_, first) = ratios.first()?;
    let alike: Vec<bool> =
        ratios[1..].iter().map(|(_, ratio)| ratio.median >= first.median * (1.0 - tolerance)).collect();
    let words: Vec<String> = ratios.iter().map(|(width, ratio)| format!("{} at {width}", ratio.text(times))).collect();
    found(among(&alike)?, format!("{} (hidden widths)", words.join(", ")))
}

/// The ratio of step times over the mean number of features a row, which the data set's name tells. Holds if the hashed
/// engine is behind on the densest input, in part if its lead is less than on the sparsest by more than the tolerance.
pub fn density(study: &Study, tolerance: f64) -> Option<Found> {
    let features = |name: &str| name.rsplit_once("features=")?.1.split('&').next()?.parse::<u64>().ok();
    let mut points: Vec<(u64, Spread)> = study
        .panels
        .iter()
        .filter_map(|panel| {
            let ratio = step_ratio(panel.find("lsh-cpu")?, panel.find("dense-cpu")?)?;
            Some((features(&panel.dataset)?, ratio))
        })
        .collect();
    points.sort_by_key(|(features, _)| *features);
    let [(_, sparse), .., (_, dense)] = &points[..] else { return None };
    let verdict = if sparse.median > 1.0 && dense.median < 1.0 {
        Holds
    } else if dense.median < sparse.median * (1.0 - tolerance) {
        InPart
    } else {
        DoesNotHold
    };
    let words: Vec<String> =
        points.iter().map(|(n, ratio)| format!("{} at {}", ratio.text(times), thousands(*n as i64))).collect();
    found(verdict, format!("dense-cpu's step over lsh-cpu's: {} features a row", words.join(", ")))
}

//! Rules over SLIDE's options and over what its critics ask: selection, fill, races, rebuilds, optimisers, starts.

use super::super::super::runs::{Axis, Contestant, Panel, Run};
use super::super::super::statistics::{Spread, number, share, times};
use super::Verdict::{DoesNotHold, Holds, InPart};
use super::widths::step_ratio;
use super::{Found, active, among, found, inference, percent, yes_or_no};

/// Uniform neurons against hashed ones of equal count: each kind of set, uncorrected and corrected. What frequency and
/// the true top neurons do instead stands beside.
pub fn no_better_than_uniform(panel: &Panel, tolerance: f64) -> Option<Found> {
    let pairs = [
        ("lsh-cpu", "sparse-cpu:uniform"),
        ("lsh-cpu", "sparse-cpu:uniform, corrected"),
        ("lsh-cpu:shared", "sparse-cpu:uniform, shared"),
        ("lsh-cpu:shared, corrected", "sparse-cpu:uniform, shared, corrected"),
    ];
    let (mut verdicts, mut words) = (Vec::new(), Vec::new());
    for (ours, theirs) in pairs {
        let (Some(ours), Some(theirs)) = (panel.find(ours), panel.find(theirs)) else { continue };
        let (hashed, uniform) = (ours.end()?, theirs.end()?);
        let (our_count, their_count) = (active(ours)?.median, active(theirs)?.median);
        // Counts that are far apart decide only against the engine that had more.
        let as_well = uniform.median >= hashed.median - tolerance;
        let fair = if as_well { their_count <= 1.25 * our_count } else { our_count <= 1.25 * their_count };
        verdicts.push(match (fair, as_well) {
            (false, _) => InPart,
            (true, true) => Holds,
            (true, false) => DoesNotHold,
        });
        words.push(format!(
            "{} ends at P@1 {} with {} active, {} at {} with {}{}",
            theirs.name,
            uniform.text(share),
            number(their_count),
            ours.name,
            hashed.text(share),
            number(our_count),
            if fair { "" } else { ", counts that do not compare" }
        ));
    }
    for other in ["sparse-cpu:frequency, corrected", "sparse-cpu:top-k"] {
        let end = panel.find(other).and_then(Contestant::end);
        words.extend(end.map(|end| format!("{other} at {}", end.text(share))));
    }
    let first = verdicts.first()?;
    let verdict = if verdicts.iter().all(|verdict| verdict == first) { *first } else { InPart };
    found(verdict, words.join("; "))
}

/// P@1 on the whole test set, at the end.
fn end(contestant: &Contestant) -> Option<Spread> {
    contestant.full(|row| row.p1)
}

/// Random fill as a share of the active set, in every contestant that fills.
pub fn fill_share(panel: &Panel, figure: f64) -> Option<Found> {
    let fills = |name: &str| {
        let contestant = panel.find(name)?;
        Some((contestant, contestant.last(|row| Some(row.active_fill? / row.active_mean?))?))
    };
    let (of, fill) = ["lsh-cpu:independent", "lsh-cpu:repeating", "lsh-cpu"].into_iter().find_map(fills)?;
    yes_or_no(fill.median >= figure, format!("{} of the active set of {}", fill.text(percent), of.name))
}

/// Whether the fill that repeats itself ends below the one drawn anew for each sample.
pub fn repeating_fill(panel: &Panel, tolerance: f64) -> Option<Found> {
    let of = |name: &str| panel.find(name).and_then(Contestant::end);
    let (repeating, anew) = (of("lsh-cpu:repeating")?, of("lsh-cpu:independent")?);
    let others = [("without fill", of("lsh-cpu:no-fill")), ("dense", of("dense-cpu"))];
    let others: String =
        others.into_iter().filter_map(|(what, end)| Some(format!(", {} {what}", end?.text(share)))).collect();
    let words = format!(
        "P@1 {} where the fill repeats itself, {} where it is drawn anew{others}",
        repeating.text(share),
        anew.text(share)
    );
    yes_or_no(repeating.median < anew.median - tolerance, words)
}

/// Whether every variant of the hashed engine ends within the tolerance of the one called `lsh-cpu`.
pub fn variants_alike(panel: &Panel, tolerance: f64) -> Option<Found> {
    let first = panel.find("lsh-cpu")?;
    let base = end(first)?;
    let (mut same, mut words) = (Vec::new(), vec![format!("P@1 {} with lsh-cpu", base.text(share))]);
    for other in panel.contestants.iter().filter(|other| other.counts() && other.name.starts_with("lsh-cpu:")) {
        let Some(other_end) = end(other) else { continue };
        same.push((other_end.median - base.median).abs() <= tolerance);
        let slower =
            step_ratio(first, other).map_or_else(String::new, |ratio| format!(" at {} its time", times(ratio.median)));
        words.push(format!("{} {}{slower}", other.name.trim_start_matches("lsh-cpu:"), other_end.text(share)));
    }
    found(among(&same)?, words.join(", "))
}

/// Rebuild seconds as a share of the device clock.
fn rebuild_share(contestant: &Contestant) -> Option<Spread> {
    contestant.last(|row| Some(row.rebuild_s? / row.device_s?))
}

/// Rebuilding by a back-off against rebuilding at fixed steps (`lsh-cpu`): no lower P@1 at the end.
pub fn backoff(panel: &Panel, tolerance: f64) -> Option<Found> {
    let fixed = panel.find("lsh-cpu")?;
    let base = end(fixed)?;
    let describe = |name: &str, p1: Spread, contestant: &Contestant| {
        let time = rebuild_share(contestant)
            .map_or_else(String::new, |part| format!(" ({} of its time)", percent(part.median)));
        format!("{name} {}{time}", p1.text(share))
    };
    let (mut kept, mut words) = (Vec::new(), vec![describe("P@1 with fixed rebuilds", base, fixed)]);
    for other in panel.contestants.iter().filter(|other| other.counts() && other.name.starts_with("lsh-cpu:")) {
        let (Some(other_end), name) = (end(other), other.name.trim_start_matches("lsh-cpu:")) else { continue };
        if name.starts_with("backoff") {
            kept.push(other_end.median >= base.median - tolerance);
        }
        words.push(describe(name, other_end, other));
    }
    found(among(&kept)?, words.join(", "))
}

/// Rebuilding on change takes less rebuild time than at the fixed steps where it looks; in part if P@1 pays for it.
pub fn on_change(panel: &Panel, tolerance: f64) -> Option<Found> {
    let (fixed, change) = (panel.find("lsh-cpu")?, panel.find("lsh-cpu:on-change")?);
    let seconds = |contestant: &Contestant| contestant.last(|row| row.rebuild_s);
    let (theirs, ours) = (seconds(fixed)?, seconds(change)?);
    let (base, p1) = (end(fixed)?, end(change)?);
    // Less than a tenth is noise.
    let verdict = match (ours.median < 0.9 * theirs.median, p1.median >= base.median - tolerance) {
        (true, true) => Holds,
        (true, false) => InPart,
        (false, _) => DoesNotHold,
    };
    let words = format!(
        "{} s of rebuilds on change, {} s at fixed steps; P@1 {} and {}",
        number(ours.median),
        number(theirs.median),
        p1.text(share),
        base.text(share)
    );
    found(verdict, words)
}

/// Recall over the steps that end at a row, of each run: `(step, recall)`.
fn recalls(run: &Run) -> Vec<(u64, f64)> {
    run.sample.iter().filter_map(|row| Some((row.step, row.recall?))).collect()
}

/// Recall rises at rebuilds, from just before to just after, by more than the tolerance: it had decayed. Read from the
/// contestants called `lsh-cpu:every-N`, rebuilt every N steps.
pub fn decay(panel: &Panel, tolerance: f64) -> Option<Found> {
    let (mut rises, mut words) = (Vec::new(), Vec::new());
    for contestant in panel.contestants.iter().filter(|contestant| contestant.counts()) {
        let Some(period) = contestant.name.strip_prefix("lsh-cpu:every-") else { continue };
        let period: u64 = period.parse().ok().filter(|period| *period > 0)?;
        let pairs = |run: &Run| -> Vec<(f64, f64)> {
            let steps = recalls(run);
            let pairs = steps.windows(2).filter(|pair| pair[0].0 > 0 && pair[0].0 % period == 0);
            pairs.map(|pair| (pair[0].1, pair[1].1)).collect()
        };
        let all: Vec<(f64, f64)> = contestant.runs.iter().flat_map(pairs).collect();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let (before, after) = (mean(all.iter().map(|p| p.0).collect()), mean(all.iter().map(|p| p.1).collect()));
        if !all.is_empty() {
            rises.push(after - before > tolerance);
            words.push(format!(
                "rebuilt every {period} steps, recall {} just before and {} just after",
                share(before),
                share(after)
            ));
        }
    }
    if let Some(never) = panel.find("lsh-cpu:never") {
        let first = Spread::of(never.runs.iter().filter_map(|run| recalls(run).first().map(|(_, recall)| *recall)));
        let last = Spread::of(never.runs.iter().filter_map(|run| recalls(run).last().map(|(_, recall)| *recall)));
        if let (Some(first), Some(last)) = (first, last) {
            words.push(format!("never rebuilt, from {} to {}", share(first.median), share(last.median)));
        }
    }
    found(among(&rises)?, words.join("; "))
}

/// What Adam adds to the dense step, against plain gradient descent: at least `figure` of it, in part from a tenth on.
pub fn adam_dominates(panel: &Panel, figure: f64) -> Option<Found> {
    let share_of = |name: &str, without: &str| {
        let ratio = step_ratio(panel.find(name)?, panel.find(without)?)?;
        Some(1.0 - ratio.median)
    };
    let dense = share_of("dense-cpu", "dense-cpu:sgd")?;
    let mut words = vec![format!("{} of dense-cpu's step", percent(dense))];
    words.extend(share_of("lsh-cpu:dense-adam", "lsh-cpu").map(|part| {
        format!("{} of lsh-cpu's where Adam moves every row, against the active ones alone", percent(part))
    }));
    for other in panel.contestants.iter().filter(|other| other.counts()) {
        words.extend(end(other).map(|p1| format!("{} ends at P@1 {}", other.name, p1.text(share))));
    }
    let verdict = match dense {
        most if most >= figure => Holds,
        some if some >= 0.1 => InPart,
        _ => DoesNotHold,
    };
    found(verdict, words.join(", "))
}

/// The same engine, batches and order from several initial parameters: P@1 after as many steps differs by at least the
/// tolerance. Contestants are called `dense-cpu:start-1`, `dense-cpu:start-2` …
pub fn start(panel: &Panel, tolerance: f64) -> Option<Found> {
    let starts: Vec<&Contestant> =
        panel.contestants.iter().filter(|c| c.counts() && c.name.starts_with("dense-cpu:start-")).collect();
    if starts.len() < 2 {
        return None;
    }
    let seeds = starts[0].runs.iter().map(|run| run.seed);
    let range = |seed: u64, row_of: &dyn Fn(&Run) -> Option<f64>| {
        let of_seed = |contestant: &&Contestant| row_of(contestant.runs.iter().find(|run| run.seed == seed)?);
        let spread = Spread::of(starts.iter().filter_map(of_seed))?;
        (spread.n > 1).then_some(spread.max - spread.min)
    };
    let widest = |seed: u64| {
        let steps = starts[0].runs.iter().find(|run| run.seed == seed)?.points(Axis::Steps);
        let at = |step: f64| {
            range(seed, &|run: &Run| run.points(Axis::Steps).iter().find(|(x, _)| *x == step).map(|(_, p1)| *p1))
        };
        steps.iter().skip(1).filter_map(|(step, _)| at(*step)).max_by(f64::total_cmp)
    };
    let widest = Spread::of(seeds.clone().filter_map(widest))?;
    let at_end = Spread::of(seeds.filter_map(|seed| range(seed, &|run: &Run| run.full.as_ref()?.p1)))?;
    let words = format!(
        "P@1 from {} starts differs by up to {} on the way and {} at the end",
        starts.len(),
        widest.text(share),
        at_end.text(share)
    );
    let verdict = match (widest.median >= tolerance, at_end.median >= tolerance) {
        (_, true) => Holds,
        (true, false) => InPart,
        (false, false) => DoesNotHold,
    };
    found(verdict, words)
}

/// A hashed hidden layer with a share of its neurons (`lsh:0.05` …) ends no further below the dense network than the
/// tolerance: holds if it does with `figure` of them, in part if only with more.
pub fn fraction(panel: &Panel, figure: f64, tolerance: f64) -> Option<Found> {
    let dense = panel.find("dense-cpu")?;
    let base = end(dense)?;
    let flops = |contestant: &Contestant| {
        Some(contestant.last(|row| row.flops_per_step)?.median / dense.last(|row| row.flops_per_step)?.median)
    };
    let of = |family: &str| -> Vec<(f64, Spread, Option<f64>)> {
        let named = |contestant: &Contestant| {
            let part = contestant.name.strip_prefix(family)?.parse::<f64>().ok()?;
            Some((part, end(panel.find(&contestant.name)?)?, flops(contestant)))
        };
        let mut points: Vec<_> = panel.contestants.iter().filter_map(named).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let hashed = of("lsh:");
    let enough = |part: f64, p1: Spread| part < 1.0 && p1.median >= base.median - tolerance;
    let least = hashed.iter().find(|(part, p1, _)| enough(*part, *p1));
    let (first, ..) = hashed.first()?;
    let verdict = match least {
        Some((part, ..)) if *part <= figure => Holds,
        Some(_) => InPart,
        None if *first > figure => return None,
        None => DoesNotHold,
    };
    let list = |points: &[(f64, Spread, Option<f64>)]| {
        let texts = points.iter().map(|(part, p1, flops)| {
            let cost = flops.map_or_else(String::new, |flops| format!(", {} of the FLOP", percent(flops)));
            format!("{} with {}{cost}", p1.text(share), percent(*part))
        });
        texts.collect::<Vec<_>>().join("; ")
    };
    let random = of("random:");
    let random = if random.is_empty() { String::new() } else { format!("; at random {}", list(&random)) };
    found(verdict, format!("P@1 {} dense; hashed {}{random}", base.text(share), list(&hashed)))
}

/// Evaluation through the tables is faster than over all logits by the claim's factor, at the same P@1.
pub fn fast_inference(ours: &Contestant, figure: f64, tolerance: f64) -> Option<Found> {
    let (p1, speed) = inference(ours)?;
    let verdict = match (speed.median >= figure, speed.median > 1.0 && p1.median >= -tolerance) {
        (true, true) => Holds,
        (_, true) | (true, _) => InPart,
        (false, false) => DoesNotHold,
    };
    found(verdict, format!("{} the speed of all logits at P@1 {:+.3}", speed.text(times), p1.median))
}

/// The hashed engine's cost to the dense GPU engine's P@1, where an hour of the GPU machine costs `price` times that of
/// the CPU one.
pub fn cost(wall: Spread, price: f64) -> Option<Found> {
    let cheaper = wall.median * price;
    yes_or_no(
        cheaper >= 1.0,
        format!("the GPU run costs {} the hashed one at {} the price an hour", times(cheaper), times(price)),
    )
}

/// Whether who is first by time is another than by cost.
pub fn ranking_by_cost(wall: Spread, price: f64) -> Option<Found> {
    let changes = (wall.median > 1.0) != (wall.median * price > 1.0);
    let words = format!(
        "hashing is {} as fast and {} as cheap, at {} the price an hour of a GPU",
        times(wall.median),
        times(wall.median * price),
        times(price)
    );
    yes_or_no(changes, words)
}

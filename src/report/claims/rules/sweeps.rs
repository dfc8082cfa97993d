//! Rules over sweeps: contestants that differ by one setting (an optimisation, threads, a sample's size, a batch, a
//! number of tables), told apart by what follows the colon of their labels.

use super::super::super::parts::Part;
use super::super::super::runs::{Axis, Contestant, Panel};
use super::super::super::statistics::{Spread, bytes, number, share, times};
use super::super::super::verdict::{Duel, Outcome, SLACK, ratio};
use super::super::Verdict::{self, DoesNotHold, Holds, InPart};
use super::{Claim, Found, active, both, found, percent, yes_or_no};

/// A gain below this is none: what two runs of one setting may differ by.
const NOTHING: f64 = 1.05;

/// Holds at the published size, in part if it is there at all.
fn at_least(gain: f64, claim: &Claim, words: String) -> Option<Found> {
    let verdict = match claim.figure {
        Some(figure) if gain >= figure * (1.0 - claim.tolerance) => Holds,
        _ if gain > NOTHING => InPart,
        _ => DoesNotHold,
    };
    found(verdict, words)
}

fn step_seconds(contestant: &Contestant, clock: Axis) -> Option<f64> {
    Some(contestant.a_step(clock)?.median)
}

// The ladder: `lsh-cpu:1-portable`, `lsh-cpu:2-avx2`, …, each with one switch more than the one before.

/// Name and CPU seconds a step of every rung that ran, in order.
fn ladder(panel: &Panel) -> Vec<(&str, f64)> {
    let mut rungs: Vec<(u32, &str, f64)> = panel
        .contestants
        .iter()
        .filter(|contestant| contestant.counts())
        .filter_map(|contestant| {
            let (place, name) = contestant.name.strip_prefix("lsh-cpu:")?.split_once('-')?;
            Some((place.parse().ok()?, name, step_seconds(contestant, Axis::CpuSeconds)?))
        })
        .collect();
    rungs.sort_by_key(|&(place, ..)| place);
    rungs.into_iter().map(|(_, name, seconds)| (name, seconds)).collect()
}

/// CPU seconds a step of rung `from` over those of rung `to`.
fn gain(rungs: &[(&str, f64)], from: &str, to: &str) -> Option<f64> {
    let seconds = |name: &str| rungs.iter().find(|rung| rung.0 == name).map(|rung| rung.1);
    Some(seconds(from)? / seconds(to)?)
}

/// The hashed engine without vectors and huge pages, against the dense one of `baseline`: seconds a step.
pub fn unoptimised(claim: &Claim, panel: &Panel) -> Option<Found> {
    let plain = step_seconds(panel.find("lsh-cpu:1-portable")?, Axis::TrainSeconds)?;
    let rival = step_seconds(panel.find(claim.baseline.as_deref()?)?, Axis::TrainSeconds)?;
    at_least(
        rival / plain,
        claim,
        format!("{} a step, {} s against {} s", times(rival / plain), number(plain), number(rival)),
    )
}

/// Vectors and huge pages together.
pub fn optimised(claim: &Claim, panel: &Panel) -> Option<Found> {
    let rungs = ladder(panel);
    let (all, pages) = (gain(&rungs, "portable", "huge-pages")?, gain(&rungs, "avx512", "huge-pages"));
    let part = pages.map_or_else(String::new, |pages| format!(", huge pages {} of it", times(pages)));
    at_least(all, claim, format!("{} fewer CPU seconds a step{part}", times(all)))
}

/// Vectors, huge pages and bf16 together; in words, every rung over the one before.
pub fn whole_ladder(claim: &Claim, panel: &Panel) -> Option<Found> {
    let rungs = ladder(panel);
    let all = gain(&rungs, "portable", "packed-moments")?;
    let steps: Vec<String> = rungs
        .windows(2)
        .map(|pair| format!("{} {}", pair[1].0.replace('-', " "), times(pair[0].1 / pair[1].1)))
        .collect();
    let (first, last) = (rungs.first()?, rungs.last()?);
    let words = format!(
        "{} by vectors, huge pages and bf16 moments; {} from {} to {} CPU s a step by all: {}",
        times(all),
        times(first.1 / last.1),
        number(first.1),
        number(last.1),
        steps.join(", ")
    );
    at_least(all, claim, words)
}

/// AVX-512 over AVX2 is no more than published.
pub fn wider_vectors(claim: &Claim, panel: &Panel) -> Option<Found> {
    let gain = gain(&ladder(panel), "avx2", "avx512")?;
    yes_or_no(gain <= claim.figure? * (1.0 + claim.tolerance), format!("{} over AVX2", times(gain)))
}

/// bf16 in Adam's moments and in the products.
pub fn bf16(claim: &Claim, panel: &Panel) -> Option<Found> {
    let rungs = ladder(panel);
    let moments = gain(&rungs, "huge-pages", "packed-moments")?;
    let products = gain(&rungs, "shared-set", "bf16-products")?;
    let enough = |gain: f64| gain >= claim.figure.unwrap_or(f64::NAN) * (1.0 - claim.tolerance);
    let words = format!("{} by bf16 moments, {} by bf16 products of a shared set", times(moments), times(products));
    found(both(enough(moments), enough(products)), words)
}

/// The layout of memory brings more than vectors and bf16.
pub fn layout(panel: &Panel) -> Option<Found> {
    let rungs = ladder(panel);
    let arithmetic = gain(&rungs, "portable", "avx512")? * gain(&rungs, "huge-pages", "packed-moments")?;
    let memory = gain(&rungs, "avx512", "huge-pages")?;
    let words = format!(
        "vectors and bf16 {}, huge pages {}; the layout of the first release is not an option here",
        times(arithmetic),
        times(memory)
    );
    yes_or_no(memory > arithmetic, words)
}

// Threads: `lsh-cpu:1-thread`, `lsh-cpu:8-threads`, and `lsh-cpu` with all there are.

/// The contestants that are `engine` at some number of threads, by that number.
fn by_threads<'p>(panel: &'p Panel, engine: &str) -> Vec<(usize, &'p Contestant)> {
    let ours = |name: &str| match name.strip_prefix(engine) {
        Some("") => true,
        Some(rest) => rest.starts_with(':') && (rest.ends_with("-thread") || rest.ends_with("-threads")),
        None => false,
    };
    let mut found: Vec<(usize, &Contestant)> = panel
        .contestants
        .iter()
        .filter(|contestant| contestant.counts() && ours(&contestant.name))
        .filter_map(|contestant| Some((contestant.runs.first()?.last()?.threads, contestant)))
        .collect();
    found.sort_by_key(|&(threads, _)| threads);
    found.dedup_by_key(|&mut (threads, _)| threads);
    found
}

/// Training seconds a step at fewest threads over those at most, with both numbers of threads.
fn speed_up(panel: &Panel, engine: &str) -> Option<(usize, usize, f64)> {
    let found = by_threads(panel, engine);
    let (&(fewest, slow), &(most, fast)) = (found.first()?, found.last()?);
    let seconds = |contestant| step_seconds(contestant, Axis::TrainSeconds);
    (most > fewest).then_some((fewest, most, seconds(slow)? / seconds(fast)?))
}

/// Speed grows with threads, up to the tolerance.
pub fn scaling(claim: &Claim, panel: &Panel) -> Option<Found> {
    let mut verdicts = Vec::new();
    let mut words = Vec::new();
    for engine in ["lsh-cpu", "lsh-cpu-per-sample", "dense-cpu"] {
        let Some((fewest, most, gain)) = speed_up(panel, engine) else { continue };
        let efficiency = gain * fewest as f64 / most as f64;
        words.push(format!("{engine} {} from {fewest} to {most} threads ({})", times(gain), percent(efficiency)));
        if engine != "dense-cpu" {
            verdicts.push(match () {
                () if efficiency >= 1.0 - claim.tolerance => Holds,
                () if gain > NOTHING => InPart,
                () => DoesNotHold,
            });
        }
    }
    (!verdicts.is_empty()).then(|| Found { verdict: Verdict::of_all(verdicts), words: words.join(", ") })
}

/// Sooner than the dense CPU from `figure` threads on, and than the GPU with the most there are.
pub fn overtakes(claim: &Claim, panel: &Panel) -> Option<Found> {
    let (ours, theirs) = (by_threads(panel, "lsh-cpu"), by_threads(panel, "dense-cpu"));
    let duels: Vec<(usize, Duel)> = ours
        .iter()
        .filter_map(|&(threads, ours)| {
            let &(_, rival) = theirs.iter().find(|other| other.0 == threads)?;
            Some((threads, Duel::of(panel, ours, rival)?))
        })
        .collect();
    let &(most, _) = duels.last()?;
    let behind = duels.iter().rev().find(|(_, duel)| duel.outcome() != Outcome::Sooner).map(|&(threads, _)| threads);
    let from = duels.iter().map(|&(threads, _)| threads).find(|&threads| behind.is_none_or(|behind| threads > behind));
    let claimed = claim.figure? as usize;
    let list = duels.iter().map(|(threads, duel)| {
        let plural = if *threads == 1 { "" } else { "s" };
        let by = duel.wall.map_or("does not reach its P@1".into(), |wall| times(wall.median));
        format!("{threads} thread{plural} {by}")
    });
    let mut words = format!("over dense-cpu: {}", list.collect::<Vec<_>>().join(", "));
    if most < claimed {
        words += &format!("; {claimed} threads are not here");
        return from.and_then(|_| found(InPart, words));
    }
    let cpu = from.is_some_and(|from| from <= claimed);
    let gpu = panel.find("dense-gpu").and_then(|gpu| Duel::of(panel, ours.last()?.1, gpu));
    let Some(gpu) = gpu else {
        words += "; no GPU here";
        return found(if cpu { InPart } else { DoesNotHold }, words);
    };
    let by = gpu.wall.map_or("P@1 not reached".into(), |wall| times(wall.median));
    found(both(cpu, gpu.outcome() == Outcome::Sooner), format!("{words}; over dense-gpu {by} on {most} threads"))
}

/// The dense CPU gains less than a quarter beyond `figure` threads; silent where there are no more.
pub fn saturates(claim: &Claim, panel: &Panel) -> Option<Found> {
    let dense = by_threads(panel, "dense-cpu");
    let limit = claim.figure? as usize;
    let &(most, fast) = dense.last().filter(|(threads, _)| *threads > limit)?;
    let &(at, slow) = dense.iter().rev().find(|(threads, _)| *threads <= limit)?;
    let gain = step_seconds(slow, Axis::TrainSeconds)? / step_seconds(fast, Axis::TrainSeconds)?;
    yes_or_no(gain < 1.25, format!("{} from {at} to {most} threads", times(gain)))
}

// Sampled softmax: `sampled:uniform 5 %`, by the share of the labels that is active.

struct Sampled<'p> {
    kind: &'p str,
    share: f64,
    contestant: &'p Contestant,
}

/// By share, ascending.
fn sampled(panel: &Panel) -> Vec<Sampled<'_>> {
    let mut found: Vec<Sampled<'_>> = panel
        .contestants
        .iter()
        .filter(|contestant| contestant.counts())
        .filter_map(|contestant| {
            let (kind, _) = contestant.name.strip_prefix("sampled:")?.split_once(' ')?;
            Some(Sampled { kind, share: active(contestant)?.median / contestant.labels()?, contestant })
        })
        .collect();
    found.sort_by(|a, b| a.share.total_cmp(&b.share));
    found
}

/// With less than half of the published share, no sampled softmax ends within the tolerance of the full one.
pub fn sampled_share(claim: &Claim, panel: &Panel) -> Option<Found> {
    let (dense, samples) = (panel.find("dense-cpu")?.end()?.median, sampled(panel));
    let mut kinds: Vec<&str> = samples.iter().map(|sample| sample.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let (mut verdicts, mut words) = (Vec::new(), Vec::new());
    for kind in kinds {
        let ours = || samples.iter().filter(|sample| sample.kind == kind);
        let ends: Vec<(f64, f64)> =
            ours().filter_map(|sample| Some((sample.share, sample.contestant.end()?.median))).collect();
        let enough = ends.iter().find(|&&(_, end)| end >= dense - claim.tolerance);
        let half = claim.figure? / 2.0;
        // A kind that was tried with large shares only says nothing about small ones.
        if ends.first()?.0 < half {
            verdicts.push(if enough.is_none_or(|&(least, _)| least >= half) { Holds } else { DoesNotHold });
        }
        let list: Vec<String> =
            ends.iter().map(|&(part, end)| format!("{} at {}", share(end), percent(part))).collect();
        words.push(format!("{kind} ends at P@1 {}", list.join(", ")));
    }
    let hashed = panel.find("lsh-cpu").and_then(|lsh| {
        let part = active(lsh)?.median / lsh.labels()?;
        Some(format!(", hashed at {} with {}", share(lsh.end()?.median), percent(part)))
    });
    let words = format!("full softmax {}{}; {}", share(dense), hashed.unwrap_or_default(), words.join("; "));
    (!verdicts.is_empty()).then(|| Found { verdict: Verdict::of_all(verdicts), words })
}

/// Uniform sampled softmax of at most a tenth of the labels reaches half of the hashed engine's P@1 sooner, and ends
/// lower.
pub fn rises_then_saturates(claim: &Claim, panel: &Panel) -> Option<Found> {
    let lsh = panel.find("lsh-cpu")?;
    let samples = sampled(panel);
    let uniform = samples.iter().rev().find(|sample| sample.kind == "uniform" && sample.share <= 0.1)?;
    let (ours, theirs) = (lsh.end()?.median, uniform.contestant.end()?.median);
    let early = ratio(uniform.contestant, lsh, Axis::TrainSeconds, ours / 2.0);
    let sooner = early.map_or("is not reached".into(), |early| format!("{} sooner", times(early.median)));
    let words = format!(
        "uniform {}: P@1 {} {sooner}, end {} against {}",
        percent(uniform.share),
        share(ours / 2.0),
        share(theirs),
        share(ours)
    );
    found(both(early.is_some_and(|early| early.median > 1.0), theirs < ours - claim.tolerance), words)
}

// Batches: `lsh-cpu:batch-64`.

fn by_batch<'p>(panel: &'p Panel, engine: &str) -> Vec<(usize, &'p Contestant)> {
    let prefix = format!("{engine}:batch-");
    let mut found: Vec<(usize, &Contestant)> = panel
        .contestants
        .iter()
        .filter(|contestant| contestant.counts() && contestant.name.starts_with(&prefix))
        .filter_map(|contestant| Some((contestant.runs.first()?.last()?.batch, contestant)))
        .collect();
    found.sort_by_key(|&(batch, _)| batch);
    found
}

/// Each batch with how much sooner the hashed engine is to the lower of the two P@1 at which the engines end.
fn leads(claim: &Claim, panel: &Panel) -> Option<Vec<(usize, f64)>> {
    let rivals = by_batch(panel, claim.baseline.as_deref()?);
    let lead = |(batch, ours): (usize, &Contestant)| {
        let &(_, rival) = rivals.iter().find(|rival| rival.0 == batch)?;
        let common = ours.end()?.median.min(rival.end()?.median) - SLACK;
        Some((batch, ratio(ours, rival, Axis::TrainSeconds, common)?.median))
    };
    let leads: Vec<_> = by_batch(panel, "lsh-cpu").into_iter().filter_map(lead).collect();
    (leads.len() > 1).then_some(leads)
}

fn tell(leads: &[(usize, f64)]) -> String {
    leads.iter().map(|&(batch, lead)| format!("{} at {batch}", times(lead))).collect::<Vec<_>>().join(", ")
}

/// Ahead at every batch, and by more at the largest than at the smallest.
pub fn widens(claim: &Claim, panel: &Panel) -> Option<Found> {
    let leads = leads(claim, panel)?;
    let ahead = leads.iter().all(|&(_, lead)| lead > 1.0);
    let widening = leads.last()?.1 > leads.first()?.1 * NOTHING;
    found(both(ahead, widening), format!("over {}: {}", claim.baseline.as_deref()?, tell(&leads)))
}

/// The lead at the two largest batches is the same up to the tolerance.
pub fn alike(claim: &Claim, panel: &Panel) -> Option<Found> {
    let leads = leads(claim, panel)?;
    let two = &leads[leads.len() - 2..];
    let (less, more) = (two[0].1.min(two[1].1), two[0].1.max(two[1].1));
    yes_or_no(more <= less * (1.0 + claim.tolerance), format!("ahead of the dense engine {}", tell(two)))
}

/// What the engine holds grows by no more than the tolerance from the smallest batch to the largest.
pub fn batch_memory(claim: &Claim, panel: &Panel) -> Option<Found> {
    let held = |contestant: &Contestant| Some(contestant.last(|row| row.host_bytes.map(|b| b as f64))?.median);
    let batches = by_batch(panel, "lsh-cpu");
    let (&(small, least), &(large, most)) = (batches.first()?, batches.last()?);
    let (before, after) = (held(least)?, held(most)?);
    if small == large {
        return None;
    }
    let words = format!("{} at {small}, {} at {large}", bytes(before), bytes(after));
    yes_or_no(after <= before * (1.0 + claim.tolerance), words)
}

// Other data, more tables.

/// The hashed engine ends below the dense one on the whole test set.
pub fn ends_below(claim: &Claim, panel: &Panel) -> Option<Found> {
    let end = |name| panel.find(name)?.full(|row| row.p1);
    let (ours, theirs) = (end("lsh-cpu")?, end("dense-cpu")?);
    let words = format!("P@1 {} against {}", ours.text(share), theirs.text(share));
    yes_or_no(ours.median < theirs.median - claim.tolerance, words)
}

/// `lsh-cpu:50-tables` ends below the dense engine; more tables close the gap, or at least narrow it.
pub fn tables_needed(claim: &Claim, panel: &Panel) -> Option<Found> {
    let dense = panel.find("dense-cpu")?.full(|row| row.p1)?.median;
    let mut ends: Vec<(u32, f64, Spread)> = panel
        .contestants
        .iter()
        .filter(|contestant| contestant.counts())
        .filter_map(|contestant| {
            let tables = contestant.name.strip_prefix("lsh-cpu:")?.strip_suffix("-tables")?.parse().ok()?;
            Some((tables, contestant.full(|row| row.p1)?.median, active(contestant)?))
        })
        .collect();
    ends.sort_by_key(|&(tables, ..)| tables);
    let (&(fewest, few, _), &(most, many, _)) = (ends.first()?, ends.last()?);
    if fewest == most {
        return None;
    }
    let reaches = |end: f64| end >= dense - claim.tolerance;
    let verdict = match (reaches(few), reaches(many)) {
        (false, true) => Holds,
        (false, false) if many > few + claim.tolerance => InPart,
        _ => DoesNotHold,
    };
    let list: Vec<String> = ends
        .iter()
        .map(|(tables, end, active)| format!("{} with {tables} tables ({} active)", share(*end), number(active.median)))
        .collect();
    found(verdict, format!("P@1 {}, dense {}", list.join(", "), share(dense)))
}

/// The last layer's share of a dense step: what the step with all labels and that with a few differ by.
pub fn last_layer(claim: &Claim, part: &Part) -> Option<Found> {
    let of = |quantity, unit| {
        let value = |case| Some(part.value(case, quantity, unit)?.median);
        Some(1.0 - value("few labels")? / value("all labels")?)
    };
    let (arithmetic, time) = (of("arithmetic", "FLOP")?, of("time", "CPU s")?);
    let figure = claim.figure?;
    let words = format!("{} of the FLOP, {} of the CPU time", percent(arithmetic), percent(time));
    found(both(arithmetic >= figure, time >= figure), words)
}

#[cfg(test)]
mod tests;

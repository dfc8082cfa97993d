//! Who was sooner, in numbers and in a sentence; all of it computed from records.

use super::document::plain;
use super::runs::{Axis, Contestant, Panel, Study};
use super::statistics::{Spread, number, share, times};
use super::style::Style;

/// How much below the baseline's own end the target lies: what a sample of a few thousand test rows cannot tell apart.
pub const SLACK: f64 = 0.005;

/// A baseline that ends below this P@1 has learned nothing: it was run for its time, and there is no accuracy to be
/// sooner at.
const LEARNED: f64 = 0.02;

/// A P@1 less [`SLACK`], in thousandths.
pub fn below(p1: f64) -> f64 {
    ((p1 - SLACK) * 1000.0).floor() / 1000.0
}

/// One contestant against a baseline on one data set: the time each takes to the accuracy at which the baseline ends.
#[derive(Clone, Debug)]
pub struct Duel {
    pub dataset: String,
    pub challenger: String,
    pub baseline: String,
    /// P@1 on the sample: the median at which the baseline's runs end, less [`SLACK`].
    pub target: f64,
    /// Median training seconds of challenger and baseline.
    pub seconds: (Option<f64>, Option<f64>),
    /// Baseline's seconds over challenger's, seed by seed: above 1 the challenger is sooner.
    pub wall: Option<Spread>,
    /// The same in CPU seconds; None against a GPU, whose work CPU seconds do not count.
    pub cpu: Option<Spread>,
    /// Where the target is not reached: a P@1 that both reach (where the challenger ends, less [`SLACK`]) and the ratio
    /// of seconds to it.
    pub lower: Option<(f64, Spread)>,
    /// Seeds compared.
    pub seeds: usize,
}

/// How a duel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sooner with every seed.
    Sooner,
    /// Later with every seed, or the target was not reached.
    Later,
    /// Sooner with some seeds, later with others.
    Level,
}

impl Duel {
    /// None where either has nothing to compare, or the baseline learned nothing.
    pub fn of(panel: &Panel, challenger: &Contestant, baseline: &Contestant) -> Option<Self> {
        if !challenger.counts() || !baseline.counts() {
            return None;
        }
        let ends = (challenger.end()?.median, baseline.end()?.median);
        if ends.1 < LEARNED {
            return None;
        }
        let target = below(ends.1);
        let on_gpu = [challenger, baseline].iter().any(|c| matches!(c.style, Style::DenseGpu | Style::LshGpu));
        Some(Self {
            dataset: panel.dataset.clone(),
            challenger: challenger.name.clone(),
            baseline: baseline.name.clone(),
            target,
            seconds: (
                challenger.reached(Axis::TrainSeconds, target).median(),
                baseline.reached(Axis::TrainSeconds, target).median(),
            ),
            wall: ratio(challenger, baseline, Axis::TrainSeconds, target),
            cpu: if on_gpu { None } else { ratio(challenger, baseline, Axis::CpuSeconds, target) },
            lower: ratio(challenger, baseline, Axis::TrainSeconds, below(ends.0)).map(|ratio| (below(ends.0), ratio)),
            seeds: challenger.runs.len().min(baseline.runs.len()),
        })
    }

    pub fn outcome(&self) -> Outcome {
        match (self.seconds, self.wall) {
            ((Some(_), _), Some(wall)) if wall.min > 1.0 => Outcome::Sooner,
            ((Some(_), _), Some(wall)) if wall.max > 1.0 => Outcome::Level,
            _ => Outcome::Later,
        }
    }

    /// The P@1 that both reach: the target, or where the challenger ends, less [`SLACK`].
    fn common(&self) -> Option<f64> {
        self.wall.map(|_| self.target).or(self.lower.map(|(p1, _)| p1))
    }

    /// The duel in half a sentence.
    fn sentence(&self) -> String {
        let Self { dataset, challenger, baseline, target, .. } = self;
        let (dataset, challenger, baseline) = (plain(dataset), plain(challenger), plain(baseline));
        let target = share(*target);
        let (Some(ours), Some(theirs), Some(wall)) = (self.seconds.0, self.seconds.1, self.wall) else {
            let lower = self.lower.map_or_else(String::new, |(p1, ratio)| {
                let (ratio, word) = faster(ratio.median, "sooner", "later");
                format!(", and is {ratio} {word} to {}", share(p1))
            });
            return format!(
                "on {dataset} {challenger} does **not reach** P@1 {target} (where {baseline} ends, less {SLACK}){lower}"
            );
        };
        let cpu = self.cpu.map_or_else(String::new, |cpu| {
            let (ratio, word) = faster(cpu.median, "fewer", "more");
            format!(", {ratio} {word} CPU seconds")
        });
        let (ratio, word) = faster(wall.median, "sooner", "later");
        let (ours, theirs) = (number(ours), number(theirs));
        format!(
            "on {dataset} {challenger} is **{ratio} {word}** than {baseline} to P@1 {target} ({ours} s against {theirs} \
             s{cpu})"
        )
    }
}

/// A ratio above 1 with the first word, below 1 its inverse with the second.
pub fn faster<'a>(ratio: f64, better: &'a str, worse: &'a str) -> (String, &'a str) {
    if ratio >= 1.0 { (times(ratio), better) } else { (times(1.0 / ratio), worse) }
}

/// Baseline over challenger to a target, by seed where both ran the same ones, else by their medians.
pub fn ratio(challenger: &Contestant, baseline: &Contestant, axis: Axis, target: f64) -> Option<Spread> {
    let (ours, theirs) = (challenger.reached(axis, target), baseline.reached(axis, target));
    let middle = theirs.median()? / ours.median()?;
    let pairs = challenger.runs.iter().zip(&ours.runs).filter_map(|(run, ours)| {
        let same = baseline.runs.iter().position(|other| other.seed == run.seed)?;
        Some(theirs.runs[same]? / (*ours)?)
    });
    // The middle is the ratio of the two medians that tables show; the range is that of the pairs.
    let range = Spread::of(pairs.chain([middle]))?;
    middle.is_finite().then_some(Spread { median: middle, ..range })
}

/// Every duel of the hashed engine against the best of the dense ones, with the data set's runs.
fn duels(study: &Study) -> Vec<(&Panel, Duel)> {
    let duel = |panel| Some((panel, Duel::of(panel, panel.find("lsh-cpu")?, panel.best_dense()?)?));
    study.panels.iter().filter_map(duel).collect()
}

/// The answer to the suite's question, in a few sentences. None where the records hold no pair of a hashed and a dense
/// run on the same data.
pub fn verdict(study: &Study) -> Option<String> {
    let duels = duels(study);
    let count = |outcome| duels.iter().filter(|(_, duel)| duel.outcome() == outcome).count();
    let answer = match (count(Outcome::Sooner), count(Outcome::Later)) {
        _ if duels.is_empty() => return None,
        (sooner, _) if sooner == duels.len() => "Yes, on this machine",
        (_, later) if later == duels.len() => "No, not on this machine",
        (0, 0) => "Neither is sooner on this machine",
        _ => "In part, on this machine",
    };
    let sentences: Vec<String> = duels.iter().map(|(_, duel)| duel.sentence()).collect();
    let mut text = format!("**{answer}.** Against the best dense engine, {}.", sentences.join("; "));
    text += &unhashed(&duels);
    let fewest = duels.iter().map(|(_, duel)| duel.seeds).min().unwrap_or_default();
    if fewest < 3 {
        let seeds = if fewest == 1 { "one seed".into() } else { format!("{fewest} seeds") };
        text += &format!(" This rests on {seeds}; three are asked for.");
    }
    Some(text + &absent(study))
}

/// How the best sampled softmax without hashing does, by the same measure. Empty where none ran.
fn unhashed(duels: &[(&Panel, Duel)]) -> String {
    let mut clauses: Vec<String> = Vec::new();
    let mut named = String::new();
    for (panel, duel) in duels {
        let (Some(p1), Some(dense)) = (duel.common(), panel.find(&duel.baseline)) else { continue };
        let sampled = panel.contestants.iter().filter(|contestant| contestant.counts() && contestant.is_sampled());
        let tries = sampled.map(|one| (plain(&one.name), ratio(one, dense, Axis::TrainSeconds, p1)));
        let speed = |ratio: &Option<Spread>| ratio.map_or(0.0, |ratio| ratio.median);
        let Some((name, ratio)) = tries.max_by(|a, b| speed(&a.1).total_cmp(&speed(&b.1))) else { continue };
        let place = format!("{} on {}", share(p1), plain(&panel.dataset));
        let what = ratio.map_or_else(
            || format!("not there at {place}"),
            |ratio| {
                let (ratio, word) = faster(ratio.median, "sooner", "later");
                format!("**{ratio} {word}** to {place}")
            },
        );
        clauses.push(if name == named { what } else { format!("{name} is {what}") });
        named = name;
    }
    if clauses.is_empty() { String::new() } else { format!(" Without any hashing, {}.", clauses.join(", ")) }
}

/// A sentence on who was to take part and did not.
fn absent(study: &Study) -> String {
    let mut names: Vec<(String, String)> = Vec::new();
    for contestant in study.panels.iter().flat_map(|panel| &panel.contestants) {
        let known = names.iter().any(|(name, _)| *name == contestant.name);
        if contestant.software && !contestant.runs.is_empty() && !known {
            names.push((contestant.name.clone(), "a software adapter is no GPU".into()));
        } else if contestant.runs.is_empty()
            && !known
            && let Some(row) = contestant.troubles.first()
        {
            names.push((contestant.name.clone(), format!("{}: {}", row.status, row.reason)));
        }
    }
    names.into_iter().fold(String::new(), |text, (name, reason)| {
        // What to do about it stands in the table of what did not run.
        let reason = reason.split(';').next().unwrap_or_default().trim_end_matches('.');
        format!("{text} {} is not compared ({}).", plain(&name), plain(reason))
    })
}

//! Rules: what records say to a claim. None where they say nothing.
//!
//! A rule looks at one data set's runs ([`Rule::apply`]), at all of a study's where it compares data sets
//! ([`Rule::of_study`]), or at a measurement of parts ([`Rule::of_part`]).

mod gpu;
mod options;
mod parts;
mod sweeps;
#[cfg(test)]
mod tests;
mod widths;

use super::super::parts::Part;
use super::super::runs::{Axis, Contestant, Panel, Study};
use super::super::statistics::{Spread, number, share, thousands, times};
use super::super::verdict::{Duel, Outcome};
use super::{Claim, Verdict};
use crate::record::Row;
use Verdict::{DoesNotHold, Holds, InPart};
use serde::Deserialize;

/// The rules by their names in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Time to the P@1 at which the baseline ends, by the published factor; in part if by less.
    Sooner,
    /// The same factor is missed.
    Shrinks,
    /// P@1 on the sample after as many iterations differs by no more than the tolerance; in part if it only ends so.
    SameAccuracy,
    /// The same at the end, on the whole test set.
    SameFinalAccuracy,
    /// Active output neurons as a share of all.
    ActiveShare,
    /// FLOP and bytes as shares of the dense engine's, against the share of active neurons.
    CostShare,
    /// The last layer's share of the dense FLOP is at least what the hashed engine saves of them.
    LastLayer,
    /// CPU seconds over training seconds and threads.
    CoreUse,
    /// P@1 and seconds of the final evaluation through the tables, against all logits.
    HashedInference,
    /// The dense engine on the GPU is not sooner than that on the CPU.
    GpuNotAhead,
    /// The ratio of seconds an epoch by three clocks.
    Clocks,
    /// The baseline's P@1 gains more than the tolerance over the last quarter of its iterations.
    StillRising,
    /// Uniform selection ends no further below hashed selection than the tolerance.
    NoBetterThanUniform,
    /// Random fill as a share of the active set.
    FillShare,
    /// Range over at least three seeds of the time to a P@1, as a share of its median.
    Seeds,
    /// Seconds of reservoir and FIFO insertion, and of the hashing before them.
    Insertion,
    /// Draws of the hash functions select as often as the formula for m of T tables says.
    SelectionFormula,
    /// The same for one of T tables of K functions.
    RetrievalFormula,
    /// Seconds a query of each retrieval strategy, for as many neurons retrieved.
    Strategies,
    /// Seconds of an incremental SimHash update against a full rehash, over what changed.
    Incremental,
    /// Recall and hash time of sparse against dense projections.
    Projections,
    /// How well DWTA tells like from unlike sparse vectors, against WTA.
    Dwta,
    /// Candidates a query by K and packing of the codes.
    Packing,
    /// Statistics of the data sets against those published.
    TableOne,
    /// Misses of the translation cache and seconds a row, with and without huge pages.
    HugePages,
    /// P@1 on the first rows of a sorted test file against all of it.
    Evaluation,
    /// Seconds and P@1 of a linear tree.
    LinearTree,
    /// Seconds a step without vectors and huge pages.
    Unoptimised,
    /// What vectors and huge pages bring to a step.
    Optimised,
    /// What vectors, huge pages and bf16 bring, rung by rung.
    Ladder,
    /// AVX-512 over AVX2.
    WiderVectors,
    /// bf16 moments, and bf16 products.
    Bf16,
    /// Huge pages over vectors and bf16.
    Layout,
    /// Speed-up over threads, as a share of the threads added.
    Scaling,
    /// The number of threads from which the hashed engine is sooner.
    Overtakes,
    /// What the dense engine gains beyond a number of threads.
    Saturates,
    /// The share of labels with which sampled softmax ends where the full one does.
    SampledShare,
    /// Sampled softmax is sooner at half of the hashed engine's P@1, and ends lower.
    RisesThenSaturates,
    /// The lead over the baseline at each batch.
    Widens,
    /// The lead at the two largest batches.
    Alike,
    /// Bytes held at each batch.
    BatchMemory,
    /// P@1 on the whole test set is below the dense engine's.
    EndsBelow,
    /// P@1 by the number of hash tables.
    TablesNeeded,
    /// What uploading a dense label matrix adds to a step on the GPU.
    Handicap,
    /// SLIDE's step on the GPU against that on the CPU.
    WinsOnGpu,
    /// SLIDE's step on the GPU against the dense one there.
    AheadOnGpu,
    /// Label counts from which on the hashed step is the cheaper one, against the figure.
    BreakEven,
    /// Whether the hashed step's lead stays above wider hidden layers.
    HiddenWidth,
    /// Whether it stays on denser input.
    Density,
    /// P@1 with a random fill that repeats itself below that with a fresh one.
    RepeatingFill,
    /// Every variant of the hashed engine ends at the same P@1, within the tolerance.
    VariantsAlike,
    /// P@1 at the end with rebuilds ever more rarely.
    Backoff,
    /// Rebuild seconds on change, against those at fixed steps.
    OnChange,
    /// Recall before and after a rebuild.
    Decay,
    /// Adam's share of the dense step, by leaving it out.
    AdamDominates,
    /// P@1 from several initial parameters in the same order.
    Start,
    /// P@1 with a share of a hashed hidden layer, against all of it.
    Fraction,
    /// Speed of inference through the tables, by the published factor.
    FastInference,
    /// Cost to a P@1 on CPU and GPU, at the stated ratio of prices.
    Cost,
    /// Whether cost ranks CPU and GPU otherwise than time does.
    RankingByCost,
}

/// One data set's say.
pub struct Found {
    pub verdict: Verdict,
    pub words: String,
}

fn found(verdict: Verdict, words: String) -> Option<Found> {
    Some(Found { verdict, words })
}

fn yes_or_no(holds: bool, words: String) -> Option<Found> {
    found(if holds { Holds } else { DoesNotHold }, words)
}

/// `12.3 %`.
fn percent(part: f64) -> String {
    format!("{} %", number(part * 100.0))
}

impl Rule {
    /// What a whole study says: for rules that compare its data sets.
    pub fn of_study(self, claim: &Claim, study: &Study) -> Option<Found> {
        match self {
            Rule::BreakEven => widths::break_even(claim, study),
            Rule::Density => widths::density(study, claim.tolerance),
            _ => None,
        }
    }

    /// What a measurement of parts says, beside the runs of the same claim.
    pub fn of_part(self, claim: &Claim, part: &Part, studies: &[&Study]) -> Option<Found> {
        match self {
            Rule::LastLayer => sweeps::last_layer(claim, part),
            Rule::LinearTree => parts::linear_tree(part, studies),
            _ => parts::apply(self, claim, part),
        }
    }

    /// What the runs on one data set say.
    pub fn apply(self, claim: &Claim, panel: &Panel) -> Option<Found> {
        let lsh = || panel.find("lsh-cpu");
        let dense = || panel.find(claim.baseline.as_deref().unwrap_or("dense-cpu"));
        let (figure, tolerance) = (claim.figure.unwrap_or(f64::NAN), claim.tolerance);
        match self {
            Rule::Sooner => sooner(&Duel::of(panel, lsh()?, dense()?)?, figure * (1.0 - tolerance)),
            Rule::Shrinks => {
                let duel = Duel::of(panel, lsh()?, dense()?)?;
                let ratio = duel.wall.map_or(0.0, |wall| wall.median);
                yes_or_no(ratio < figure * (1.0 - tolerance), speed(&duel))
            }
            Rule::SameAccuracy => same_accuracy(lsh()?, dense()?, tolerance),
            Rule::SameFinalAccuracy => {
                let (ours, theirs) = (lsh()?.full(|row| row.p1)?, dense()?.full(|row| row.p1)?);
                let words = format!("P@1 {} against {}", ours.text(share), theirs.text(share));
                yes_or_no(ours.median >= theirs.median - tolerance, words)
            }
            Rule::ActiveShare => {
                let (active, all) = (active(lsh()?)?, lsh()?.labels()?);
                let words = format!(
                    "{} of {} ({})",
                    number(active.median),
                    thousands(all as i64),
                    percent(active.median / all)
                );
                yes_or_no(active.median / all <= figure * (1.0 + tolerance), words)
            }
            Rule::CostShare => cost_share(lsh()?, dense()?, tolerance),
            Rule::LastLayer => {
                let (ours, theirs) = (lsh()?.last(|row| row.flops_per_step)?, dense()?.last(|row| row.flops_per_step)?);
                // The hashed engine computes the other layers in full, so they cost no more than all it does.
                let least = 1.0 - ours.median / theirs.median;
                if least >= figure { found(Holds, format!("at least {}", percent(least))) } else { None }
            }
            Rule::CoreUse => core_use(lsh()?, dense()?, figure * (1.0 - tolerance)),
            Rule::HashedInference => hashed_inference(lsh()?, tolerance),
            Rule::GpuNotAhead => {
                let duel = Duel::of(panel, panel.find("dense-gpu")?, panel.find("dense-cpu")?)?;
                let verdict = match duel.outcome() {
                    Outcome::Sooner => DoesNotHold,
                    Outcome::Level => InPart,
                    Outcome::Later => Holds,
                };
                found(verdict, format!("GPU over CPU {}", speed(&duel)))
            }
            Rule::Clocks => clocks(lsh()?, dense()?, tolerance),
            Rule::StillRising => {
                let gain = Spread::of(dense()?.runs.iter().filter_map(|run| {
                    let points = run.points(Axis::Steps);
                    let &(end, last) = points.last()?;
                    let (_, before) = points.iter().rev().find(|(step, _)| *step <= 0.75 * end)?;
                    (points.len() > 3).then_some(last - before)
                }))?;
                let words = format!("P@1 gains {} over the last quarter", gain.text(share));
                yes_or_no(gain.median > tolerance, words)
            }
            Rule::NoBetterThanUniform => options::no_better_than_uniform(panel, tolerance),
            Rule::FillShare => options::fill_share(panel, figure),
            Rule::Seeds => {
                let (contestant, target) = (lsh()?, Duel::of(panel, lsh()?, dense()?)?.target);
                let seconds = Spread::of(contestant.reached(Axis::TrainSeconds, target).runs.into_iter().flatten())?;
                let range = (seconds.max - seconds.min) / seconds.median;
                if seconds.n < 3 {
                    return None;
                }
                yes_or_no(
                    range >= tolerance,
                    format!("{} s to P@1 {}: a range of {}", seconds.text(number), share(target), percent(range)),
                )
            }
            Rule::Unoptimised => sweeps::unoptimised(claim, panel),
            Rule::Optimised => sweeps::optimised(claim, panel),
            Rule::Ladder => sweeps::whole_ladder(claim, panel),
            Rule::WiderVectors => sweeps::wider_vectors(claim, panel),
            Rule::Bf16 => sweeps::bf16(claim, panel),
            Rule::Layout => sweeps::layout(panel),
            Rule::Scaling => sweeps::scaling(claim, panel),
            Rule::Overtakes => sweeps::overtakes(claim, panel),
            Rule::Saturates => sweeps::saturates(claim, panel),
            Rule::SampledShare => sweeps::sampled_share(claim, panel),
            Rule::RisesThenSaturates => sweeps::rises_then_saturates(claim, panel),
            Rule::Widens => sweeps::widens(claim, panel),
            Rule::Alike => sweeps::alike(claim, panel),
            Rule::BatchMemory => sweeps::batch_memory(claim, panel),
            Rule::EndsBelow => sweeps::ends_below(claim, panel),
            Rule::TablesNeeded => sweeps::tables_needed(claim, panel),
            Rule::Handicap => gpu::handicap(panel, tolerance),
            Rule::WinsOnGpu => gpu::wins_on_gpu(panel),
            Rule::AheadOnGpu => gpu::ahead_on_gpu(panel, figure * (1.0 - tolerance)),
            Rule::HiddenWidth => widths::hidden_width(panel, tolerance),
            Rule::RepeatingFill => options::repeating_fill(panel, tolerance),
            Rule::VariantsAlike => options::variants_alike(panel, tolerance),
            Rule::Backoff => options::backoff(panel, tolerance),
            Rule::OnChange => options::on_change(panel, tolerance),
            Rule::Decay => options::decay(panel, tolerance),
            Rule::AdamDominates => options::adam_dominates(panel, figure),
            Rule::Start => options::start(panel, tolerance),
            Rule::Fraction => options::fraction(panel, figure, tolerance),
            Rule::FastInference => options::fast_inference(lsh()?, figure, tolerance),
            Rule::Cost => options::cost(Duel::of(panel, lsh()?, dense()?)?.wall?, figure),
            Rule::RankingByCost => options::ranking_by_cost(Duel::of(panel, lsh()?, dense()?)?.wall?, figure),
            _ => None,
        }
    }

    /// What must be in the records for this rule to say something.
    pub fn needs(self, claim: &Claim) -> String {
        let baseline = claim.baseline.as_deref().unwrap_or("dense-cpu");
        match self {
            Rule::LinearTree => {
                format!("experiment `{}` where the program omikuji is, and runs on the same data", claim.experiment)
            }
            Rule::HugePages => "a machine that lets its translation cache be counted".into(),
            Rule::Handicap | Rule::WinsOnGpu | Rule::AheadOnGpu => {
                format!("experiment `{}` on a machine with a GPU", claim.experiment)
            }
            Rule::GpuNotAhead => "runs of dense-gpu on a GPU and of dense-cpu".into(),
            Rule::HashedInference => "an evaluation of lsh-cpu through its tables".into(),
            Rule::NoBetterThanUniform => "runs of lsh-cpu and sparse-cpu:uniform".into(),
            Rule::FillShare => "runs of lsh-cpu that count their random fill".into(),
            Rule::LastLayer => {
                format!("the cost of each layer (experiment `{}`); the totals do not decide", claim.experiment)
            }
            Rule::Seeds => "three seeds of lsh-cpu that reach the P@1 at which dense-cpu ends".into(),
            Rule::ActiveShare => "runs of lsh-cpu that record their active neurons and the labels there are".into(),
            Rule::StillRising => "a run of dense-cpu".into(),
            Rule::Insertion
            | Rule::SelectionFormula
            | Rule::RetrievalFormula
            | Rule::Strategies
            | Rule::Incremental
            | Rule::Projections
            | Rule::Dwta
            | Rule::Packing
            | Rule::TableOne
            | Rule::Evaluation => format!("experiment `{}`", claim.experiment),
            Rule::Unoptimised => "a step of dense-gpu on a GPU beside `lsh-cpu:1-portable`".into(),
            Rule::WiderVectors => "a CPU with AVX-512 (contestants `lsh-cpu:2-avx2` and `lsh-cpu:3-avx512`)".into(),
            Rule::Saturates => format!("dense-cpu on more than {} threads", claim.figure.unwrap_or_default()),
            Rule::Overtakes => "lsh-cpu and dense-cpu on as many threads as the claim names".into(),
            Rule::Optimised
            | Rule::Ladder
            | Rule::Bf16
            | Rule::Layout
            | Rule::Scaling
            | Rule::SampledShare
            | Rule::RisesThenSaturates
            | Rule::BatchMemory
            | Rule::TablesNeeded => format!("experiment `{}`", claim.experiment),
            Rule::FastInference => "an evaluation of lsh-cpu through its tables".into(),
            Rule::BreakEven
            | Rule::HiddenWidth
            | Rule::Density
            | Rule::RepeatingFill
            | Rule::VariantsAlike
            | Rule::Backoff
            | Rule::OnChange
            | Rule::Decay
            | Rule::AdamDominates
            | Rule::Start
            | Rule::Fraction => format!("experiment `{}`", claim.experiment),
            _ if baseline == "dense-gpu" => "runs of lsh-cpu and of dense-gpu on a GPU".into(),
            _ => format!("runs of lsh-cpu and {baseline}"),
        }
    }

    /// A field of the claim that this rule reads and the claim lacks.
    #[cfg(test)]
    pub fn lacks(self, claim: &Claim) -> Option<&'static str> {
        let figure = matches!(
            self,
            Rule::Sooner
                | Rule::Shrinks
                | Rule::ActiveShare
                | Rule::LastLayer
                | Rule::CoreUse
                | Rule::FillShare
                | Rule::Strategies
                | Rule::Packing
                | Rule::Unoptimised
                | Rule::Optimised
                | Rule::Ladder
                | Rule::WiderVectors
                | Rule::Bf16
                | Rule::Overtakes
                | Rule::Saturates
                | Rule::SampledShare
                | Rule::AheadOnGpu
                | Rule::BreakEven
                | Rule::AdamDominates
                | Rule::Fraction
                | Rule::FastInference
                | Rule::Cost
                | Rule::RankingByCost
        );
        let baseline = matches!(
            self,
            Rule::Sooner
                | Rule::Shrinks
                | Rule::Cost
                | Rule::RankingByCost
                | Rule::Unoptimised
                | Rule::Widens
                | Rule::Alike
        );
        match () {
            () if figure && claim.figure.is_none() => Some("figure"),
            () if baseline && claim.baseline.is_none() => Some("baseline"),
            () => None,
        }
    }
}

/// What two halves of a claim come to.
fn both(one: bool, other: bool) -> Verdict {
    match (one, other) {
        (true, true) => Holds,
        (false, false) => DoesNotHold,
        _ => InPart,
    }
}

/// What all say, else in part; none where there are none.
fn among(holds: &[bool]) -> Option<Verdict> {
    let count = holds.iter().filter(|holds| **holds).count();
    match (holds.len(), count) {
        (0, _) => None,
        (all, count) if all == count => Some(Holds),
        (_, 0) => Some(DoesNotHold),
        _ => Some(InPart),
    }
}

fn active(contestant: &Contestant) -> Option<Spread> {
    contestant.last(|row| row.active_mean)
}

fn speed(duel: &Duel) -> String {
    match (duel.wall, duel.lower) {
        (Some(wall), _) => format!("{} to P@1 {}", wall.text(times), share(duel.target)),
        (None, Some((p1, ratio))) => {
            format!("P@1 {} not reached; {} to {}", share(duel.target), ratio.text(times), share(p1))
        }
        (None, None) => format!("P@1 {} not reached", share(duel.target)),
    }
}

fn sooner(duel: &Duel, factor: f64) -> Option<Found> {
    let enough = duel.wall.is_some_and(|wall| wall.median >= factor);
    let verdict = match duel.outcome() {
        Outcome::Sooner if enough => Holds,
        Outcome::Sooner | Outcome::Level => InPart,
        Outcome::Later => DoesNotHold,
    };
    found(verdict, speed(duel))
}

fn same_accuracy(ours: &Contestant, theirs: &Contestant, tolerance: f64) -> Option<Found> {
    let (ours, theirs) = (ours.curve(Axis::Steps), theirs.curve(Axis::Steps));
    let differences: Vec<f64> = ours
        .iter()
        .filter_map(|point| Some(point.median - theirs.iter().find(|other| other.x == point.x)?.median))
        .collect();
    let (&last, widest) = (differences.last()?, differences.iter().copied().min_by(f64::total_cmp)?);
    let verdict = both(widest >= -tolerance, last >= -tolerance);
    found(verdict, format!("P@1 {last:+.3} at the last iteration of both, {widest:+.3} where furthest below"))
}

fn cost_share(ours: &Contestant, theirs: &Contestant, tolerance: f64) -> Option<Found> {
    let ratio = |figure: fn(&Row) -> Option<f64>| Some(ours.last(figure)?.median / theirs.last(figure)?.median);
    let flops = ratio(|row| row.flops_per_step)?;
    let bytes = ratio(|row| row.bytes_per_step)?;
    let neurons = active(ours)?.median / ours.labels()?;
    let verdict = if flops.max(bytes) <= neurons * (1.0 + tolerance) {
        Holds
    } else if flops.max(bytes) < 1.0 {
        InPart
    } else {
        DoesNotHold
    };
    found(
        verdict,
        format!(
            "{} of the FLOP and {} of the bytes with {} of the neurons",
            percent(flops),
            percent(bytes),
            percent(neurons)
        ),
    )
}

fn core_use(ours: &Contestant, theirs: &Contestant, busy: f64) -> Option<Found> {
    let used = |contestant: &Contestant| contestant.last(|row| Some(row.cpu_s? / (row.train_s? * row.threads as f64)));
    let threads = ours.runs.first()?.last()?.threads;
    let (ours, theirs) = (used(ours)?, used(theirs)?);
    let verdict = both(ours.median >= busy, theirs.median < 0.5);
    found(verdict, format!("{} against {} on {threads} threads", percent(ours.median), percent(theirs.median)))
}

/// Through the tables against over all logits, at the end: what P@1 gains, and how many times faster it is.
fn inference(ours: &Contestant) -> Option<(Spread, Spread)> {
    let of = |figure: fn(&Row, &Row) -> Option<f64>| {
        Spread::of(ours.runs.iter().filter_map(|run| figure(run.hashed.as_ref()?, run.full.as_ref()?)))
    };
    Some((of(|hashed, full| Some(hashed.p1? - full.p1?))?, of(|hashed, full| Some(full.eval_s? / hashed.eval_s?))?))
}

fn hashed_inference(ours: &Contestant, tolerance: f64) -> Option<Found> {
    let (p1, speed) = inference(ours)?;
    let verdict = both(p1.median >= -tolerance, speed.median > 1.0);
    found(verdict, format!("P@1 {:+.3} at {} the speed of all logits", p1.median, times(speed.median)))
}

fn clocks(ours: &Contestant, theirs: &Contestant, tolerance: f64) -> Option<Found> {
    let ratio = |clock: fn(&Row) -> Option<f64>| Some(theirs.last(clock)?.median / ours.last(clock)?.median);
    let ratios = [
        ratio(|row| Some(row.device_s? / row.epoch)),
        ratio(|row| Some(row.train_s? / row.epoch)),
        ratio(|row| Some(row.total_s? / row.epoch)),
    ];
    let [device, train, total] = [ratios[0]?, ratios[1]?, ratios[2]?];
    let all = Spread::of([device, train, total])?;
    let words = format!(
        "{} by the device clock, {} by the training loop, {} by everything",
        times(device),
        times(train),
        times(total)
    );
    yes_or_no(all.max / all.min - 1.0 >= tolerance, words)
}

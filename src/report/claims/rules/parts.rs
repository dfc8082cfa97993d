//! Rules over measurements of parts.

use super::super::super::parts::Part;
use super::super::super::runs::{Axis, Study};
use super::super::super::statistics::{Spread, crossing, number, share, times};
use super::super::Verdict::{DoesNotHold, Holds, InPart, NotMeasurable};
use super::super::plain;
use super::{Claim, Found, Rule, both, found, percent};

#[cfg(test)]
mod tests;

/// What a measurement says to a claim; none from rules over runs.
pub fn apply(rule: Rule, claim: &Claim, part: &Part) -> Option<Found> {
    match rule {
        Rule::Insertion => insertion(part),
        Rule::SelectionFormula => formula(part, ", m=", claim.tolerance),
        Rule::RetrievalFormula => formula(part, ", K ", claim.tolerance),
        Rule::Strategies => strategies(part, claim.figure?, claim.tolerance),
        Rule::Incremental => incremental(part),
        Rule::Projections => projections(part, claim.tolerance),
        Rule::Dwta => dwta(part),
        Rule::Packing => packing(part, claim.figure?),
        Rule::TableOne => table_one(part, claim.tolerance),
        Rule::HugePages => huge_pages(part),
        Rule::Evaluation => evaluation(part, claim.tolerance),
        _ => None,
    }
}

/// Reservoir insertion takes less time than FIFO, and hashing more than ten times as long as either.
fn insertion(part: &Part) -> Option<Found> {
    let seconds = |what: &str| Some(part.value(&format!("{what}, 1 thread"), "time", "s")?.median);
    let (fifo, reservoir) = (seconds("FIFO, insertion")?, seconds("reservoir, insertion")?);
    let hashing = seconds("FIFO, hashing")?;
    let verdict = both(reservoir < fifo, hashing > 10.0 * fifo.max(reservoir));
    let words = format!(
        "reservoir {} s, FIFO {} s, hashing {} s on one thread",
        number(reservoir),
        number(fifo),
        number(hashing)
    );
    found(verdict, words)
}

/// Monte Carlo and formula at one collision probability.
struct Drawn {
    found: f64,
    formula: f64,
    error: f64,
}

impl Drawn {
    /// The points of a case, by rising probability.
    fn of(part: &Part, case: &str) -> Option<Vec<Self>> {
        let values = |quantity| part.series(case, quantity, "").into_iter().map(|(_, spread)| spread.median);
        let (found, formula, error) = (values("Monte Carlo"), values("formula"), values("standard error"));
        let points: Vec<Self> =
            found.zip(formula).zip(error).map(|((found, formula), error)| Self { found, formula, error }).collect();
        (!points.is_empty()).then_some(points)
    }

    fn errors(&self) -> f64 {
        (self.found - self.formula).abs() / self.error
    }
}

/// Where functions are independent, Monte Carlo lies within three standard errors of the formula at every point of the
/// cases that hold `kind`; where they are not (the `wide` cases), within the tolerance as well. Retrieval of one
/// table's bucket or more must never fall as vectors grow alike.
fn formula(part: &Part, kind: &str, tolerance: f64) -> Option<Found> {
    let cases = |wide: bool| {
        let ours = part.cases().into_iter().filter(move |case| case.contains(kind) && case.contains("wide") == wide);
        ours.filter_map(|case| Drawn::of(part, case)).collect::<Vec<_>>()
    };
    let (independent, wide) = (cases(false), cases(true));
    let furthest = independent.iter().flatten().map(Drawn::errors).max_by(f64::total_cmp)?;
    let count = independent.iter().flatten().count();
    let beyond = independent.iter().flatten().filter(|point| point.errors() > 3.0).count();
    let falls = independent.iter().any(|case| {
        let falls = |pair: &[Drawn]| pair[0].found - pair[1].found > 3.0 * (pair[0].error + pair[1].error);
        case.windows(2).any(falls)
    });
    let apart = wide.iter().flatten().map(|point| (point.found - point.formula).abs()).max_by(f64::total_cmp);
    let mut words =
        format!("{} of {count} points within 3 standard errors, the furthest at {furthest:.1}", count - beyond);
    if let Some(apart) = apart {
        words += &format!("; {} apart at most where bins share a permutation (DWTA at full width)", share(apart));
    }
    let verdict = match (beyond == 0 && !falls, apart.is_none_or(|apart| apart <= tolerance)) {
        (true, true) => Holds,
        (true, false) => InPart,
        (false, _) => DoesNotHold,
    };
    found(verdict, words)
}

/// Median CPU seconds of a case over x: of work on one thread, less disturbed than the clock on the wall.
fn seconds(part: &Part, case: &str) -> Vec<(f64, f64)> {
    curve(part, case, "time", "CPU s")
}

/// Medians of a quantity over x, ascending.
fn curve(part: &Part, case: &str, quantity: &str, unit: &str) -> Vec<(f64, f64)> {
    part.series(case, quantity, unit).into_iter().filter_map(|(x, spread)| Some((x?, spread.median))).collect()
}

/// The value at x on straight lines between the logarithms of the points; none outside them.
fn between(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let pair = points.windows(2).find(|pair| pair[0].0 <= x && x <= pair[1].0)?;
    let [(x0, y0), (x1, y1)] = [pair[0], pair[1]].map(|(x, y)| (x.ln(), y.ln()));
    Some(if x1 > x0 { y0 + (y1 - y0) * (x.ln() - x0) / (x1 - x0) } else { y0 }.exp())
}

/// Top-k takes `factor` times as long as vanilla somewhere, and a hard threshold at most 1 + `tolerance` times
/// everywhere, each where as many neurons are retrieved.
fn strategies(part: &Part, factor: f64, tolerance: f64) -> Option<Found> {
    let vanilla = seconds(part, "vanilla");
    let against = |case| {
        let ratio = |(x, y): &(f64, f64)| Some(*y / between(&vanilla, *x)?);
        Spread::of(seconds(part, case).iter().filter_map(ratio))
    };
    let (top, threshold) = (against("top-k")?, against("hard threshold")?);
    let verdict = both(top.max >= factor, threshold.max <= 1.0 + tolerance);
    let range = |spread: Spread| format!("{} to {}", times(spread.min), times(spread.max));
    let words = format!("top-k takes {} of vanilla's time, a hard threshold {}", range(top), range(threshold));
    found(verdict, words)
}

/// An incremental update takes less time than a full rehash: whatever changed; in part if only where little did.
fn incremental(part: &Part) -> Option<Found> {
    let full = part.value("full rehash", "time", "CPU s")?.median;
    let mut saves = Vec::new();
    let mut words = Vec::new();
    for (case, what) in [("incremental, rows", "rows"), ("incremental, weights", "weights")] {
        let points: Vec<(f64, f64)> = seconds(part, case).into_iter().map(|(x, y)| (x, y / full)).collect();
        let &(least, first) = points.first()?;
        saves.push((first < 1.0, points.iter().all(|point| point.1 < 1.0)));
        words.push(match crossing(&points, 1.0) {
            _ if first >= 1.0 => format!("nothing even with {} of the {what} changed", percent(least)),
            Some(end) => format!("time up to {} of the {what}", percent(end)),
            None => format!("time whatever share of the {what} changed"),
        });
        words.push(format!("{} of a full rehash at {}", times(first), percent(least)));
    }
    let verdict = match (saves.iter().all(|saves| saves.1), saves.iter().any(|saves| saves.0)) {
        (true, _) => Holds,
        (false, true) => InPart,
        _ => DoesNotHold,
    };
    found(verdict, format!("saves {}", words.join(", ")))
}

/// Recall with one coordinate in 3, and with one in 10, is that with all, less the tolerance, at any number retrieved.
fn projections(part: &Part, tolerance: f64) -> Option<Found> {
    let dense = curve(part, "1 in 1", "recall", "share");
    let hashing = |case: &str| Some(part.value(case, "time", "CPU s")?.median);
    let mut all = Vec::new();
    let mut words = Vec::new();
    for case in ["1 in 3", "1 in 10"] {
        let recall = curve(part, case, "recall", "share");
        let apart = recall.iter().zip(&dense).map(|(sparse, dense)| sparse.1 - dense.1).min_by(f64::total_cmp)?;
        all.push(apart >= -tolerance);
        words.push(format!(
            "{case}: recall {apart:+.3} at worst in {} of the time",
            times(hashing(case)? / hashing("1 in 1")?)
        ));
    }
    let verdict = match all[..] {
        [true, true] => Holds,
        [true, false] => InPart,
        _ => DoesNotHold,
    };
    found(verdict, words.join("; "))
}

/// At every density at which the two differ, tables of DWTA tell like from unlike pairs better than those of WTA, and
/// their collisions order pairs no worse (AUC, to half a percent); in part if one of the two.
fn dwta(part: &Part) -> Option<Found> {
    let of = |quantity, unit| curve(part, "WTA", quantity, unit).into_iter().zip(curve(part, "DWTA", quantity, unit));
    let (alike, unlike) = (of("like pairs retrieved", "share"), of("unlike pairs retrieved", "share"));
    let order: Vec<_> = of("AUC", "").collect();
    let (mut better, mut words) = (true, Vec::new());
    for ((plain, densified), (plain_unlike, densified_unlike)) in alike.zip(unlike) {
        let gaps = (plain.1 - plain_unlike.1, densified.1 - densified_unlike.1);
        better &= gaps.1 > gaps.0 || (plain, plain_unlike) == (densified, densified_unlike);
        words.push(format!(
            "at {} % DWTA retrieves {} of like and {} of unlike pairs, WTA {} and {}",
            number(plain.0),
            percent(densified.1),
            percent(densified_unlike.1),
            percent(plain.1),
            percent(plain_unlike.1)
        ));
    }
    let (plain, densified) = order.iter().min_by(|a, b| a.0.0.total_cmp(&b.0.0))?;
    words.push(format!("AUC {} against {} where sparsest", share(densified.1), share(plain.1)));
    let verdict = both(better, order.iter().all(|(plain, densified)| densified.1 >= plain.1 - 0.005));
    found(verdict, words.join("; "))
}

/// Either choice, K or packing, changes the candidates a query by the factor.
fn packing(part: &Part, factor: f64) -> Option<Found> {
    let candidates = |case: &str| Some(part.value(case, "candidates a query", "")?.median);
    let recall = |case: &str| Some(part.value(case, "recall of the true top", "share")?.median);
    let cases = ["K 6, released", "K 6, exact", "K 8, released", "K 8, exact"];
    let [a, b, c, d] = [candidates(cases[0])?, candidates(cases[1])?, candidates(cases[2])?, candidates(cases[3])?];
    let ratios = [a / b, c / d, a / c, b / d];
    let verdict = match ratios.iter().filter(|ratio| **ratio >= factor).count() {
        4 => Holds,
        0 => DoesNotHold,
        _ => InPart,
    };
    let of = |case| Some(format!("{case}: {} a query, recall {}", number(candidates(case)?), percent(recall(case)?)));
    found(verdict, cases.into_iter().map(of).collect::<Option<Vec<_>>>()?.join("; "))
}

/// Every statistic is the published one, within the tolerance.
fn table_one(part: &Part, tolerance: f64) -> Option<Found> {
    let (mut right, mut wrong) = (0, Vec::new());
    for case in part.cases() {
        let published = format!("{case}, published");
        for (quantity, unit) in part.quantities() {
            let value = |case: &str| Some(part.value(case, quantity, unit)?.median);
            if let Some((found, published)) = value(case).zip(value(&published)) {
                if (found / published - 1.0).abs() <= tolerance {
                    right += 1;
                } else {
                    wrong.push(format!("{case}: {quantity} {} for {}", number(found), number(published)));
                }
            }
        }
    }
    let verdict = match (right, wrong.len()) {
        (0, 0) => return None,
        (_, 0) => Holds,
        (0, _) => DoesNotHold,
        _ => InPart,
    };
    let mut words = vec![format!("{right} of {} figures within {}", right + wrong.len(), percent(tolerance))];
    words.extend(wrong);
    found(verdict, words.join("; "))
}

/// Huge pages at least halve the misses a row; time is told beside them, or instead where they cannot be counted.
fn huge_pages(part: &Part) -> Option<Found> {
    let mut cuts = Vec::new();
    let mut words = Vec::new();
    for kernel in ["inner products", "Adam"] {
        let ratio = |quantity, unit| {
            let of = |pages| Some(part.value(&format!("{kernel}, {pages}"), quantity, unit)?.median);
            Some((of("small pages")?, of("huge pages")?))
        };
        let (small, huge) = ratio("time", "s")?;
        let mut told = format!("{kernel}: {} ns a row for {}", number(1e9 * huge), number(1e9 * small));
        if let Some((small, huge)) = ratio("dTLB load misses a row", "") {
            cuts.push(huge / small);
            told += &format!(", {} misses for {}", number(huge), number(small));
        }
        words.push(told);
    }
    let granted = part.value("first touch, huge pages", "on huge pages", "share");
    words.extend(granted.map(|granted| format!("{} of the table on huge pages", percent(granted.median))));
    let verdict = match Spread::of(cuts.iter().copied()) {
        None => {
            words.push("misses cannot be counted here; another machine may let them".into());
            NotMeasurable
        }
        Some(cut) if cut.max <= 0.5 => Holds,
        Some(cut) if cut.min < 1.0 => InPart,
        Some(_) => DoesNotHold,
    };
    found(verdict, words.join("; "))
}

/// The first rows of the sorted file show a P@1 above that of all rows, by more than the tolerance; in part if by less
/// but in every run.
fn evaluation(part: &Part, tolerance: f64) -> Option<Found> {
    let of = |start: &str, end: &str| {
        let case = part.cases().into_iter().find(|case| case.starts_with(start) && case.ends_with(end))?;
        part.value(case, "P@1", "")
    };
    let sorted = of("the first", "by label")?;
    let (random, all) = (of("", "at random")?, of("all", "")?);
    let verdict = if sorted.median - all.median > tolerance {
        Holds
    } else if sorted.min > all.max {
        InPart
    } else {
        DoesNotHold
    };
    let words = format!(
        "P@1 {} on the first rows sorted by label, {} on as many at random, {} on all",
        sorted.text(share),
        random.text(share),
        all.text(share)
    );
    found(verdict, words)
}

/// The tree is trained before either network comes to its P@1; in part if before one of them, or if a network ends above
/// what the tree reaches.
pub fn linear_tree(part: &Part, studies: &[&Study]) -> Option<Found> {
    let panels = studies.iter().filter(|study| study.label == part.label).flat_map(|study| &study.panels);
    let (mut duels, mut words) = (Vec::new(), Vec::new());
    for panel in panels {
        let value = |quantity, unit| Some(part.value(&panel.dataset, quantity, unit)?.median);
        let Some((p1, trained)) = value("P@1", "").zip(value("training", "s")) else { continue };
        words.push(format!("{}: P@1 {} after {} s", plain(&panel.dataset), share(p1), number(trained)));
        for name in ["lsh-cpu", "dense-cpu"] {
            let Some((contestant, end)) = panel.find(name).and_then(|found| Some((found, found.end()?))) else {
                continue;
            };
            let reached = contestant.reached(Axis::TrainSeconds, p1);
            duels.push((reached.median().is_none_or(|seconds| trained < seconds), end.median > p1));
            words.push(format!("{name} {} s to it, ends at {}", reached.text(number), share(end.median)));
        }
    }
    let verdict = match duels.iter().filter(|duel| duel.0).count() {
        _ if duels.is_empty() => return None,
        0 => DoesNotHold,
        all if all == duels.len() && duels.iter().all(|duel| !duel.1) => Holds,
        _ => InPart,
    };
    found(verdict, words.join(", "))
}

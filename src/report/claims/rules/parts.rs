//! Rules over measurements of parts.

use super::super::super::parts::Part;
use super::super::super::statistics::{number, share};
use super::super::Verdict::{DoesNotHold, Holds, InPart};
use super::{Claim, Found, Rule, found};

/// What a measurement says to a claim; none from rules over runs.
pub fn apply(rule: Rule, claim: &Claim, part: &Part) -> Option<Found> {
    match rule {
        Rule::Insertion => insertion(part),
        Rule::SelectionFormula => formula(part, ", m=", claim.tolerance),
        Rule::RetrievalFormula => formula(part, ", K ", claim.tolerance),
        _ => None,
    }
}

/// Reservoir insertion takes less time than FIFO, and hashing more than ten times as long as either.
fn insertion(part: &Part) -> Option<Found> {
    let seconds = |what: &str| Some(part.value(&format!("{what}, 1 thread"), "time", "s")?.median);
    let (fifo, reservoir) = (seconds("FIFO, insertion")?, seconds("reservoir, insertion")?);
    let hashing = seconds("FIFO, hashing")?;
    let verdict = match (reservoir < fifo, hashing > 10.0 * fifo.max(reservoir)) {
        (true, true) => Holds,
        (false, false) => DoesNotHold,
        _ => InPart,
    };
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

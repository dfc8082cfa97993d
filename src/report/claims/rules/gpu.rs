//! Rules over the ways to train on a GPU.

use super::super::super::runs::Panel;
use super::super::super::statistics::times;
use super::super::Verdict::{DoesNotHold, Holds, InPart};
use super::widths::step_ratio;
use super::{Found, found, yes_or_no};

/// A step fed a dense label matrix costs more than one that is not, by more than the tolerance.
pub fn handicap(panel: &Panel, tolerance: f64) -> Option<Found> {
    let plain = panel.find("dense-gpu")?;
    let ratio = step_ratio(plain, panel.find("dense-gpu:as-published")?)?;
    let words = format!("a step with a dense label matrix takes {} as long as one without", ratio.text(times));
    yes_or_no(ratio.median > 1.0 + tolerance, words)
}

/// SLIDE's step on the GPU is the cheaper one against the CPU's.
pub fn wins_on_gpu(panel: &Panel) -> Option<Found> {
    let ratio = step_ratio(panel.find("lsh-gpu")?, panel.find("lsh-cpu")?)?;
    yes_or_no(ratio.median > 1.0, format!("a step of lsh-cpu takes {} as long as one of lsh-gpu", ratio.text(times)))
}

/// It is so against the dense step there, by the published factor; in part if by less.
pub fn ahead_on_gpu(panel: &Panel, factor: f64) -> Option<Found> {
    let ratio = step_ratio(panel.find("lsh-gpu")?, panel.find("dense-gpu")?)?;
    let verdict = match ratio.median {
        ratio if ratio >= factor => Holds,
        ratio if ratio > 1.0 => InPart,
        _ => DoesNotHold,
    };
    found(verdict, format!("a step of dense-gpu takes {} as long as one of lsh-gpu", ratio.text(times)))
}

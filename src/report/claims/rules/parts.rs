//! Rules over measurements of parts.

use super::super::super::parts::Part;
use super::super::super::statistics::number;
use super::super::Verdict::{DoesNotHold, Holds, InPart};
use super::{Found, found};

/// Reservoir insertion takes less time than FIFO, and hashing more than ten times as long as either.
pub fn insertion(part: &Part) -> Option<Found> {
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

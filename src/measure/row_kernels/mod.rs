//! What share of this machine's random-row bandwidth each row kernel reaches, on one thread.
//!
//! A kernel and a probe of the same rows that does nothing else take turns, so that a disturbance meets both; each call
//! is on rows that none has met since all others were, in ascending order as in the engines' lists. The probe is that of the widest kernel set, at the best of its
//! prefetch distances ([`AHEAD`]).

mod list;

pub use list::{AMAZON, CALL, ROW_KERNELS, RowKernel, Tables, WIDTH};

use super::{Bench, Error, threads};
use crate::kernels::roofline::{AHEAD, thread_seconds};
use crate::kernels::{Kernels, all_supported};
use crate::record::Observation;
use serde::Deserialize;

/// Calls in turn: the kernel's, and the probe's at each distance.
const TURN: usize = 1 + AHEAD.len();

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Rows of the tables: neurons.
    rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: AMAZON }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let Options { rows } = bench.settings()?;
    if rows < TURN * CALL {
        let least = TURN * CALL;
        return Err(Error::Settings(format!("`rows` is {rows}; a turn of kernel and probes takes {least}")));
    }
    bench.case("tables")?;
    let mut tables = threads(bench.threads)?.install(|| Tables::new(rows))?;
    let like = Observation { case: "tables".into(), ..Observation::default() };
    if let Some(share) = tables.huge_share() {
        bench.value(&like, "on huge pages", "share", share)?;
    }
    for set in all_supported() {
        for kernel in &ROW_KERNELS {
            let like = Observation { case: format!("{}, {}", kernel.name, set.name), ..Observation::default() };
            bench.case(&like.case)?;
            for repeat in 0..bench.repeats {
                let like = Observation { repeat, ..like.clone() };
                let (rate, probe) = rates(set, kernel, &mut tables);
                bench.value(&like, "bandwidth", "GB/s", rate)?;
                bench.value(&like, "bandwidth of the probe", "GB/s", probe)?;
                bench.value(&like, "share of the probe's", "%", 100.0 * rate / probe)?;
            }
        }
    }
    Ok(())
}

/// GB/s of the kernel and of the probe at its best distance: medians over one round through all rows, by the CPU time
/// of the thread.
fn rates(set: &Kernels, kernel: &RowKernel, tables: &mut Tables) -> (f64, f64) {
    let probes = all_supported()[0].probes;
    let mut rates = [const { Vec::new() }; TURN];
    for first in (0..=tables.calls() - TURN).step_by(TURN) {
        for (turn, rates) in rates.iter_mut().enumerate() {
            let begin = thread_seconds();
            match turn.checked_sub(1) {
                None => (kernel.call)(set, tables, first),
                Some(distance) => kernel.probe(&probes, tables, first + turn, AHEAD[distance]),
            }
            rates.push(kernel.bytes() as f64 / (thread_seconds() - begin) / 1e9);
        }
    }
    let [rate, probes @ ..] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    (rate, probes.into_iter().fold(0.0, f64::max))
}

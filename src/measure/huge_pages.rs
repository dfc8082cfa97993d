//! What huge pages are worth to the kernels that work on scattered rows (SLIDE 2020, table 4 and section 5.4).

use super::counters::{Translations, page_faults};
use super::{Bench, Error, threads};
use crate::data::shuffled;
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::{AdamRows, kernels, padded};
use crate::network::Training;
use crate::record::Observation;
use serde::Deserialize;
use std::io;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Rows of the table: neurons.
    rows: usize,
    /// Weights a row.
    width: usize,
    /// Rows visited, in random order, in one call of a kernel.
    visited: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows: 670_091, width: 128, visited: 200_000 }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let width = padded(options.width);
    let mut rows = shuffled(options.rows, 1, 0);
    rows.truncate(options.visited.max(1));
    let one = threads(1)?;
    for (pages, huge) in [("small pages", HugePages::Never), ("huge pages", HugePages::Ask)] {
        let like = |what: &str| Observation { case: format!("{what}, {pages}"), ..Observation::default() };
        let buffer = || Buffer::<f32>::zeroed(options.rows * width, huge);
        // Three arrays: weights and both moments.
        let touch = like("first touch");
        bench.case(&touch.case)?;
        let mut state = [buffer()?, buffer()?, buffer()?];
        let faults = page_faults();
        let cost = super::cost_of(|| one.install(|| state.iter_mut().for_each(Buffer::prefault)));
        bench.value(&touch, "time", "s", cost.seconds)?;
        bench.value(&touch, "time", "CPU s", cost.cpu_seconds)?;
        if let Some((before, after)) = faults.zip(page_faults()) {
            bench.value(&touch, "page faults", "", (after - before) as f64)?;
        }
        let bytes: usize = state.iter().map(Buffer::bytes).sum();
        if let Some(huge) = state.iter().map(Buffer::huge_bytes).sum::<Option<usize>>() {
            bench.value(&touch, "on huge pages", "share", huge as f64 / bytes.max(1) as f64)?;
        }
        let (x, mut dots) = (vec![0.5; width], vec![0.0; rows.len()]);
        let gradients = vec![0.01; rows.len() * width];
        let step = Training::default().adam_step(1);
        visit(bench, &like("inner products"), rows.len(), || {
            (kernels().row_dots)(&state[0], width, &rows, &x, &mut dots);
        })?;
        visit(bench, &like("Adam"), rows.len(), || {
            let [w, m, v] = &mut state;
            (kernels().row_adam)(AdamRows { w, m, v }, width, &rows, &gradients, step);
        })?;
    }
    Ok(())
}

/// Times a kernel, a row, and counts its translations in a further call.
fn visit(bench: &mut Bench<'_>, like: &Observation, rows: usize, mut kernel: impl FnMut()) -> Result<(), Error> {
    bench.time_each(like, rows, &mut kernel, |_| {}, |kernel| kernel())?;
    match translations(&mut kernel) {
        Ok((loads, misses)) => {
            bench.value(like, "dTLB load misses a row", "", misses / rows as f64)?;
            bench.value(like, "dTLB load misses", "%", 100.0 * misses / loads.max(1.0))
        }
        Err(error) => bench.record(Observation {
            quantity: "dTLB load misses".into(),
            unit: "%".into(),
            status: "skipped".into(),
            reason: format!("this system does not let the translation cache be counted: {error}"),
            ..like.clone()
        }),
    }
}

/// Loads and misses of a call.
fn translations(work: &mut dyn FnMut()) -> io::Result<(f64, f64)> {
    let counters = Translations::count()?;
    work();
    counters.read()
}

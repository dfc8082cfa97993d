//! Whether correcting hash codes by what changed saves work (SLIDE 2020, section 4.2).
//!
//! Training changes whole rows: those of neurons that were active. The section speaks of single weights. Both are tried,
//! from none to all of them, against hashing every row anew.

use super::{Bench, Error, normal, refused, threads};
use crate::lsh::{Family, Hasher, IncrementalSimHash, LshSettings, Tables};
use crate::record::Observation;
use rand::seq::index;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    neurons: usize,
    /// Weights a neuron.
    width: usize,
    lsh: LshSettings,
    /// Shares that change between two updates.
    shares: Vec<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            neurons: 50_000,
            width: 128,
            lsh: LshSettings { family: Family::Simhash, bits: 9, ..LshSettings::default() },
            shares: vec![0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
        }
    }
}

/// What is hashed, and by what.
struct State {
    weights: Vec<f32>,
    tables: Tables,
    projections: IncrementalSimHash,
    random: Pcg64Mcg,
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let (neurons, width) = (options.neurons, options.width);
    let settings = LshSettings { incremental: true, ..options.lsh };
    let hasher = Hasher::new(&settings, width, 1).map_err(refused)?;
    let mut state = State {
        weights: normal(neurons * width, 0.1, 1),
        tables: Tables::new(&hasher, neurons),
        projections: IncrementalSimHash::new(&hasher, neurons).map_err(refused)?,
        random: Pcg64Mcg::seed_from_u64(2),
    };
    let one = threads(1)?;
    let like = |case: &str, share: Option<f64>| Observation {
        case: case.into(),
        x_name: "share changed".into(),
        x: share,
        ..Observation::default()
    };
    let full = like("full rehash", None);
    one.install(|| bench.time(&full, || state.tables.rehash(&hasher, &state.weights, width)))?;
    let terms = width.div_ceil(settings.sparsity) * settings.bits * settings.tables;
    bench.value(&full, "additions", "", (neurons * terms) as f64)?;
    bench.value(&full, "bytes", "bytes", state.tables.bytes() as f64)?;
    one.install(|| state.projections.update(&state.weights, width));
    for whole_rows in [true, false] {
        for &share in &options.shares {
            let at = like(if whole_rows { "incremental, rows" } else { "incremental, weights" }, Some(share));
            let mut last = crate::lsh::Corrections::default();
            let change = |state: &mut State| change(state, width, share, whole_rows);
            one.install(|| {
                bench.time_each(&at, 1, &mut state, change, |state| {
                    last = state.projections.update(&state.weights, width);
                    state.tables.rehash_from(&state.projections);
                })
            })?;
            bench.value(&at, "additions", "", last.additions as f64 + last.rows as f64 * terms as f64)?;
            let bytes = state.tables.bytes() + state.projections.bytes();
            bench.value(&at, "bytes", "bytes", bytes as f64)?;
        }
    }
    Ok(())
}

/// Moves a share of the rows, each in all its weights, or of the weights, each in any row, by as little as a step does.
fn change(state: &mut State, width: usize, share: f64, whole_rows: bool) {
    let State { weights, random, .. } = state;
    let nudge = |weights: &mut [f32], random: &mut Pcg64Mcg| {
        weights.iter_mut().for_each(|weight| *weight += random.random_range(-1e-3..1e-3));
    };
    let run = if whole_rows { width } else { 1 };
    let units = weights.len() / run;
    let chosen = index::sample(random, units, (share * units as f64).round() as usize);
    for unit in chosen {
        nudge(&mut weights[unit * run..][..run], random);
    }
}

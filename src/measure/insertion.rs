//! What a rebuild costs: hashing every neuron's weights, and filing the neurons, by either policy (SLIDE's table 3).

use super::{Bench, Error, refused, threads};
use crate::lsh::{Hasher, Insertion, LshSettings, Tables};
use crate::record::Observation;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

/// Its options: Delicious-200K's output layer where not given.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    neurons: usize,
    /// Weights a neuron.
    width: usize,
    lsh: LshSettings,
    threads: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self { neurons: 205_443, width: 128, lsh: LshSettings::default(), threads: vec![1] }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let weights: Vec<f32> = (0..options.neurons * options.width).map(|_| random.random_range(-0.1..0.1)).collect();
    for count in options.threads {
        for (name, insertion) in [("FIFO", Insertion::Fifo), ("reservoir", Insertion::Reservoir)] {
            let settings = LshSettings { insertion, ..options.lsh.clone() };
            let hasher = Hasher::new(&settings, options.width, 1).map_err(refused)?;
            let mut tables = Tables::new(&hasher, options.neurons);
            let like = |case: String| Observation {
                case,
                x_name: "neurons".into(),
                x: Some(options.neurons as f64),
                threads: count,
                ..Observation::default()
            };
            threads(count)?.install(|| {
                let of = if count == 1 { "1 thread".into() } else { format!("{count} threads") };
                bench.time(&like(format!("{name}, hashing, {of}")), || {
                    tables.rehash(&hasher, &weights, options.width);
                })?;
                bench.time(&like(format!("{name}, insertion, {of}")), || tables.insert(1))
            })?;
        }
    }
    Ok(())
}

//! Whether sparse projections hash as well as dense ones (SLIDE 2020, section 3.2).
//!
//! Recall is compared at equal numbers of neurons retrieved: those found in most tables, as many as asked for.

use super::retrieved::Truth;
use super::{Bench, Error, normal, refused, threads};
use crate::lsh::{Family, Hasher, LshSettings, Tables};
use crate::record::Observation;
use crate::selection::{HashedSettings, Lsh, Neurons, Queries, Retrieve, Selection as _};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    neurons: usize,
    /// Weights a neuron.
    width: usize,
    lsh: LshSettings,
    /// A function looks at one coordinate in so many.
    sparsities: Vec<usize>,
    queries: usize,
    /// True neurons looked for.
    top: usize,
    /// Neurons retrieved.
    limits: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            neurons: 50_000,
            width: 128,
            lsh: LshSettings { family: Family::Simhash, bits: 6, ..LshSettings::default() },
            sparsities: vec![1, 3, 10],
            queries: 64,
            top: 100,
            limits: vec![300, 1000, 3000, 10_000],
        }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let (width, stride) = (options.width, options.width);
    let weights = normal(options.neurons * width, 0.1, 1);
    let bias = vec![0.0; options.neurons];
    let layer = Neurons { weights: (&weights).into(), bias: &bias, width, stride };
    let inputs = normal(options.queries * width, 1.0, 2);
    let queries = Queries { x: &inputs, width, stride };
    bench.case("the true top neurons")?;
    let truth = Truth::new(queries, options.queries, layer, options.top);
    for sparsity in options.sparsities {
        let case = format!("1 in {sparsity}");
        let like = Observation { case, x_name: "neurons retrieved".into(), ..Observation::default() };
        let lsh = LshSettings { sparsity, capacity: options.neurons.max(1), ..options.lsh.clone() };
        let hasher = Hasher::new(&lsh, width, 1).map_err(refused)?;
        let mut tables = Tables::new(&hasher, options.neurons);
        threads(1)?.install(|| bench.time(&like, || tables.rehash(&hasher, &weights, width)))?;
        // Other functions at every repeat.
        for repeat in 0..bench.repeats {
            for &limit in &options.limits {
                bench.case(&like.case)?;
                let settings = HashedSettings {
                    lsh: lsh.clone(),
                    retrieve: Retrieve::TopK,
                    limit: limit.min(options.neurons),
                    ..HashedSettings::default()
                };
                let mut selection = Lsh::new(&settings, width, options.neurons, 1 + repeat).map_err(refused)?;
                selection.prepare(0, layer);
                let found = truth.found_by(&mut selection, queries, layer);
                let at = Observation { x: Some(limit as f64), repeat, ..like.clone() };
                bench.value(&at, "recall", "share", found.recall)?;
            }
        }
    }
    Ok(())
}

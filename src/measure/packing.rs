//! What is retrieved, by the number of codes in a bucket index and by how they are packed into it.
//!
//! SLIDE's paper prints K 8, its code ran K 6 and packs the codes of DWTA so that they overlap; see
//! [`Packing`](crate::lsh::Packing). An independent simulation of the four, on N(0, 0.01) weights and rectified random
//! queries, found 3,863 (K 6, released), 160 (K 6, exact), 236 and 2 of 670,091 neurons a query.

use super::retrieved::Truth;
use super::{Bench, Error, normal, refused, threads};
use crate::lsh::{Hasher, LshSettings, Packing, Tables};
use crate::record::Observation;
use crate::selection::{HashedSettings, Lsh, Neurons, Queries, Selection as _};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    neurons: usize,
    /// Weights a neuron.
    width: usize,
    bits: Vec<usize>,
    tables: usize,
    queries: usize,
    /// True neurons looked for.
    top: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { neurons: 670_091, width: 128, bits: vec![6, 8], tables: 50, queries: 64, top: 100 }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let (width, stride) = (options.width, options.width);
    let weights = normal(options.neurons * width, 0.01, 1);
    let bias = vec![0.0; options.neurons];
    let layer = Neurons { weights: (&weights).into(), bias: &bias, width, stride };
    let inputs: Vec<f32> = normal(options.queries * width, 1.0, 2).into_iter().map(|x| x.max(0.0)).collect();
    let queries = Queries { x: &inputs, width, stride };
    let pool = threads(bench.threads)?;
    bench.case("the true top neurons")?;
    let truth = pool.install(|| Truth::new(queries, options.queries, layer, options.top));
    for &bits in &options.bits {
        for (name, packing) in [("released", Packing::Released), ("exact", Packing::Exact)] {
            let case = format!("K {bits}, {name}");
            bench.case(&case)?;
            let like = Observation { case, threads: bench.threads, ..Observation::default() };
            let lsh = LshSettings { bits, packing, tables: options.tables, ..LshSettings::default() };
            let settings = HashedSettings { lsh: lsh.clone(), ..HashedSettings::default() };
            let found = pool.install(|| {
                let mut selection = Lsh::new(&settings, width, options.neurons, 1).map_err(refused)?;
                selection.prepare(0, layer);
                Ok::<_, Error>(truth.found_by(&mut selection, queries, layer))
            })?;
            bench.value(&like, "candidates a query", "", found.neurons)?;
            bench.value(&like, "ids read a query", "", found.ids)?;
            bench.value(&like, "recall of the true top", "share", found.recall)?;
            // The same tables by themselves, for how full they are.
            let (occupancy, bytes) = pool.install(|| {
                let hasher = Hasher::new(&lsh, width, 1).map_err(refused)?;
                let mut tables = Tables::new(&hasher, options.neurons);
                tables.build(&hasher, &weights, stride, 1);
                Ok::<_, Error>((tables.occupancy(), tables.bytes()))
            })?;
            let tables = options.tables as f64;
            bench.value(&like, "buckets a table", "", occupancy.buckets as f64 / tables)?;
            bench.value(&like, "buckets used a table", "", occupancy.used as f64 / tables)?;
            bench.value(&like, "bytes", "bytes", bytes as f64)?;
        }
    }
    Ok(())
}

//! What it costs to choose neurons from the ids in the buckets, by strategy (SLIDE 2020, appendix B and figures 4, 12).
//!
//! Every strategy asks the same tables: vanilla reads them in random order until it has enough, the other two read all
//! of them and count. Buckets keep all that comes, so that up to half of all neurons can be retrieved.

use super::{Bench, Error, normal, refused, threads};
use crate::lsh::{Family, LshSettings};
use crate::record::Observation;
use crate::selection::{ActiveSets, HashedSettings, Lsh, Neurons, Queries, Retrieve, Selection as _};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    neurons: usize,
    /// Weights a neuron.
    width: usize,
    lsh: LshSettings,
    queries: usize,
    /// Neurons that vanilla and top-k shall retrieve.
    limits: Vec<usize>,
    /// Tables that a hard threshold asks for.
    thresholds: Vec<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            neurons: 205_443,
            width: 128,
            lsh: LshSettings { family: Family::Simhash, bits: 8, tables: 200, ..LshSettings::default() },
            queries: 64,
            limits: vec![100, 300, 1000, 3000, 10_000, 30_000, 100_000],
            thresholds: vec![1, 2, 3, 4, 5],
        }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let weights = normal(options.neurons * options.width, 0.1, 1);
    let queries = normal(options.queries * options.width, 1.0, 2);
    let bias = vec![0.0; options.neurons];
    let (width, stride) = (options.width, options.width);
    let layer = Neurons { weights: (&weights).into(), bias: &bias, width, stride };
    let lsh = LshSettings { capacity: options.neurons.max(1), ..options.lsh };
    let limits = |retrieve| options.limits.iter().map(move |&limit| (retrieve, limit, 0));
    let thresholds = options.thresholds.iter().map(|&threshold| (Retrieve::Threshold, 0, threshold));
    let settings = limits(Retrieve::Vanilla).chain(limits(Retrieve::TopK)).chain(thresholds);
    for (retrieve, limit, threshold) in settings {
        let case = match retrieve {
            Retrieve::TopK => "top-k",
            Retrieve::Threshold => "hard threshold",
            _ => "vanilla",
        };
        bench.case(case)?;
        let settings = HashedSettings { lsh: lsh.clone(), retrieve, limit, threshold, ..HashedSettings::default() };
        let mut selection = Lsh::new(&settings, width, options.neurons, 3).map_err(refused)?;
        selection.prepare(0, layer);
        let mut sets = ActiveSets::new(options.neurons);
        let mut select = || {
            sets.reset(options.queries);
            selection.select(0, Queries { x: &queries, width, stride }, layer, &mut sets);
            sets.counts().iter().map(|counts| f64::from(counts.selected)).sum::<f64>() / options.queries as f64
        };
        let retrieved = select();
        let at = Observation {
            case: case.into(),
            x_name: "neurons retrieved".into(),
            x: Some(retrieved),
            notes: if threshold > 0 { format!("in {threshold} tables") } else { format!("limit {limit}") },
            ..Observation::default()
        };
        threads(1)?.install(|| bench.time_each(&at, options.queries, &mut select, |_| {}, |select| select()))?;
    }
    Ok(())
}

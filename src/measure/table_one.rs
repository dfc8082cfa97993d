//! The statistics of data sets beside those of SLIDE's table 1.

use super::{Bench, Error};
use crate::data::stats::Statistics;
use crate::data::{OpenOptions, Source, open};
use crate::record::Observation;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// What synthetic sets and their published sizes are multiplied by.
    scale: f64,
    sets: Vec<Set>,
}

impl Default for Options {
    fn default() -> Self {
        Self { scale: 1.0, sets: Vec::new() }
    }
}

/// A data set and what was published of it; what was not is left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Set {
    source: String,
    features: Option<f64>,
    /// Percent.
    density: Option<f64>,
    labels: Option<f64>,
    train: Option<f64>,
    test: Option<f64>,
    labels_a_row: Option<f64>,
    rows_a_label: Option<f64>,
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let Options { scale, sets } = bench.settings()?;
    for set in sets {
        bench.case(&set.source)?;
        let mut source: Source =
            set.source.parse().map_err(|error: crate::data::DataError| Error::Settings(error.to_string()))?;
        // Other sources are as large as they are.
        let mut factor = 1.0;
        if let Source::Synthetic(synthetic) = &mut source {
            synthetic.scale *= scale;
            factor = scale;
        }
        // Nobody opens these again: no copy is kept.
        let options = OpenOptions { cache_dir: None, ..OpenOptions::default() };
        let data = open(&source, &options).map_err(|error| Error::Failed(error.to_string()))?;
        let statistics = Statistics::of(&data);
        let counts = |value: Option<f64>| value.map(|value| (value * factor).round());
        for (quantity, unit, found, published) in [
            ("features", "", statistics.inputs as f64, counts(set.features)),
            ("density", "%", statistics.density_percent, set.density.map(|density| density / factor)),
            ("labels", "", statistics.labels as f64, counts(set.labels)),
            ("training rows", "", statistics.train as f64, counts(set.train)),
            ("test rows", "", statistics.test as f64, counts(set.test)),
            ("labels a row", "", statistics.labels_a_row, set.labels_a_row),
            ("rows a label", "", statistics.rows_a_label, set.rows_a_label),
        ] {
            let case = source.to_string();
            let at = |case| Observation { case, ..Observation::default() };
            bench.value(&at(case.clone()), quantity, unit, found)?;
            if let Some(published) = published {
                bench.value(&at(format!("{case}, published")), quantity, unit, published)?;
            }
        }
    }
    Ok(())
}

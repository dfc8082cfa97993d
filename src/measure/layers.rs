//! What the last layer's part of a dense step is: a step of the whole network against one whose last layer has next to
//! no neurons (SLIDE, sections 1 and 5).

use super::{Bench, Error};
use crate::data::Batch;
use crate::engine::{self, EngineError, EngineSettings};
use crate::network::{Init, Parameters, Rows, Shape, Training};
use crate::record::Observation;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

/// Its options: Amazon-670K's sizes where not given.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// As the registry knows it.
    engine: String,
    inputs: usize,
    hidden: usize,
    labels: usize,
    /// Labels of the network that stands for all but the last layer.
    few: usize,
    batch: usize,
    /// Non-zero inputs a sample.
    features: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: "dense-cpu".into(),
            inputs: 135_909,
            hidden: 128,
            labels: 670_091,
            few: 32,
            batch: 128,
            features: 75,
        }
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Settings(problem) => Error::Settings(problem),
            error => Error::Failed(error.to_string()),
        }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    if options.features > options.inputs || options.few > options.labels || options.features * options.few == 0 {
        return Err(Error::Settings("layers: expected 0 < features <= inputs and 0 < few <= labels".into()));
    }
    for (case, labels) in [("few labels", options.few), ("all labels", options.labels)] {
        steps(bench, &options, case, labels)?;
    }
    Ok(())
}

fn steps(bench: &mut Bench<'_>, options: &Options, case: &str, labels: usize) -> Result<(), Error> {
    bench.case(case)?;
    let shape = Shape { inputs: options.inputs, hidden: vec![options.hidden], labels };
    // Lazy rows: else Adam moves every row of the first layer, which sparse input is there to spare.
    let training = Training { batch: options.batch, input_rows: Rows::Lazy, ..Training::default() };
    let settings = EngineSettings {
        shape: shape.clone(),
        training,
        options: toml::Table::new(),
        threads: bench.threads,
        allow_software: false,
        seed: 1,
        label_rows: Default::default(),
    };
    let entry = engine::find(&options.engine)
        .ok_or_else(|| Error::Settings(format!("layers: there is no engine {:?}", options.engine)))?;
    let mut engine = (entry.build)(&settings)?;
    engine.load(&Parameters::new(&shape, Init::Slide, 1))?;
    let batch = batch(options, labels);
    let like = Observation {
        case: case.into(),
        x_name: "labels".into(),
        x: Some(labels as f64),
        threads: bench.threads,
        ..Observation::default()
    };
    let mut stats = Ok(Default::default());
    bench.time(&like, || stats = engine.step(&batch).and_then(|()| engine.finish()))?;
    let flops = stats?.flops;
    bench.record(Observation { quantity: "arithmetic".into(), unit: "FLOP".into(), value: Some(flops), ..like })
}

/// Random rows with one label each.
fn batch(options: &Options, labels: usize) -> Batch {
    let mut random = Pcg64Mcg::seed_from_u64(2);
    let mut batch = Batch::default();
    for _ in 0..options.batch {
        let features = rand::seq::index::sample(&mut random, options.inputs, options.features);
        let mut features: Vec<u32> = features.into_iter().map(|feature| feature as u32).collect();
        features.sort_unstable();
        let values: Vec<f32> = features.iter().map(|_| random.random_range(0.05..0.2)).collect();
        batch.push_sparse(&features, &values, &[random.random_range(0..labels as u32)]);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn measure(options: &str) -> Result<Vec<Observation>, Error> {
        let mut seen = Vec::new();
        let mut bench = Bench {
            options: options.parse().unwrap(),
            repeats: 2,
            threads: 1,
            identity: Observation::default(),
            interrupt: &AtomicBool::new(false),
            sink: &mut |one| {
                seen.push(one.clone());
                Ok(())
            },
            observer: &mut |_| {},
        };
        run(&mut bench)?;
        Ok(seen)
    }

    #[test]
    fn arithmetic_is_told_for_few_labels_and_for_all() {
        let sizes = "inputs = 300\nhidden = 32\nlabels = 2000\nbatch = 16\nfeatures = 10";
        let seen = measure(sizes).unwrap();
        let flops = |case: &str| {
            let mut found = seen.iter().filter(|one| one.case == case && one.unit == "FLOP");
            found.next().unwrap().value.unwrap()
        };
        // What the two differ by: 6·B·H a label.
        assert_eq!(flops("all labels") - flops("few labels"), f64::from(6 * 16 * 32 * (2000 - 32)));
        assert_eq!(seen.iter().filter(|one| one.unit == "CPU s").count(), 4);
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        assert!(matches!(measure("few = 0"), Err(Error::Settings(_))));
        assert!(measure("engine = \"dence-cpu\"").unwrap_err().to_string().contains("no engine \"dence-cpu\""));
    }
}

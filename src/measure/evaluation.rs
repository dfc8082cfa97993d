//! What P@1 depends on beside the network: which rows of the test file are asked.
//!
//! The published test files come sorted by label, and SLIDE's code evaluates on the first batches of them.

use super::{Bench, Error};
use crate::data::{Batch, OpenOptions, Source, Split, open, sample};
use crate::engine::{Engine, EngineError, EngineSettings, find};
use crate::harness::{Batches, evaluate};
use crate::network::{Init, Parameters, Shape, Training};
use crate::record::Observation;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    source: String,
    engine: String,
    epochs: u64,
    /// Ends training sooner; none: not.
    steps: Option<u64>,
    hidden: Vec<usize>,
    training: Training,
    /// Test rows of an evaluation that does not take all: 20 batches of 128.
    rows: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            source: "moby".into(),
            engine: "dense-cpu".into(),
            epochs: 1,
            steps: None,
            hidden: vec![128],
            training: Training { learning_rate: 3e-3, ..Training::default() },
            rows: 2560,
        }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    let entry = find(&options.engine)
        .ok_or_else(|| Error::Settings(format!("there is no engine {:?}; see `slidebench list`", options.engine)))?;
    let source: Source =
        options.source.parse().map_err(|error: crate::data::DataError| Error::Settings(error.to_string()))?;
    if options.training.batch == 0 || options.rows == 0 {
        return Err(Error::Settings("batch and rows must be at least 1".into()));
    }
    bench.case(&format!("reading {source}"))?;
    let data = open(&source, &OpenOptions::default()).map_err(|error| Error::Failed(error.to_string()))?;
    let shape = Shape { inputs: data.inputs, hidden: options.hidden.clone(), labels: data.labels };
    let sorted = by_label(&data.test);
    let all: Vec<u32> = (0..data.test.rows() as u32).collect();
    for repeat in 0..bench.repeats {
        let seed = repeat + 1;
        let settings = EngineSettings {
            shape: shape.clone(),
            training: options.training.clone(),
            options: toml::Table::new(),
            threads: bench.threads,
            allow_software: false,
            seed,
            label_rows: data.train.labels.clone().into(),
        };
        let mut engine = (entry.build)(&settings).map_err(failed)?;
        engine.load(&Parameters::new(&shape, Init::default(), seed)).map_err(failed)?;
        train(bench, &mut *engine, &data.train, &options, seed)?;
        let shuffled = sample(data.test.rows(), options.rows, seed);
        let first = &sorted[..options.rows.min(sorted.len())];
        let few = options.rows.min(data.test.rows());
        for (case, rows) in [
            (format!("the first {few} sorted by label"), first),
            (format!("{few} at random"), &shuffled[..]),
            ("all test rows".into(), &all[..]),
        ] {
            bench.case(&case)?;
            let precision = evaluate(&data.test, rows, 128, |batch, k| engine.predict(batch, k)).map_err(failed)?;
            let like = Observation { case, repeat, threads: bench.threads, ..Observation::default() };
            let [p1, ..] = precision.at().ok_or_else(|| Error::Failed("no test row has a label".into()))?;
            bench.value(&like, "P@1", "", p1)?;
            let labels = rows.iter().map(|&row| data.test.labels.row(row as usize).len()).sum::<usize>();
            bench.value(&like, "labels a row", "", labels as f64 / rows.len().max(1) as f64)?;
        }
    }
    Ok(())
}

fn failed(error: EngineError) -> Error {
    Error::Failed(error.to_string())
}

/// Rows by their lowest label, as the published files have them; those without any last.
fn by_label(split: &Split) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..split.rows() as u32).collect();
    rows.sort_by_key(|&row| split.labels.row(row as usize).first().copied().unwrap_or(u32::MAX));
    rows
}

/// Trains for as many epochs as asked for, or steps.
fn train(
    bench: &mut Bench<'_>,
    engine: &mut dyn Engine,
    train: &Split,
    options: &Options,
    seed: u64,
) -> Result<(), Error> {
    let rows: Vec<u32> = (0..train.rows() as u32).collect();
    let mut batches = Batches::new(train, &rows, options.training.batch, seed);
    let steps = (options.epochs * batches.per_epoch()).min(options.steps.unwrap_or(u64::MAX));
    let mut batch = Batch::default();
    for _ in 0..steps {
        bench.case(&format!("training, seed {seed}"))?;
        batches.fill(&mut batch);
        engine.step(&batch).map_err(failed)?;
    }
    engine.finish().map_err(failed)?;
    Ok(())
}

//! What to run, read from TOML: one file an experiment, one question a file.
//!
//! ```toml
//! name = "example"                       # lower case, digits, hyphens; names the result file
//! question = "Is hashing faster than multiplying?"
//! title = "A small example"              # its heading in the report; made of the name where not given
//! renders = ["time-accuracy"]            # its figures in the report: time-accuracy, iteration-accuracy, cpu-accuracy,
//!                                        # epoch-seconds, phases, step-time, sweep, recall, active
//!
//! [network]
//! hidden = [128]
//! init = "glorot"                        # or "slide"
//!
//! [training]
//! batch = 128
//! learning-rate = 3e-3
//!
//! [run]
//! seeds = [1, 2, 3]
//! evaluations = { per-epoch = 4 }        # or { every-steps = 50 }
//! eval-sample = 2560                     # test rows of the evaluations during training
//!
//! [[data]]
//! source = "moby"
//! epochs = 2                             # and/or steps, seconds; the first limit reached ends a run
//! learning-rates = { lsh-cpu = 1e-3 }    # rates found by a recorded search
//!
//! [[engine]]
//! name = "lsh-cpu"
//! label = "LSH, 20 tables"               # name of its curve; the engine's name where not given
//! batch = 64                             # instead of the experiment's; so are threads and learning-rate
//! hidden = [512]                         # instead of the experiment's, where it compares widths
//! start = 7                              # seed of the first parameters instead of the run's, where it compares starts
//! options = { tables = 20 }              # the engine's own; it refuses what it does not know
//!
//! [scales.smoke]                         # laid over the file by `--scale smoke`
//! run = { seeds = [1] }
//! [[scales.smoke.data]]
//! source = "moby"                        # inherits what the file says of this source
//! epochs = 0.1
//! ```
//!
//! An experiment that trains nothing has `[measure]` in place of data and engines; see [`crate::measure`].
//!
//! A scale is laid over the file key by key. Its `[[data]]` and `[[engine]]` lists replace the file's, and an entry
//! that names the same source (or engine label) as one in the file inherits that entry's keys.

mod catalogue;
mod fields;
mod nearest;
mod read;

pub use catalogue::{CATALOGUE, load};
pub use nearest::nearest;
pub use read::{Error, parse};

use crate::network::{Init, Training};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How large a run of an experiment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Seconds: does it work at all?
    Smoke,
    /// Minutes, on a laptop.
    #[default]
    Quick,
    /// The published sizes.
    Paper,
}

impl Scale {
    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Scale::Smoke => "smoke",
            Scale::Quick => "quick",
            Scale::Paper => "paper",
        }
    }
}

/// One experiment at one scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Experiment {
    /// Names the result file.
    #[serde(deserialize_with = "fields::slug")]
    pub name: String,
    /// Its heading in the report; made of the name where not given.
    pub title: Option<String>,
    /// What it answers, in prose.
    #[serde(deserialize_with = "fields::not_blank")]
    pub question: String,
    /// Figures of the report it feeds; those of accuracy and of the time of an epoch where none is named.
    #[serde(default)]
    pub renders: Vec<String>,
    #[serde(default)]
    pub data: Vec<Data>,
    #[serde(default)]
    pub network: Network,
    #[serde(default)]
    pub training: Training,
    #[serde(default)]
    pub run: Run,
    pub search: Option<Search>,
    #[serde(rename = "engine", default)]
    pub engines: Vec<Contestant>,
    /// What is measured, in an experiment that trains nothing.
    pub measure: Option<Measure>,
    /// Read for its errors' sake; [`parse`] lays the chosen scale over the file and empties this.
    #[serde(default, skip_serializing)]
    scales: BTreeMap<Scale, Overlay>,
}

/// A measurement of parts, in place of data and engines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measure {
    /// As the registry of measurements knows it.
    #[serde(deserialize_with = "fields::not_blank")]
    pub what: String,
    #[serde(default = "Measure::default_repeats", deserialize_with = "fields::positive")]
    pub repeats: u64,
    /// The measurement's own options.
    #[serde(default)]
    pub options: toml::Table,
}

impl Measure {
    fn default_repeats() -> u64 {
        3
    }
}

/// A data set and how long to train on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Data {
    /// As `slidebench data` takes it: `moby`, `synthetic:amazon-670k`, a path.
    #[serde(deserialize_with = "fields::not_blank")]
    pub source: String,
    /// Ends a run after so many passes over the training rows; a fraction is allowed.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub epochs: Option<f64>,
    /// Ends a run after so many optimiser steps.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub steps: Option<u64>,
    /// Ends a run after so many seconds of its training clock.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub seconds: Option<f64>,
    /// Ends a run when the evaluation sample shows this P@1.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub target_p1: Option<f64>,
    /// In place of `epochs`, by engine label: a cheap engine may take more passes to the same P@1, since what counts is
    /// the clock.
    #[serde(default, deserialize_with = "fields::positive_map")]
    pub epochs_of: BTreeMap<String, f32>,
    /// Learning rate by engine label, as a recorded search found it.
    #[serde(default, deserialize_with = "fields::positive_map")]
    pub learning_rates: BTreeMap<String, f32>,
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Network {
    /// H of each hidden layer.
    #[serde(deserialize_with = "fields::widths")]
    pub hidden: Vec<usize>,
    pub init: Init,
}

impl Default for Network {
    fn default() -> Self {
        Self { hidden: vec![128], init: Init::default() }
    }
}

/// How it is repeated and evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Run {
    #[serde(deserialize_with = "fields::not_empty")]
    pub seeds: Vec<u64>,
    pub evaluations: Evaluations,
    /// Whether to evaluate also at steps 1, 2, 4, 8, … before the first regular evaluation, so that a curve over a
    /// logarithmic axis has points from the start.
    pub early_evaluations: bool,
    /// Test rows of an evaluation during training: a fixed shuffled sample.
    #[serde(deserialize_with = "fields::positive")]
    pub eval_sample: usize,
    /// Host threads of every engine; all of the machine's where not given.
    #[serde(deserialize_with = "fields::positive_option")]
    pub threads: Option<usize>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            seeds: vec![1],
            evaluations: Evaluations::PerEpoch(4),
            early_evaluations: true,
            eval_sample: 2560,
            threads: None,
        }
    }
}

/// When to evaluate during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluations {
    /// So many times an epoch, evenly spaced.
    PerEpoch(#[serde(deserialize_with = "fields::positive")] u64),
    /// Every so many steps.
    EverySteps(#[serde(deserialize_with = "fields::positive")] u64),
}

/// A learning-rate search: every engine tries every rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Search {
    #[serde(deserialize_with = "fields::positive_list")]
    pub learning_rates: Vec<f32>,
    /// Training epochs of one try; where not given, as many as the engine then trains for.
    #[serde(default, deserialize_with = "fields::positive_option", skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Training rows held out to judge a rate by; the test set has no say.
    #[serde(default = "Search::default_validation", deserialize_with = "fields::positive")]
    pub validation: usize,
}

impl Search {
    fn default_validation() -> usize {
        2048
    }
}

/// An engine and how it is set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Contestant {
    /// As the registry knows it.
    #[serde(deserialize_with = "fields::not_blank")]
    pub name: String,
    /// Name of its curve.
    #[serde(default)]
    pub label: Option<String>,
    /// Instead of the experiment's; a rate of the `[[data]]` entry goes before it.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub learning_rate: Option<f32>,
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub threads: Option<usize>,
    /// Samples a step, instead of the experiment's.
    #[serde(default, deserialize_with = "fields::positive_option")]
    pub batch: Option<usize>,
    /// Hidden layers of this contestant's network, where the experiment compares widths: an experiment has one panel a
    /// data set, so networks of several widths share it under labels of their own.
    #[serde(default, deserialize_with = "fields::widths_option", skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<usize>>,
    /// Seed of the first parameters, instead of the run's, where the experiment asks what another start changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// The engine's own options.
    #[serde(default)]
    pub options: toml::Table,
}

impl Contestant {
    /// Name of its curve: the label, or the engine's name.
    pub fn label(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.name)
    }
}

/// What a scale changes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Overlay {
    data: Vec<Data>,
    network: Network,
    training: Training,
    run: Run,
    search: Option<toml::Table>,
    engine: Vec<Contestant>,
    measure: Option<toml::Table>,
}

impl Data {
    /// The passes of an engine over the training rows that end its run.
    pub fn epochs_of(&self, engine: &Contestant) -> Option<f64> {
        self.epochs_of.get(engine.label()).map(|&epochs| f64::from(epochs)).or(self.epochs)
    }
}

impl Experiment {
    /// The learning rate of an engine on a data set: the rate recorded for the pair, else the engine's, else the
    /// experiment's.
    pub fn learning_rate(&self, data: &Data, engine: &Contestant) -> f32 {
        let found = data.learning_rates.get(engine.label()).copied();
        found.or(engine.learning_rate).unwrap_or(self.training.learning_rate)
    }

    /// Its name in records: that of the file, and the scale where it is not `quick`, so that no table or curve mixes
    /// the two.
    pub fn id(&self, scale: Scale) -> String {
        if scale == Scale::Quick { self.name.clone() } else { format!("{}-{}", self.name, scale.name()) }
    }

    /// The same under its name in records: what is kept beside them.
    pub fn as_run(&self, scale: Scale) -> Self {
        Self { name: self.id(scale), ..self.clone() }
    }
}

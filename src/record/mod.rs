//! What was seen: one row an evaluation or a measured value, one machine file a host.
//!
//! `results/<date>-<machine>/<experiment>.csv` holds [`Row`]s of training runs or [`Observation`]s of measurements,
//! written to disk as they are produced; `machine.toml` beside it says where ([`Machine`]), and `<experiment>.toml` what
//! was asked ([`Provenance`]). [`Writer`] appends, [`read_dir`] reads everything back. `<machine>` is a label
//! made of CPU model, core count and GPU ([`machine_label`]), never the host's name.
//!
//! ```
//! use slidebench::record::{Machine, Row, Writer, read_dir};
//! let results = tempfile::tempdir()?;
//! let machine = Machine::detect(&[]);
//! let mut writer = Writer::create(results.path(), &machine, "default")?;
//! writer.append(&Row { engine: "dense-cpu".into(), status: "ok".into(), ..Row::default() })?;
//! assert_eq!(read_dir(results.path())?.rows().count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod machine;
mod observation;
mod papers;
mod provenance;
mod read;
mod write;

pub use clock::{now, today};
pub use machine::{Adapter, Build, Cache, Cpu, Machine, machine_label};
pub use observation::Observation;
pub use papers::{Paper, Place};
pub use provenance::{Competitor, Provenance};
pub use read::{File, Line, Records, read_dir, read_file};
pub use write::{Writer, columns};

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What can go wrong with record files. Each message names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{}: {source}; check that the folder exists and is readable and writable", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}: {reason}", path.display())]
    Format { path: PathBuf, reason: String },
}

impl RecordError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// One line of a result file. Optional cells are empty where they do not apply; a column that an older file lacks
/// reads as its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    // What was run.
    pub experiment: String,
    pub dataset: String,
    /// Fingerprint of the data's content, hexadecimal.
    pub fingerprint: String,
    /// L: output neurons.
    pub labels: Option<u64>,
    /// Engine as named in curves: the TOML's `label`, or the engine's name.
    pub engine: String,
    /// The engine's options that differ from its defaults, as compact JSON.
    pub options: String,
    pub seed: u64,
    pub threads: usize,
    pub batch: usize,
    pub learning_rate: f32,
    /// `train`, or `search` for rows of a learning-rate search.
    pub stage: String,
    /// Hash of everything that was set but the seed, program revision and machine included. A run that was killed and
    /// repeated leaves rows twice: of equal settings and seed, those from the last step 0 on count.
    pub settings: String,
    // What happened.
    /// `ok`, `skipped`, `failed`, `interrupted`.
    pub status: String,
    /// Why not `ok`.
    pub reason: String,
    /// `sample` (a fixed shuffled sample of the test set) or `full` (all of it), or empty.
    pub evaluation: String,
    /// `dense` or `hashed`.
    pub inference: String,
    pub eval_rows: Option<u64>,
    pub step: u64,
    pub samples: u64,
    pub epoch: f64,
    pub loss: Option<f64>,
    pub p1: Option<f64>,
    pub p3: Option<f64>,
    pub p5: Option<f64>,
    // The clocks, seconds since the start of training, evaluation excluded from the first two.
    /// Device or kernel time, table rebuilds included.
    pub device_s: Option<f64>,
    /// The training loop with its data.
    pub train_s: Option<f64>,
    /// Everything: set-up, training, evaluation.
    pub total_s: Option<f64>,
    /// CPU seconds of this process inside the training loop.
    pub cpu_s: Option<f64>,
    /// Set-up: building the engine, shader compilation, loading parameters, first table build.
    pub setup_s: Option<f64>,
    /// This row's evaluation alone.
    pub eval_s: Option<f64>,
    // Cumulative seconds by phase.
    pub upload_s: Option<f64>,
    pub select_s: Option<f64>,
    pub forward_s: Option<f64>,
    pub backward_s: Option<f64>,
    pub update_s: Option<f64>,
    pub rebuild_s: Option<f64>,
    // Work since the last row.
    pub active_mean: Option<f64>,
    pub active_p5: Option<f64>,
    pub active_p95: Option<f64>,
    pub active_labels: Option<f64>,
    pub active_selected: Option<f64>,
    pub active_fill: Option<f64>,
    pub candidates: Option<f64>,
    pub distinct: Option<f64>,
    /// Share of the true top neurons that were active, where sampled.
    pub recall: Option<f64>,
    /// Output neurons a sample in the backward pass, where these are not all the active ones.
    pub active_backward: Option<f64>,
    /// Active neurons a sample in hidden layers that skip neurons.
    pub hidden_active: Option<f64>,
    pub flops_per_step: Option<f64>,
    pub bytes_per_step: Option<f64>,
    // Where.
    pub host_bytes: Option<u64>,
    pub device_bytes: Option<u64>,
    pub peak_rss_bytes: Option<u64>,
    pub device: String,
    pub precision: String,
    /// Whether the device is a software GPU adapter: never drawn as a GPU.
    pub software: bool,
    pub notes: String,
    /// UTC, RFC 3339.
    pub time: String,
}

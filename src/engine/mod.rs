//! The contestants, behind one trait. Adding one is a file (or folder) here and a line in [`REGISTRY`].
//!
//! An engine knows nothing of the harness, the experiment, the records or the report.

pub(crate) mod common;
mod cpu;
pub mod dense_cpu;
pub mod dense_gpu;
pub mod exact_top_k;
pub mod reference;
pub mod sparse_cpu;

use crate::data::{Batch, LabelLists};
use crate::network::{Parameters, Shape, Training};
use std::sync::Arc;
use std::time::Duration;

/// Who an engine is, for records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineInfo {
    /// Name in TOML, tables and curves: `dense-cpu`, `lsh-cpu`, `sparse-cpu:uniform`.
    pub name: String,
    /// CPU model or GPU adapter.
    pub device: String,
    /// Storage and arithmetic: `f32`, `bf16 weights, f32 state`.
    pub precision: String,
    /// Host threads it computes with.
    pub threads: usize,
    /// Further facts: kernel set, driver, huge pages, hash family.
    pub notes: Vec<(String, String)>,
}

/// Parts of a training step whose time is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Copying the batch to the device.
    Upload,
    /// Hashing queries and reading buckets: choosing the active neurons.
    Select,
    /// Forward pass, softmax and loss.
    Forward,
    /// Gradients, where told apart from the update.
    Backward,
    /// Optimiser.
    Update,
    /// Re-hashing weights and rebuilding tables.
    Rebuild,
}

impl Phase {
    pub const ALL: [Phase; 6] =
        [Phase::Upload, Phase::Select, Phase::Forward, Phase::Backward, Phase::Update, Phase::Rebuild];
}

/// How many output neurons were active a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ActiveStats {
    pub mean: f64,
    pub p5: f64,
    pub p95: f64,
    /// Means by origin: true labels, retrieved from tables (or chosen by another selection), random fill.
    pub labels: f64,
    pub selected: f64,
    pub fill: f64,
    /// Ids read from buckets before duplicates were removed, mean.
    pub candidates: f64,
    /// Distinct neurons the whole batch touched, mean a step.
    pub distinct: f64,
    /// Share of the neurons with the largest logits that were active, true labels left out; where it was sampled.
    pub recall: Option<f64>,
    /// Output neurons a sample in the backward pass, where these are not all the active ones.
    pub backward: Option<f64>,
    /// Active neurons a sample in the hidden layers above the first, all together; where these skip neurons.
    pub hidden: Option<f64>,
}

/// What happened since the last [`Engine::finish`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepStats {
    pub steps: u64,
    pub samples: u64,
    /// Mean loss a sample, in nats.
    pub loss: f64,
    /// Time on the device: kernels by timestamp on a GPU, the step's computation on a CPU; rebuilds included.
    pub device_time: Duration,
    /// Time by phase, indexed by `Phase as usize`; phases an engine cannot tell apart are zero.
    pub phases: [Duration; Phase::ALL.len()],
    /// None where every neuron computes.
    pub active: Option<ActiveStats>,
    /// Floating-point operations the algorithm needs, summed over the steps.
    pub flops: f64,
    /// Bytes of main (or device) memory the algorithm must move, summed over the steps.
    pub bytes: f64,
}

/// The k best labels of every sample, best first; equal scores order by the lower label.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopK {
    pub k: usize,
    /// `B x k`.
    pub labels: Vec<u32>,
    /// `B x k` logits.
    pub scores: Vec<f32>,
}

/// Memory an engine holds: parameters, optimiser state, tables, work space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    pub host_bytes: u64,
    pub device_bytes: u64,
}

/// Why an engine cannot run or had to stop; every one becomes a row in the records.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Not possible on this machine: recorded as skipped.
    #[error("{0}")]
    Unavailable(String),
    /// The experiment asks for something wrong.
    #[error("{0}")]
    Settings(String),
    #[error("out of memory: {what} needs {needs} bytes; {remedy}")]
    OutOfMemory { what: String, needs: u64, remedy: String },
    #[error("device lost: {0}")]
    DeviceLost(String),
    #[error("{0}")]
    Failed(String),
}

/// A contestant: trains one network on one device.
pub trait Engine {
    fn describe(&self) -> EngineInfo;
    /// Takes the initial parameters (the same bytes for every engine) and forgets all training state.
    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError>;
    /// One optimiser step; may return before the device has finished.
    fn step(&mut self, batch: &Batch) -> Result<(), EngineError>;
    /// A step on every batch that `next` puts into `batch`, until it returns false. Engines that compute on threads of their
    /// own take all of them on one of those: else each begins and ends with one thread waking another, which takes the
    /// tenth part of a millisecond. They may ask for the next batch while a step is under way.
    fn steps(&mut self, batch: &mut Batch, next: NextBatch<'_>) -> Result<(), EngineError> {
        while next(batch) {
            self.step(batch)?;
        }
        Ok(())
    }
    /// Waits until the device is idle (inside the clock) and tells what happened since the last call.
    fn finish(&mut self) -> Result<StepStats, EngineError>;
    /// The k best labels by all L logits.
    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError>;
    /// The k best labels among the neurons the engine's own selection finds, where it has one.
    fn predict_hashed(&mut self, _batch: &Batch, _k: usize) -> Option<Result<TopK, EngineError>> {
        None
    }
    /// A copy of the trained parameters.
    fn parameters(&mut self) -> Result<Parameters, EngineError>;
    fn memory(&self) -> MemoryUse;
}

/// Fills in the next batch to train on; false where there is none.
pub type NextBatch<'a> = &'a mut (dyn FnMut(&mut Batch) -> bool + Send);

/// What an engine is built from.
#[derive(Clone, Debug)]
pub struct EngineSettings {
    pub shape: Shape,
    pub training: Training,
    /// The experiment's `[engine.options]` table; an engine refuses keys it does not know.
    pub options: toml::Table,
    /// Host threads to compute with.
    pub threads: usize,
    /// Whether a software GPU adapter may be used.
    pub allow_software: bool,
    /// Seed of everything random inside the engine.
    pub seed: u64,
    /// Labels of the training rows, for selections that ask how often each occurs; may be empty.
    pub label_rows: Arc<LabelLists>,
}

/// Builds an engine.
pub type Build = fn(&EngineSettings) -> Result<Box<dyn Engine>, EngineError>;

/// An engine as the command line and TOML know it.
pub struct Entry {
    pub name: &'static str,
    /// One sentence for `slidebench list`.
    pub summary: &'static str,
    pub build: Build,
}

/// Every engine there is.
pub const REGISTRY: &[Entry] = &[
    Entry {
        name: "dense-gpu",
        summary: "Every neuron, on the GPU: fused WGSL kernels, no host round trip inside a step.",
        build: dense_gpu::build,
    },
    Entry {
        name: "dense-gpu:as-published",
        summary: "dense-gpu, fed a dense B x L label matrix from the host every step, as SLIDE's GPU baseline was.",
        build: dense_gpu::build_as_published,
    },
    Entry {
        name: "lsh-gpu",
        summary: "Hash tables on the host choose a set of neurons for each batch; the GPU computes and updates it.",
        build: dense_gpu::build_lsh,
    },
    Entry { name: "dense-cpu", summary: "Every neuron, every step, on the CPU.", build: dense_cpu::build },
    Entry {
        name: "lsh-cpu",
        summary: "SLIDE: active neurons from hash tables, on the CPU.",
        build: sparse_cpu::build_lsh,
    },
    Entry {
        name: "sparse-cpu:uniform",
        summary: "Random neurons in place of hashed ones: sampled softmax.",
        build: sparse_cpu::build_uniform,
    },
    Entry {
        name: "sparse-cpu:best",
        summary: "The quickest way to a given P@1: labels and uniform negatives drawn for the batch, corrected, in bf16.",
        build: sparse_cpu::build_best,
    },
    Entry {
        name: "sparse-cpu:frequency",
        summary: "Random neurons in proportion to label frequency.",
        build: sparse_cpu::build_frequency,
    },
    Entry {
        name: "sparse-cpu:log-uniform",
        summary: "Random neurons, log-uniformly by rank of label frequency: TensorFlow's sampled softmax.",
        build: sparse_cpu::build_log_uniform,
    },
    Entry {
        name: "sparse-cpu:top-k",
        summary: "The true top neurons: the oracle that hashing approximates.",
        build: sparse_cpu::build_top_k,
    },
    Entry {
        name: "sparse-cpu:all",
        summary: "The sparse engine with every neuron active: a check.",
        build: sparse_cpu::build_all,
    },
    Entry {
        name: "reference",
        summary: "Plain scalar f64: what the others are checked against.",
        build: reference::build,
    },
];

/// Looks an engine up by name.
pub fn find(name: &str) -> Option<&'static Entry> {
    REGISTRY.iter().find(|entry| entry.name == name)
}

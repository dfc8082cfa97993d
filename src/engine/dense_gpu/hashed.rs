//! The host's part of `lsh-gpu`: hash tables over the output neurons, and which neurons a batch finds in them.
//!
//! Every step the hidden activations come down (B x H floats), the host hashes them, and the neurons that collide with
//! them most often join the batch's true labels in the set that the device then fetches, computes and updates.
//! The activations are those of this very step, so the device waits for the host in between: one round trip a step.
//! Tables are built from output weights brought down whenever a rebuild is due (L x H floats).

use crate::data::Batch;
use crate::engine::{EngineError, EngineSettings};
use crate::selection::{HashedSettings, Lsh, Negatives, Neurons, Queries, SharedSelection};

/// Tables and the set of the step.
#[derive(Debug)]
pub(super) struct Hashed {
    selection: SharedSelection,
    pool: rayon::ThreadPool,
    /// H of the last hidden layer.
    width: usize,
}

impl Hashed {
    /// For sets of at most `size` neurons, true labels included.
    ///
    /// # Errors
    /// [`EngineError::Settings`] names the setting that cannot be.
    pub fn new(options: &HashedSettings, settings: &EngineSettings, size: usize) -> Result<Self, EngineError> {
        let (labels, seed) = (settings.shape.labels, settings.seed);
        let width = settings.shape.hidden.last().copied().unwrap_or(settings.shape.inputs);
        let refuse = |error: String| EngineError::Settings(format!("lsh-gpu: {error}"));
        options.elects().map_err(refuse)?;
        let lsh = Lsh::new(options, width, labels, seed).map_err(|error| refuse(error.to_string()))?;
        let mut selection = SharedSelection::new(Negatives::Hashed(lsh.into()), size, labels, false, seed);
        selection.most = size;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(settings.threads.max(1)).build();
        let pool = pool.map_err(|error| EngineError::Failed(format!("lsh-gpu: no threads: {error}")))?;
        Ok(Self { selection, pool, width })
    }

    /// Whether the tables want to see the weights before step `step` (from 0).
    pub fn wants_weights(&self, step: u64) -> bool {
        self.selection.wants_weights(step)
    }

    /// Rebuilds the tables from `weights` (L x H) if they are due.
    pub fn rebuild(&mut self, step: u64, weights: &[f32], bias: &[f32]) {
        let neurons = Neurons { weights: weights.into(), bias, width: self.width, stride: self.width };
        self.pool.install(|| self.selection.prepare(step, neurons));
    }

    /// The labels of `batch` and what its activations `x` (`stride` floats a sample) find, ascending.
    pub fn choose(&mut self, step: u64, batch: &Batch, x: &[f32], stride: usize) -> &[u32] {
        let queries = Queries { x, width: self.width, stride };
        self.pool.install(|| {
            self.selection.begin(step, batch);
            self.selection.choose(queries);
        });
        &self.selection.neurons
    }

    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes of host memory held.
    pub fn bytes(&self) -> u64 {
        self.selection.bytes()
    }
}

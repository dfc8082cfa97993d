//! Which labels a step's softmax runs over where it is sampled.

use crate::data::Batch;
use crate::engine::EngineError;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// Draws a fixed number of labels a step: all true labels of the batch, then those the caller wants, then others
/// uniformly without replacement. Every sample of the batch shares them. Where nothing is wanted all of the others are
/// equally likely, so logits need no correction.
#[derive(Debug)]
pub(super) struct Sampler {
    rng: Pcg64Mcg,
    labels: usize,
    size: usize,
    taken: Vec<u64>,
    /// The sample, ascending.
    pub chosen: Vec<u32>,
    /// How many of them are true labels of the batch.
    pub true_labels: usize,
    /// How many others were wanted by the caller.
    pub wanted: usize,
}

impl Sampler {
    /// `share` of `labels`, at least one.
    pub fn new(labels: usize, share: f64, seed: u64) -> Self {
        let size = ((labels as f64 * share).ceil() as usize).clamp(1, labels);
        let taken = vec![0; labels.div_ceil(64)];
        Self { rng: Pcg64Mcg::seed_from_u64(seed), labels, size, taken, chosen: Vec::new(), true_labels: 0, wanted: 0 }
    }

    /// Labels in a sample.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Draws the sample for a batch; of `wanted` labels, as many as there is room for come in.
    ///
    /// # Errors
    /// [`EngineError::Settings`] if the batch has more true labels than the sample holds.
    pub fn draw(&mut self, batch: &Batch, wanted: &[u32]) -> Result<(), EngineError> {
        self.taken.fill(0);
        let mut count = 0;
        let mut take = |taken: &mut [u64], label: u32| {
            let (word, bit) = (label as usize / 64, 1u64 << (label % 64));
            count += usize::from(taken[word] & bit == 0);
            taken[word] |= bit;
            count
        };
        let mut drawn = 0;
        for &label in batch.labels.iter().filter(|&&label| (label as usize) < self.labels) {
            drawn = take(&mut self.taken, label);
        }
        self.true_labels = drawn;
        if drawn > self.size {
            return Err(EngineError::Settings(format!(
                "the batch has {drawn} distinct labels, the sample only {}; use a larger share or a smaller batch",
                self.size
            )));
        }
        for &label in wanted {
            if drawn == self.size {
                break;
            }
            drawn = take(&mut self.taken, label);
        }
        self.wanted = drawn - self.true_labels;
        // Close to all labels, drawing until each was hit takes L ln L tries: still cheap.
        while drawn < self.size {
            drawn = take(&mut self.taken, self.rng.random_range(0..self.labels as u32));
        }
        self.chosen.clear();
        for (word, &bits) in self.taken.iter().enumerate() {
            let mut left = bits;
            while left != 0 {
                self.chosen.push(word as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
        Ok(())
    }
}

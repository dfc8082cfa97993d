//! The order samples are seen in: a function of seed and epoch alone.

use crate::data::{Batch, Split, shuffled};

/// Seed of the evaluation sample: one sample for every engine, seed and run.
pub const SAMPLE_SEED: u64 = 0;

/// Seed of the rows a learning-rate search holds out of the training set.
pub(super) const HOLDOUT_SEED: u64 = 1;

/// Parts `n` training rows into those that are trained on and `count` (at most half) that judge.
pub fn holdout(n: usize, count: usize) -> (Vec<u32>, Vec<u32>) {
    let mut rows = shuffled(n, HOLDOUT_SEED, u64::MAX);
    let judges = rows.split_off(n - count.min(n / 2));
    (rows, judges)
}

/// The endless sequence of batches: epoch after epoch, each in its own order; the last batch of an epoch is what is
/// left.
pub struct Batches<'a> {
    split: &'a Split,
    rows: &'a [u32],
    size: usize,
    seed: u64,
    epoch: u64,
    order: Vec<u32>,
    next: usize,
}

impl<'a> Batches<'a> {
    /// Batches of `size` out of the given rows of `split`.
    ///
    /// # Panics
    /// If there are no rows, or `size` is 0.
    pub fn new(split: &'a Split, rows: &'a [u32], size: usize, seed: u64) -> Self {
        assert!(!rows.is_empty() && size > 0);
        Self { split, rows, size, seed, epoch: 0, order: vec![], next: 0 }
    }

    /// Steps an epoch takes.
    pub fn per_epoch(&self) -> u64 {
        self.rows.len().div_ceil(self.size) as u64
    }

    /// Copies the next batch into `batch`.
    pub fn fill(&mut self, batch: &mut Batch) {
        if self.next == self.order.len() {
            self.order = shuffled(self.rows.len(), self.seed, self.epoch);
            for row in &mut self.order {
                *row = self.rows[*row as usize];
            }
            self.epoch += 1;
            self.next = 0;
        }
        let end = (self.next + self.size).min(self.order.len());
        self.split.fill(&self.order[self.next..end], batch);
        self.next = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_rows_are_not_trained_on() {
        let (train, judges) = holdout(50, 10);
        assert_eq!((train.len(), judges.len()), (40, 10));
        assert!(judges.iter().all(|row| !train.contains(row)));
        assert_eq!(holdout(8, 100).1.len(), 4);
    }
}

//! Precision at k.

use crate::data::{Batch, Split};
use crate::engine::{EngineError, TopK};

/// The k of P@k, ascending.
pub const EVALUATED: [usize; 3] = [1, 3, 5];

/// P@1, P@3 and P@5 over a set of rows.
///
/// As in the Extreme Classification Repository, P@k of a row is the number of true labels among its k best answers,
/// divided by k, even where the row has fewer than k labels. Rows without labels have no right answer and do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Precision {
    hits: [u64; EVALUATED.len()],
    rows: u64,
}

impl Precision {
    /// Adds a batch and the answers to it.
    pub fn add(&mut self, batch: &Batch, answers: &TopK) {
        for b in (0..batch.len()).filter(|&b| !batch.labels(b).is_empty()) {
            let truth = batch.labels(b);
            let answers = &answers.labels[b * answers.k..(b + 1) * answers.k];
            for (hits, k) in self.hits.iter_mut().zip(EVALUATED) {
                let best = answers.iter().take(k);
                *hits += best.filter(|label| truth.binary_search(label).is_ok()).count() as u64;
            }
            self.rows += 1;
        }
    }

    /// Rows that counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// P@k for each k of [`EVALUATED`]; none if no row counted.
    pub fn at(&self) -> Option<[f64; EVALUATED.len()]> {
        let mean = |i: usize| self.hits[i] as f64 / (self.rows as f64 * EVALUATED[i] as f64);
        (self.rows > 0).then(|| std::array::from_fn(mean))
    }
}

/// Asks `answer` for the best labels of the given rows, `size` rows at a time, and counts the hits.
///
/// # Errors
/// The first error of `answer`, or an answer of the wrong size.
pub fn evaluate(
    split: &Split,
    rows: &[u32],
    size: usize,
    mut answer: impl FnMut(&Batch, usize) -> Result<TopK, EngineError>,
) -> Result<Precision, EngineError> {
    let mut precision = Precision::default();
    let mut batch = Batch::default();
    for rows in rows.chunks(size) {
        split.fill(rows, &mut batch);
        let answers = answer(&batch, EVALUATED[EVALUATED.len() - 1])?;
        if answers.labels.len() != batch.len() * answers.k {
            let (got, wanted) = (answers.labels.len(), batch.len() * answers.k);
            return Err(EngineError::Failed(format!("the engine answered {got} labels where {wanted} were asked for")));
        }
        precision.add(&batch, &answers);
    }
    Ok(precision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_by_hand() {
        let mut batch = Batch::default();
        batch.push_sparse(&[], &[], &[2, 4, 6, 8, 9]); // all five found: 1, 1, 1
        batch.push_sparse(&[], &[], &[]); // does not count
        batch.push_sparse(&[], &[], &[7]); // found third: 0, 1/3, 1/5
        batch.push_sparse(&[], &[], &[1, 3]); // found first and fourth: 1, 1/3, 2/5
        let answers = TopK {
            k: 5,
            labels: [[8, 6, 4, 2, 9], [0, 1, 2, 3, 4], [1, 2, 7, 3, 4], [3, 0, 2, 1, 4]].concat(),
            scores: vec![0.0; 20],
        };
        let mut precision = Precision::default();
        precision.add(&batch, &answers);
        assert_eq!(precision.rows(), 3);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        let [p1, p3, p5] = precision.at().unwrap();
        close(p1, 2.0 / 3.0);
        close(p3, (1.0 + 1.0 / 3.0 + 1.0 / 3.0) / 3.0);
        close(p5, (1.0 + 0.2 + 0.4) / 3.0);
    }

    #[test]
    fn an_engine_with_fewer_labels_than_k_still_divides_by_k() {
        let mut batch = Batch::default();
        batch.push_sparse(&[], &[], &[0, 1]);
        let mut precision = Precision::default();
        precision.add(&batch, &TopK { k: 2, labels: vec![1, 0], scores: vec![0.0; 2] });
        assert_eq!(precision.at(), Some([1.0, 2.0 / 3.0, 2.0 / 5.0]));
    }

    #[test]
    fn nothing_to_score_has_no_precision() {
        assert_eq!(Precision::default().at(), None);
    }
}

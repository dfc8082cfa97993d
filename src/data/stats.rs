//! What a data set is like: the row of Table 1 in the SLIDE paper (Chen et al. 2020), and a little more.

use super::{Dataset, Features, Split};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The counts of a data set; means over training rows unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Statistics {
    pub name: String,
    /// I.
    pub inputs: usize,
    /// L.
    pub labels: usize,
    /// N of each side.
    pub train: usize,
    pub test: usize,
    /// Non-zero features a row.
    pub features_a_row: f64,
    /// The same as a share of I, in percent.
    pub density_percent: f64,
    /// Labels a row.
    pub labels_a_row: f64,
    /// Rows a label, over all L labels.
    pub rows_a_label: f64,
    /// Rows the most frequent label has.
    pub top_label_rows: usize,
    /// Labels that no row has.
    pub absent_labels: usize,
    /// P@1 on the test rows of always answering the most frequent training label: what a model must beat.
    pub majority_p1: f64,
}

impl Statistics {
    /// Counts everything.
    pub fn of(data: &Dataset) -> Self {
        let (train, test) = (data.train.rows(), data.test.rows());
        let mean = |total: usize, rows: usize| if rows == 0 { 0.0 } else { total as f64 / rows as f64 };
        let features_a_row = mean(nonzeros(&data.train), train);
        let total_labels = data.train.labels.total();
        // Only as long as the highest label asks for: L itself is what some file claims.
        let seen = data.train.labels.labels().iter().max().map_or(0, |&top| top as usize + 1);
        let mut counts = vec![0usize; seen];
        data.train.labels.labels().iter().for_each(|&label| counts[label as usize] += 1);
        // Of equals the lowest, as everywhere.
        let majority = (0..seen).rev().max_by_key(|&label| counts[label]);
        let hits = (0..test)
            .filter(|&r| majority.is_some_and(|top| data.test.labels.row(r).binary_search(&(top as u32)).is_ok()))
            .count();
        Self {
            name: data.name.clone(),
            inputs: data.inputs,
            labels: data.labels,
            train,
            test,
            features_a_row,
            density_percent: 100.0 * features_a_row / data.inputs.max(1) as f64,
            labels_a_row: mean(total_labels, train),
            rows_a_label: mean(total_labels, data.labels),
            top_label_rows: majority.map_or(0, |top| counts[top]),
            absent_labels: data.labels - counts.iter().filter(|&&count| count > 0).count(),
            majority_p1: mean(hits, test),
        }
    }
}

fn nonzeros(split: &Split) -> usize {
    match &split.features {
        Features::Sparse(csr) => csr.values().iter().filter(|&&value| value != 0.0).count(),
        Features::Dense { values, .. } => values.iter().filter(|&&value| value != 0.0).count(),
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("features, I", grouped(self.inputs)),
            ("labels, L", grouped(self.labels)),
            ("rows to train on, N", grouped(self.train)),
            ("rows to test on", grouped(self.test)),
            ("features a row", format!("{:.1}", self.features_a_row)),
            ("density", format!("{:.3} %", self.density_percent)),
            ("labels a row", format!("{:.2}", self.labels_a_row)),
            ("rows a label", format!("{:.2}", self.rows_a_label)),
            ("rows of the top label", grouped(self.top_label_rows)),
            ("labels without a row", grouped(self.absent_labels)),
            ("P@1 of the top label", format!("{:.3}", self.majority_p1)),
        ];
        write!(f, "{}", self.name)?;
        for (what, value) in rows {
            write!(f, "\n  {what:<22}{value:>13}")?;
        }
        Ok(())
    }
}

/// Digits in groups of three: 1,234,567.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

//! Rows being gathered into the arrays of a split.

use super::{Csr, Features, LabelLists, Split};

/// Sparse rows and their labels, one after another.
#[derive(Debug)]
pub(super) struct Rows {
    pub offsets: Vec<u64>,
    pub indices: Vec<u32>,
    pub values: Vec<f32>,
    pub label_offsets: Vec<u64>,
    pub labels: Vec<u32>,
}

impl Default for Rows {
    fn default() -> Self {
        Self { offsets: vec![0], indices: vec![], values: vec![], label_offsets: vec![0], labels: vec![] }
    }
}

impl Rows {
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Closes the row whose entries and labels have been pushed.
    pub fn end_row(&mut self) {
        self.offsets.push(self.indices.len() as u64);
        self.label_offsets.push(self.labels.len() as u64);
    }

    /// Takes over the rows of `other`.
    pub fn append(&mut self, other: &Rows) {
        let (entries, labels) = (self.indices.len() as u64, self.labels.len() as u64);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| entries + offset));
        self.label_offsets.extend(other.label_offsets[1..].iter().map(|offset| labels + offset));
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.labels.extend_from_slice(&other.labels);
    }

    /// Drops all rows after the first `rows` if they hold nothing; tells whether it could.
    pub fn truncate_blank(&mut self, rows: usize) -> bool {
        let blank =
            self.offsets[rows] == self.indices.len() as u64 && self.label_offsets[rows] == self.labels.len() as u64;
        if blank {
            self.offsets.truncate(rows + 1);
            self.label_offsets.truncate(rows + 1);
        }
        blank
    }

    pub fn into_split(self) -> Split {
        let (features, labels) = self.into_parts();
        Split { features: Features::Sparse(features), labels }
    }

    pub fn into_parts(self) -> (Csr, LabelLists) {
        (Csr::new(self.offsets, self.indices, self.values), LabelLists::new(self.label_offsets, self.labels))
    }
}

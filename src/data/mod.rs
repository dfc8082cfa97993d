//! What is learned from: sparse or dense input rows, a list of true labels for each, split into train and test.
//!
//! Invariants every source must establish and everything downstream relies on: within a row, feature indices are
//! strictly ascending and below I, values are finite; labels are strictly ascending and below L. Rows without
//! features and rows without labels are legal.

mod batch;

pub use batch::{Batch, Input, Inputs};

/// Compressed sparse rows: row `r` holds `indices[offsets[r]..offsets[r+1]]` and, for features, values beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csr {
    offsets: Vec<u64>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl Csr {
    /// Wraps the three arrays; `offsets` has one entry more than there are rows and starts at 0.
    ///
    /// # Panics
    /// If the arrays disagree in length.
    pub fn new(offsets: Vec<u64>, indices: Vec<u32>, values: Vec<f32>) -> Self {
        assert_eq!(offsets.first(), Some(&0));
        assert_eq!(*offsets.last().unwrap() as usize, indices.len());
        assert_eq!(indices.len(), values.len());
        Self { offsets, indices, values }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of stored entries over all rows.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Indices and values of row `r`.
    pub fn row(&self, r: usize) -> (&[u32], &[f32]) {
        let span = self.offsets[r] as usize..self.offsets[r + 1] as usize;
        (&self.indices[span.clone()], &self.values[span])
    }
}

/// The true labels of every row, as one long list with offsets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelLists {
    offsets: Vec<u64>,
    labels: Vec<u32>,
}

impl LabelLists {
    /// Wraps the two arrays; `offsets` has one entry more than there are rows and starts at 0.
    ///
    /// # Panics
    /// If the arrays disagree in length.
    pub fn new(offsets: Vec<u64>, labels: Vec<u32>) -> Self {
        assert_eq!(offsets.first(), Some(&0));
        assert_eq!(*offsets.last().unwrap() as usize, labels.len());
        Self { offsets, labels }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Number of labels over all rows.
    pub fn total(&self) -> usize {
        self.labels.len()
    }

    /// Labels of row `r`, ascending.
    pub fn row(&self, r: usize) -> &[u32] {
        &self.labels[self.offsets[r] as usize..self.offsets[r + 1] as usize]
    }
}

/// The input rows of a split.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Mostly zeros: text, one-hot, bag of words.
    Sparse(Csr),
    /// Row-major `rows x width`: images.
    Dense { width: usize, values: Vec<f32> },
}

/// One side of a data set: N rows of features, N label lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    pub features: Features,
    pub labels: LabelLists,
}

impl Split {
    /// Number of rows, N.
    pub fn rows(&self) -> usize {
        self.labels.rows()
    }

    /// Copies the given rows into `batch`, reusing its memory.
    pub fn fill(&self, rows: &[u32], batch: &mut Batch) {
        batch.clear(&self.features);
        for &r in rows {
            let r = r as usize;
            match &self.features {
                Features::Sparse(csr) => {
                    let (indices, values) = csr.row(r);
                    batch.push_sparse(indices, values, self.labels.row(r));
                }
                Features::Dense { width, values } => {
                    batch.push_dense(&values[r * width..(r + 1) * width], self.labels.row(r));
                }
            }
        }
    }
}

/// A data set, ready to train on.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Name as typed: `moby`, `synthetic:amazon-670k`, a path.
    pub name: String,
    /// I, the number of input features.
    pub inputs: usize,
    /// L, the number of labels.
    pub labels: usize,
    pub train: Split,
    pub test: Split,
    /// Where it came from and how it was made, one sentence, with versions and seeds.
    pub provenance: String,
    /// xxh3 of the content, so that records of different data never share a curve.
    pub fingerprint: u64,
}

impl Dataset {
    /// How many training rows carry each label (length L).
    pub fn label_counts(&self) -> Vec<u32> {
        let mut counts = vec![0u32; self.labels];
        for r in 0..self.train.rows() {
            for &label in self.train.labels.row(r) {
                counts[label as usize] += 1;
            }
        }
        counts
    }
}

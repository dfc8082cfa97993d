//! What is learned from: sparse or dense input rows, a list of true labels for each, split into train and test.
//!
//! Invariants every source must establish and everything downstream relies on: within a row, feature indices are
//! strictly ascending and below I, values are finite; labels are strictly ascending and below L. Rows without
//! features and rows without labels are legal.
//!
//! [`open`] makes a [`Dataset`] of a [`Source`] and keeps it in a binary cache, which it maps the next time if it is
//! sound and still true.
//!
//! | file | holds |
//! |---|---|
//! | `source` | the names of sources, as typed or in TOML |
//! | `open`, `cache` | from a source to a data set; built sets as checked, memory-mapped files |
//! | `words` | `moby`, `webster` and `webster-text`, real and in the box |
//! | `xmc/` | text files of the Extreme Classification Repository |
//! | `idx` | images, as dense input |
//! | [`synthetic`] | planted structure in the shape of the published sets |
//! | `weighting` | tf-idf and rows of length 1 |
//! | `compressed` | .gz, .zst and .xz |
//! | [`stats`] | the row of the paper's Table 1 |
//! | `order` | epochs and samples: which rows come when |
//! | `batch` | B rows in the layout engines read |

mod array;
mod batch;
mod cache;
mod compressed;
mod error;
mod idx;
mod open;
mod order;
mod rows;
mod source;
pub mod stats;
pub mod synthetic;
mod weighting;
#[cfg(feature = "embedded-data")]
mod words;
mod xmc;

pub use array::Array;
pub use batch::{Batch, Input, Inputs};
pub use error::DataError;
pub use open::{OpenOptions, Progress, Silent, open};
pub use order::{sample, shuffled};
pub use source::{Source, Synthetic, Weighting, Xmc};

/// Compressed sparse rows: row `r` holds `indices[offsets[r]..offsets[r+1]]` and, for features, values beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csr {
    offsets: Array<u64>,
    indices: Array<u32>,
    values: Array<f32>,
}

impl Csr {
    /// Wraps the three arrays; `offsets` has one entry more than there are rows and starts at 0.
    ///
    /// # Panics
    /// If the arrays disagree in length.
    pub fn new(offsets: Vec<u64>, indices: Vec<u32>, values: Vec<f32>) -> Self {
        Self::from_arrays(offsets.into(), indices.into(), values.into()).expect("arrays of matching lengths")
    }

    /// The same of arrays that may live in a map; `None` where they disagree in length.
    fn from_arrays(offsets: Array<u64>, indices: Array<u32>, values: Array<f32>) -> Option<Self> {
        let sound = spans(&offsets, indices.len()) && indices.len() == values.len();
        sound.then_some(Self { offsets, indices, values })
    }

    /// The feature indices of all rows, one row after another.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The values beside [`Csr::indices`].
    pub fn values(&self) -> &[f32] {
        &self.values
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
    offsets: Array<u64>,
    labels: Array<u32>,
}

impl LabelLists {
    /// Wraps the two arrays; `offsets` has one entry more than there are rows and starts at 0.
    ///
    /// # Panics
    /// If the arrays disagree in length.
    pub fn new(offsets: Vec<u64>, labels: Vec<u32>) -> Self {
        Self::from_arrays(offsets.into(), labels.into()).expect("arrays of matching lengths")
    }

    /// The same of arrays that may live in a map; `None` where they disagree in length.
    fn from_arrays(offsets: Array<u64>, labels: Array<u32>) -> Option<Self> {
        spans(&offsets, labels.len()).then_some(Self { offsets, labels })
    }

    /// The labels of all rows, one row after another.
    pub fn labels(&self) -> &[u32] {
        &self.labels
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

    /// The share of rows that carries each of `labels` labels.
    pub fn shares(&self, labels: usize) -> Vec<f32> {
        self.drawn_shares(labels, usize::MAX)
    }

    /// The same where a row with more labels than `most` has that many of them drawn, each as likely as the others.
    pub fn drawn_shares(&self, labels: usize, most: usize) -> Vec<f32> {
        let mut shares = vec![0.0f64; labels];
        for row in (0..self.rows()).map(|r| self.row(r)) {
            let kept = (most as f64 / row.len() as f64).min(1.0);
            row.iter().for_each(|&label| shares[label as usize] += kept);
        }
        let rows = self.rows().max(1) as f64;
        shares.into_iter().map(|share| (share / rows) as f32).collect()
    }
}

/// Whether `offsets` cut an array of `len` values into rows.
fn spans(offsets: &[u64], len: usize) -> bool {
    offsets.first() == Some(&0) && offsets.last() == Some(&(len as u64)) && offsets.is_sorted()
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
    /// Puts a data set together and takes its fingerprint.
    pub fn new(name: String, inputs: usize, labels: usize, train: Split, test: Split, provenance: String) -> Self {
        let mut data = Self { name, inputs, labels, train, test, provenance, fingerprint: 0 };
        data.fingerprint = data.content_hash();
        data
    }

    /// xxh3 over sizes, features and labels of both splits; what [`Dataset::fingerprint`] holds.
    fn content_hash(&self) -> u64 {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        let mut take = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        take(&(self.inputs as u64).to_le_bytes());
        take(&(self.labels as u64).to_le_bytes());
        for split in [&self.train, &self.test] {
            match &split.features {
                Features::Sparse(csr) => {
                    take(bytemuck::cast_slice(&csr.offsets));
                    take(bytemuck::cast_slice(&csr.indices));
                    take(bytemuck::cast_slice(&csr.values));
                }
                Features::Dense { values, .. } => take(bytemuck::cast_slice(values)),
            }
            take(bytemuck::cast_slice(&split.labels.offsets));
            take(bytemuck::cast_slice(&split.labels.labels));
        }
        hash.digest()
    }

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

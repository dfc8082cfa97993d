//! A batch: B rows copied out of a split, in the layout engines read.

use super::Features;

/// The input rows of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Row `b` holds `indices[offsets[b]..offsets[b+1]]`, ascending, with values beside them.
    Sparse { offsets: Vec<u32>, indices: Vec<u32>, values: Vec<f32> },
    /// Row-major `B x width`.
    Dense { width: usize, values: Vec<f32> },
}

/// One input row.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    Sparse { indices: &'a [u32], values: &'a [f32] },
    Dense(&'a [f32]),
}

/// B samples: inputs and true labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub inputs: Inputs,
    /// Row `b` has the labels `labels[label_offsets[b]..label_offsets[b+1]]`, ascending.
    pub label_offsets: Vec<u32>,
    pub labels: Vec<u32>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            inputs: Inputs::Sparse { offsets: vec![0], indices: vec![], values: vec![] },
            label_offsets: vec![0],
            labels: vec![],
        }
    }
}

impl Batch {
    /// B, the number of samples.
    pub fn len(&self) -> usize {
        self.label_offsets.len() - 1
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Input values of all samples: the non-zeros where they are sparse.
    pub fn entries(&self) -> usize {
        match &self.inputs {
            Inputs::Sparse { indices, .. } => indices.len(),
            Inputs::Dense { values, .. } => values.len(),
        }
    }

    /// Input row `b`.
    pub fn input(&self, b: usize) -> Input<'_> {
        match &self.inputs {
            Inputs::Sparse { offsets, indices, values } => {
                let span = offsets[b] as usize..offsets[b + 1] as usize;
                Input::Sparse { indices: &indices[span.clone()], values: &values[span] }
            }
            Inputs::Dense { width, values } => Input::Dense(&values[b * width..(b + 1) * width]),
        }
    }

    /// True labels of sample `b`, ascending.
    pub fn labels(&self, b: usize) -> &[u32] {
        &self.labels[self.label_offsets[b] as usize..self.label_offsets[b + 1] as usize]
    }

    /// Empties the batch and takes on the kind (sparse or dense) of `like`.
    pub fn clear(&mut self, like: &Features) {
        self.label_offsets.clear();
        self.label_offsets.push(0);
        self.labels.clear();
        match (like, &mut self.inputs) {
            (Features::Sparse(_), Inputs::Sparse { offsets, indices, values }) => {
                offsets.clear();
                offsets.push(0);
                indices.clear();
                values.clear();
            }
            (Features::Dense { width: wanted, .. }, Inputs::Dense { width, values }) => {
                *width = *wanted;
                values.clear();
            }
            (Features::Sparse(_), inputs) => *inputs = Batch::default().inputs,
            (Features::Dense { width, .. }, inputs) => *inputs = Inputs::Dense { width: *width, values: vec![] },
        }
    }

    /// Appends a sparse sample.
    ///
    /// # Panics
    /// If the batch holds dense rows.
    pub fn push_sparse(&mut self, row_indices: &[u32], row_values: &[f32], row_labels: &[u32]) {
        let Inputs::Sparse { offsets, indices, values } = &mut self.inputs else {
            panic!("a sparse row was pushed into a dense batch")
        };
        indices.extend_from_slice(row_indices);
        values.extend_from_slice(row_values);
        offsets.push(indices.len() as u32);
        self.push_labels(row_labels);
    }

    /// Appends a dense sample of `width` values.
    ///
    /// # Panics
    /// If the batch holds sparse rows or the width differs.
    pub fn push_dense(&mut self, row: &[f32], row_labels: &[u32]) {
        let Inputs::Dense { width, values } = &mut self.inputs else {
            panic!("a dense row was pushed into a sparse batch")
        };
        assert_eq!(*width, row.len());
        values.extend_from_slice(row);
        self.push_labels(row_labels);
    }

    fn push_labels(&mut self, row_labels: &[u32]) {
        self.labels.extend_from_slice(row_labels);
        self.label_offsets.push(self.labels.len() as u32);
    }
}

//! A batch as the kernels read it: one buffer of 32-bit words, sections one after another, and the step's constants.

use crate::data::{Batch, Input, Inputs};
use crate::engine::EngineError;
use crate::network::{AdamStep, Shape};
use std::ops::Range;

/// Labels between two entries of the target list's index.
pub(super) const LABELS_AN_ENTRY: usize = 64;

/// What changes from step to step; the fields and their order are `Step` in `shaders/common.wgsl`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct StepHead {
    pub samples: u32,
    pub scale: f32,
    pub rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    pub time: u32,
    pub slot: u32,
    x_starts: u32,
    x_columns: u32,
    x_values: u32,
    f_rows: u32,
    f_starts: u32,
    f_samples: u32,
    f_values: u32,
    f_windows: u32,
    p_starts: u32,
    p_labels: u32,
    p_samples: u32,
    p_values: u32,
    label_counts: u32,
    s_labels: u32,
    /// 0 where the step's weights are no snapshot.
    pub snapshot: f32,
    pad: u32,
}

impl StepHead {
    pub fn set_adam(&mut self, adam: AdamStep) {
        (self.rate, self.beta1, self.beta2, self.epsilon) = (adam.rate, adam.beta1, adam.beta2, adam.epsilon);
    }
}

/// A window of the label matrix, `rows x capacity` with a row a label: 1/n where a sample has the label, else 0.
pub(super) fn dense_labels(batch: &Batch, first: usize, rows: usize, capacity: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; rows * capacity];
    for b in 0..batch.len() {
        let truth = batch.labels(b);
        for &label in truth.iter().filter(|&&label| (first..first + rows).contains(&(label as usize))) {
            matrix[(label as usize - first) * capacity + b] = 1.0 / truth.len() as f32;
        }
    }
    matrix
}

/// What a batch is packed for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    Predict,
    /// Training, softmax running over all labels or over a sample (ascending, the batch's own labels among them).
    Train {
        sample: Option<&'a [u32]>,
    },
}

/// Packs batches, reusing its memory.
#[derive(Debug, Default)]
pub(super) struct Packer {
    pub head: StepHead,
    /// The sections.
    pub words: Vec<u32>,
    /// Dense input, rows padded to a multiple of 4; empty where the input is sparse.
    pub dense: Vec<f32>,
    /// Touched features in each window of the first layer's rows.
    pub touched: Vec<u32>,
    keys: Vec<u64>,
    entries: Vec<(u32, f32)>,
}

impl Packer {
    /// Packs the samples `rows` of a batch. `windows` are the ends of the first layer's row windows, `capacity` the
    /// samples that buffers are laid out for (a multiple of 4). Targets and the lists by feature are packed for training
    /// alone.
    ///
    /// # Errors
    /// [`EngineError::Failed`] if an index lies outside the network.
    pub fn pack(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        shape: &Shape,
        windows: &[usize],
        capacity: usize,
        purpose: Purpose<'_>,
    ) -> Result<(), EngineError> {
        self.words.clear();
        self.dense.clear();
        self.touched.clear();
        self.head.samples = rows.len() as u32;
        self.head.scale = 1.0 / rows.len() as f32;
        match &batch.inputs {
            Inputs::Sparse { .. } => self.sparse_inputs(batch, rows.clone(), shape.inputs)?,
            Inputs::Dense { width, values } => {
                if *width != shape.inputs {
                    return Err(EngineError::Failed(format!(
                        "the batch has {width} inputs a sample, the network {}",
                        shape.inputs
                    )));
                }
                for row in values[rows.start * width..rows.end * width].chunks_exact(*width) {
                    self.dense.extend_from_slice(row);
                    self.dense.resize(self.dense.len().next_multiple_of(4), 0.0);
                }
            }
        }
        if let Purpose::Train { sample } = purpose {
            if matches!(batch.inputs, Inputs::Sparse { .. }) {
                self.inputs_by_feature(batch, rows.clone(), windows);
            }
            self.targets(batch, rows, shape.labels, capacity, sample)?;
        }
        Ok(())
    }

    /// Where the next section starts.
    fn here(&self) -> u32 {
        self.words.len() as u32
    }

    fn sparse_inputs(&mut self, batch: &Batch, rows: Range<usize>, width: usize) -> Result<(), EngineError> {
        let Inputs::Sparse { offsets, indices, values } = &batch.inputs else { return Ok(()) };
        let span = offsets[rows.start] as usize..offsets[rows.end] as usize;
        if let Some(index) = indices[span.clone()].iter().find(|&&index| index as usize >= width) {
            return Err(EngineError::Failed(format!("feature {index} in a network of {width} inputs")));
        }
        self.head.x_starts = self.here();
        self.words.extend(offsets[rows.start..=rows.end].iter().map(|offset| offset - span.start as u32));
        self.head.x_columns = self.here();
        self.words.extend_from_slice(&indices[span.clone()]);
        self.head.x_values = self.here();
        self.words.extend(values[span].iter().map(|value| value.to_bits()));
        Ok(())
    }

    /// The same entries sorted by feature, so that one workgroup owns one row of weights.
    fn inputs_by_feature(&mut self, batch: &Batch, rows: Range<usize>, windows: &[usize]) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        for (sample, b) in rows.enumerate() {
            let Input::Sparse { indices, values } = batch.input(b) else { continue };
            for (&index, &value) in indices.iter().zip(values) {
                keys.push(u64::from(index) << 32 | entries.len() as u64);
                entries.push((sample as u32, value));
            }
        }
        keys.sort_unstable();
        let entry = |key: u64| entries[key as u32 as usize];

        self.head.f_samples = self.here();
        self.words.extend(keys.iter().map(|&key| entry(key).0));
        self.head.f_values = self.here();
        self.words.extend(keys.iter().map(|&key| entry(key).1.to_bits()));
        self.head.f_rows = self.here();
        let mut starts = Vec::new();
        for (position, &key) in keys.iter().enumerate() {
            let feature = (key >> 32) as u32;
            if position == 0 || (keys[position - 1] >> 32) as u32 != feature {
                self.words.push(feature);
                starts.push(position as u32);
            }
        }
        starts.push(keys.len() as u32);
        let features = &self.words[self.head.f_rows as usize..];
        let mut window_starts = vec![0];
        window_starts.extend(windows.iter().map(|&end| features.partition_point(|&f| (f as usize) < end) as u32));
        self.touched.extend(window_starts.windows(2).map(|pair| pair[1] - pair[0]));
        self.head.f_starts = self.here();
        self.words.extend_from_slice(&starts);
        self.head.f_windows = self.here();
        self.words.extend_from_slice(&window_starts);
        (self.keys, self.entries) = (keys, entries);
    }

    fn targets(
        &mut self,
        batch: &Batch,
        rows: Range<usize>,
        labels: usize,
        capacity: usize,
        sample: Option<&[u32]>,
    ) -> Result<(), EngineError> {
        let mut keys = std::mem::take(&mut self.keys);
        keys.clear();
        self.head.label_counts = self.here();
        for (sample, b) in rows.enumerate() {
            let truth = batch.labels(b);
            if let Some(&label) = truth.last().filter(|&&label| label as usize >= labels) {
                return Err(EngineError::Failed(format!("label {label} in a network of {labels} labels")));
            }
            self.words.push(truth.len() as u32);
            keys.extend(truth.iter().map(|&label| u64::from(label) << 32 | sample as u64));
        }
        self.words.resize(self.head.label_counts as usize + capacity, 0);
        // Kernels over a sample see positions in it, which ascend as the labels do.
        let mut labels = labels;
        if let Some(sample) = sample {
            labels = sample.len();
            self.head.s_labels = self.here();
            self.words.extend_from_slice(sample);
            for key in &mut keys {
                let position = sample.partition_point(|&label| u64::from(label) < *key >> 32) as u64;
                *key = position << 32 | (*key & 0xffff_ffff);
            }
        }
        keys.sort_unstable();
        let counts = self.head.label_counts as usize;
        self.head.p_labels = self.here();
        self.words.extend(keys.iter().map(|&key| (key >> 32) as u32));
        self.head.p_samples = self.here();
        self.words.extend(keys.iter().map(|&key| key as u32));
        self.head.p_values = self.here();
        for &key in &keys {
            let share = 1.0 / self.words[counts + key as u32 as usize] as f32;
            self.words.push(share.to_bits());
        }
        self.head.p_starts = self.here();
        let mut position = 0;
        for first in (0..labels + LABELS_AN_ENTRY).step_by(LABELS_AN_ENTRY) {
            while position < keys.len() && ((keys[position] >> 32) as usize) < first {
                position += 1;
            }
            self.words.push(position as u32);
        }
        self.keys = keys;
        Ok(())
    }
}

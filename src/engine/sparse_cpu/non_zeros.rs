//! The non-zeros of a layer's input, where the layer below skips neurons: products cost those alone, the s² of a
//! sparse layer on a sparse layer.

use crate::selection::Queries;

/// Non-zeros by sample.
#[derive(Debug, Default)]
pub struct NonZeros {
    starts: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl NonZeros {
    /// Lists the non-zeros of every sample.
    pub fn list(&mut self, x: Queries<'_>) {
        self.starts.clear();
        self.indices.clear();
        self.values.clear();
        self.starts.push(0);
        for row in x.x.chunks_exact(x.stride) {
            for (index, &value) in row[..x.width].iter().enumerate().filter(|(_, value)| **value != 0.0) {
                self.indices.push(index as u32);
                self.values.push(value);
            }
            self.starts.push(self.indices.len());
        }
    }

    /// How many sample `sample` has.
    pub fn count(&self, sample: u32) -> usize {
        self.starts[sample as usize + 1] - self.starts[sample as usize]
    }

    /// `w · x[sample]`.
    pub fn dot(&self, sample: u32, w: &[f32]) -> f32 {
        self.of(sample).map(|(index, value)| w[index] * value).sum()
    }

    /// `y += alpha * x[sample]`.
    pub fn add(&self, sample: u32, alpha: f32, y: &mut [f32]) {
        self.of(sample).for_each(|(index, value)| y[index] += alpha * value);
    }

    /// `y += alpha * w` in the places of the sample's non-zeros: where the input is 0 its ReLU lets no gradient pass.
    pub fn add_weights(&self, sample: u32, alpha: f32, w: &[f32], y: &mut [f32]) {
        self.of(sample).for_each(|(index, _)| y[index] += alpha * w[index]);
    }

    fn of(&self, sample: u32) -> impl Iterator<Item = (usize, f32)> {
        let span = self.starts[sample as usize]..self.starts[sample as usize + 1];
        self.indices[span.clone()].iter().map(|&index| index as usize).zip(self.values[span].iter().copied())
    }
}

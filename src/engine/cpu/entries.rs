//! The non-zeros of a batch, grouped by input feature.

use crate::data::{Batch, Input};
use crate::kernels::Pairs;
use std::ops::Range;

/// Those of one range of features.
#[derive(Debug, Default)]
pub struct Part {
    /// How many pairs each feature of the range has, then where its next pair goes; zero between steps.
    counts: Vec<u32>,
    /// The range's pairs as they come: feature, sample, value.
    entries: Vec<(u32, u32, f32)>,
    /// Features that occur, counted from the range's first.
    pub rows: Vec<u32>,
    starts: Vec<u32>,
    columns: Vec<u32>,
    pub values: Vec<f32>,
}

impl Part {
    /// For a range of so many features.
    pub fn new(features: usize) -> Self {
        Self { counts: vec![0; features], ..Self::default() }
    }

    /// Features of the range.
    pub fn features(&self) -> usize {
        self.counts.len()
    }

    pub fn pairs(&self) -> Pairs<'_> {
        Pairs { rows: &self.rows, starts: &self.starts, columns: &self.columns }
    }

    /// Collects the pairs of the range, which begins at feature `first`, counting-sorted: O(pairs), no comparison.
    /// `every_row` lists the features that do not occur as well.
    pub fn gather(&mut self, batch: &Batch, first: usize, every_row: bool) {
        let Self { counts, entries, rows, starts, columns, values } = self;
        rows.clear();
        starts.clear();
        if every_row {
            rows.extend(0..counts.len() as u32);
        }
        entries.clear();
        for b in 0..batch.len() {
            visit(batch, b, first..first + counts.len(), |row, x| entries.push((row as u32, b as u32, x)));
        }
        for &(row, ..) in &*entries {
            let count = &mut counts[row as usize];
            if *count == 0 && !every_row {
                rows.push(row);
            }
            *count += 1;
        }
        let mut total = 0;
        starts.push(0);
        for &row in &*rows {
            let count = std::mem::replace(&mut counts[row as usize], total);
            total += count;
            starts.push(total);
        }
        columns.resize(total as usize, 0);
        values.resize(total as usize, 0.0);
        for &(row, b, x) in &*entries {
            let at = &mut counts[row as usize];
            columns[*at as usize] = b;
            values[*at as usize] = x;
            *at += 1;
        }
        for &row in &*rows {
            counts[row as usize] = 0;
        }
    }
}

/// Every non-zero of sample `b` in these features: feature counted from the first, value.
fn visit(batch: &Batch, b: usize, features: Range<usize>, mut each: impl FnMut(usize, f32)) {
    match batch.input(b) {
        Input::Sparse { indices, values } => {
            let from = indices.partition_point(|&i| (i as usize) < features.start);
            for (&i, &x) in
                indices[from..].iter().zip(&values[from..]).take_while(|(i, _)| (**i as usize) < features.end)
            {
                each(i as usize - features.start, x);
            }
        }
        Input::Dense(values) => {
            for (row, &x) in values[features].iter().enumerate().filter(|(_, x)| **x != 0.0) {
                each(row, x);
            }
        }
    }
}

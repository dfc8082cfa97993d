//! The non-zeros of a batch, grouped by input feature.

use crate::data::{Batch, Input};
use crate::kernels::Pairs;

/// Those of one range of features.
#[derive(Debug, Default)]
pub struct Part {
    /// How many pairs each feature of the range has, then where its next pair goes; zero between steps.
    counts: Vec<u32>,
    /// Where each sample's entries of the range begin.
    froms: Vec<usize>,
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
        let Self { counts, froms, rows, starts, columns, values } = self;
        rows.clear();
        starts.clear();
        if every_row {
            rows.extend(0..counts.len() as u32);
        }
        let end = first + counts.len();
        froms.clear();
        for b in 0..batch.len() {
            froms.push(start(batch, b, first));
            visit(batch, b, froms[b], first, end, |row, _| {
                if counts[row] == 0 && !every_row {
                    rows.push(row as u32);
                }
                counts[row] += 1;
            });
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
        for (b, &from) in froms.iter().enumerate() {
            visit(batch, b, from, first, end, |row, x| {
                let at = &mut counts[row];
                columns[*at as usize] = b as u32;
                values[*at as usize] = x;
                *at += 1;
            });
        }
        for &row in &*rows {
            counts[row as usize] = 0;
        }
    }
}

/// Where the entries of sample `b` reach feature `first`.
fn start(batch: &Batch, b: usize, first: usize) -> usize {
    match batch.input(b) {
        Input::Sparse { indices, .. } => indices.partition_point(|&i| (i as usize) < first),
        Input::Dense(_) => first,
    }
}

/// Every non-zero of sample `b` in features `first..end`, whose entries begin at `from`: feature counted from `first`,
/// value.
fn visit(batch: &Batch, b: usize, from: usize, first: usize, end: usize, mut each: impl FnMut(usize, f32)) {
    match batch.input(b) {
        Input::Sparse { indices, values } => {
            for (&i, &x) in indices[from..].iter().zip(&values[from..]).take_while(|(i, _)| (**i as usize) < end) {
                each(i as usize - first, x);
            }
        }
        Input::Dense(values) => {
            for (row, &x) in values[from..end].iter().enumerate().filter(|(_, x)| **x != 0.0) {
                each(row, x);
            }
        }
    }
}

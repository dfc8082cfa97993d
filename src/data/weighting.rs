//! Term weighting: from counts to (1 + ln tf) · ln(N/df), and rows of length 1.

use super::Split;
use super::rows::Rows;
use rayon::prelude::*;

/// Turns the counts (1 or more) of both sides into tf-idf weights fitted on the training rows, each row of length 1.
pub(super) fn tf_idf_splits(train: Rows, test: Rows) -> (Split, Split) {
    let idf = inverse_document_frequency(&train, &test);
    let weigh = |features: &[u32], values: &mut [f32]| {
        for (&feature, value) in features.iter().zip(values) {
            *value = (1.0 + value.ln()) * idf[feature as usize];
        }
    };
    (weigh_rows(train, weigh), weigh_rows(test, weigh))
}

/// Gives every row length 1; a row of zeros stays.
#[cfg(feature = "embedded-data")]
pub(super) fn unit_split(rows: Rows) -> Split {
    weigh_rows(rows, |_, _| {})
}

/// ln(N/df) of every feature up to the highest that occurs; one that no training row has counts as if one had it.
fn inverse_document_frequency(train: &Rows, test: &Rows) -> Vec<f32> {
    let occurring = train.indices.iter().chain(&test.indices).max().map_or(0, |&top| top as usize + 1);
    let mut rows_with = vec![0u32; occurring];
    for &feature in &train.indices {
        rows_with[feature as usize] += 1;
    }
    let rows = train.len().max(1) as f64;
    rows_with.into_iter().map(|df| (rows / f64::from(df.max(1))).ln() as f32).collect()
}

/// Calls `weigh` with the features and values of every row, in parallel over blocks of rows, and normalises the row.
fn weigh_rows(mut rows: Rows, weigh: impl Fn(&[u32], &mut [f32]) + Sync) -> Split {
    const BLOCK: usize = 1024;
    let (offsets, indices) = (&rows.offsets, &rows.indices);
    let mut blocks = Vec::new();
    let mut rest = rows.values.as_mut_slice();
    for first in (0..offsets.len() - 1).step_by(BLOCK) {
        let bounds = &offsets[first..offsets.len().min(first + BLOCK + 1)];
        let (head, tail) = rest.split_at_mut((bounds[bounds.len() - 1] - bounds[0]) as usize);
        rest = tail;
        blocks.push((bounds, head));
    }
    blocks.into_par_iter().for_each(|(bounds, mut values)| {
        for row in bounds.windows(2) {
            let (head, tail) = values.split_at_mut((row[1] - row[0]) as usize);
            weigh(&indices[row[0] as usize..row[1] as usize], head);
            normalise(head);
            values = tail;
        }
    });
    rows.into_split()
}

fn normalise(values: &mut [f32]) {
    let length = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
}

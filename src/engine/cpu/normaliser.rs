//! The softmax's normaliser from what blocks of neurons leave of their exponentials.

use crate::kernels::LANES;
use crate::kernels::softmax::exp;
use crate::threads;
use rayon::prelude::*;

/// `out[b] = ln Σ e^z` of sample b over all blocks, from each block's largest logit and its sum of e^(z − largest), both
/// `blocks x samples`, `samples` a multiple of [`LANES`]. Sums run in block order, in f64.
pub fn log_normalisers(max: &[f32], sum: &[f32], samples: usize, out: &mut Vec<f32>) {
    out.resize(samples, 0.0);
    threads::for_each(out.par_chunks_mut(LANES).enumerate(), |(group, out)| {
        let lanes = |row: &'_ [f32]| -> [f32; LANES] { std::array::from_fn(|lane| row[group * LANES + lane]) };
        let mut largest = [f32::NEG_INFINITY; LANES];
        for max in max.chunks_exact(samples).map(lanes) {
            largest = std::array::from_fn(|lane| largest[lane].max(max[lane]));
        }
        let mut total = [0.0f64; LANES];
        for (max, sum) in max.chunks_exact(samples).map(lanes).zip(sum.chunks_exact(samples).map(lanes)) {
            let scaled: [f32; LANES] = std::array::from_fn(|lane| sum[lane] * exp(max[lane] - largest[lane]));
            total = std::array::from_fn(|lane| total[lane] + f64::from(scaled[lane]));
        }
        for (lane, out) in out.iter_mut().enumerate() {
            *out = (f64::from(largest[lane]) + total[lane].ln()) as f32;
        }
    });
}

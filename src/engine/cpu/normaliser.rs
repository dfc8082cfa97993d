//! The softmax's normaliser from what blocks of neurons leave of their exponentials.

use crate::kernels::LANES;
use crate::kernels::softmax::exp_scale_block;
use crate::threads;
use rayon::prelude::*;

/// `out[b] = ln Σ e^z` of sample b over all blocks, from each block's largest logit and its sum of e^(z − largest), both
/// `blocks x samples`, `samples` a multiple of [`LANES`]. Sums run in block order, in f64.
pub fn log_normalisers(max: &[f32], sum: &[f32], samples: usize, out: &mut Vec<f32>) {
    out.resize(samples, 0.0);
    threads::for_each(out.par_chunks_mut(GROUP).enumerate(), |(group, out)| {
        let columns = group * GROUP..group * GROUP + out.len();
        let mut largest = [f32::NEG_INFINITY; GROUP];
        for max in max.chunks_exact(samples) {
            for (largest, max) in largest.iter_mut().zip(&max[columns.clone()]) {
                *largest = largest.max(*max);
            }
        }
        let largest = &largest[..out.len()];
        let mut total = [0.0f64; GROUP];
        for (max, sum) in max.chunks_exact(samples).zip(sum.chunks_exact(samples)) {
            let mut scaled = [0.0; GROUP];
            let scaled = &mut scaled[..out.len()];
            scaled.copy_from_slice(&max[columns.clone()]);
            // What this makes 0 is too little to change a sum of at least 1.
            exp_scale_block(scaled, &[0.0], largest, &ONES[..out.len()]);
            for ((total, scaled), sum) in total.iter_mut().zip(&*scaled).zip(&sum[columns.clone()]) {
                *total += f64::from(scaled * sum);
            }
        }
        for ((out, largest), total) in out.iter_mut().zip(largest).zip(&total) {
            *out = (f64::from(*largest) + total.ln()) as f32;
        }
    });
}

/// Samples a task.
const GROUP: usize = 4 * LANES;
const ONES: [f32; GROUP] = [1.0; GROUP];

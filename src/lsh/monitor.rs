//! How far hash codes have moved since the last build (MONGOOSE's trigger for a rebuild).

use super::Hasher;
use crate::kernels::weights::Weights;

/// The codes of some neurons, spread evenly over the layer, as they were at the last build.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    /// Neurons watched.
    count: usize,
    bound: f32,
    codes: Vec<u32>,
}

impl Monitor {
    /// Watches up to `hasher.settings().rebuild.monitored` of the `neurons` rows of `weights` from now on.
    pub fn new<'a>(hasher: &Hasher, weights: impl Into<Weights<'a>>, stride: usize, neurons: usize) -> Self {
        let weights = weights.into();
        let count = hasher.settings().rebuild.monitored.min(neurons);
        let bound = hasher.bound(weights, stride, 0..neurons);
        Self { count, bound, codes: codes(hasher, weights, stride, neurons, count, bound) }
    }

    /// The share of the watched neurons' codes that are no longer what they were; of bits, for SimHash and MIPS.
    pub fn flipped<'a>(&self, hasher: &Hasher, weights: impl Into<Weights<'a>>, stride: usize, neurons: usize) -> f64 {
        let now = codes(hasher, weights.into(), stride, neurons, self.count, self.bound);
        let changed = now.iter().zip(&self.codes).filter(|(now, before)| now != before).count();
        changed as f64 / now.len().max(1) as f64
    }
}

fn codes(hasher: &Hasher, weights: Weights<'_>, stride: usize, neurons: usize, count: usize, bound: f32) -> Vec<u32> {
    let functions = hasher.tables() * hasher.settings().bits;
    let (mut codes, mut scratch) = (vec![0; count * functions], Vec::new());
    for (i, codes) in codes.chunks_exact_mut(functions).enumerate() {
        let first = i * neurons / count * stride;
        hasher.weight_codes(weights.widened(first..first + stride, &mut scratch), bound, codes);
    }
    codes
}

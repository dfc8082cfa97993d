//! Random neurons, uniformly or by label frequency: the control that skips without hashing.

use super::{ActiveSets, Neurons, Queries, Selection};
use rand::distr::{Distribution, Uniform};
use rand::{Rng, SeedableRng};
use rand_distr::weighted::WeightedAliasIndex;
use rand_pcg::Pcg64Mcg;

/// A random stream that depends on nothing but its coordinates, so that results do not depend on thread count.
pub(crate) fn stream(seed: u64, step: u64, sample: usize) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(
        seed ^ step.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (sample as u64).wrapping_mul(0xD1B5_4A32_D192_ED03),
    )
}

/// Where random neurons come from.
#[derive(Clone, Debug)]
pub enum Sampler {
    Uniform { uniform: Uniform<u32>, neurons: u32 },
    Weighted { alias: WeightedAliasIndex<f32>, probabilities: Vec<f32> },
}

impl Sampler {
    /// Every one of `neurons` neurons equally often.
    pub fn uniform(neurons: usize) -> Self {
        let neurons = neurons as u32;
        Self::Uniform { uniform: Uniform::new(0, neurons).expect("a layer has neurons"), neurons }
    }

    /// In proportion to the share of training rows that carries each label; a label without any counts as the rarest.
    pub fn frequency(shares: &[f32]) -> Self {
        let rarest = shares.iter().copied().filter(|&s| s > 0.0).fold(1.0, f32::min);
        Self::weighted(shares.iter().map(|&share| share.max(rarest)).collect())
    }

    /// TensorFlow's sampler of sampled softmax: the label of rank r by frequency (from 0) in proportion to
    /// ln((r + 2)/(r + 1)), as under a power law of exponent 1 whatever the labels' own.
    pub fn log_uniform(shares: &[f32]) -> Self {
        let mut by_rank: Vec<usize> = (0..shares.len()).collect();
        by_rank.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        let mut weights = vec![0.0; shares.len()];
        for (rank, label) in by_rank.into_iter().enumerate() {
            weights[label] = (1.0 / (rank as f32 + 1.0)).ln_1p();
        }
        Self::weighted(weights)
    }

    fn weighted(weights: Vec<f32>) -> Self {
        let total = weights.iter().map(|&w| f64::from(w)).sum::<f64>() as f32;
        let probabilities = weights.iter().map(|w| w / total).collect();
        Self::Weighted { alias: WeightedAliasIndex::new(weights).expect("positive weights"), probabilities }
    }

    /// Draws one neuron.
    pub fn draw(&self, rng: &mut impl Rng) -> u32 {
        match self {
            Self::Uniform { uniform, .. } => uniform.sample(rng),
            Self::Weighted { alias, .. } => alias.sample(rng) as u32,
        }
    }

    /// The probability of drawing `neuron`.
    pub fn probability(&self, neuron: u32) -> f32 {
        match self {
            Self::Uniform { neurons, .. } => 1.0 / *neurons as f32,
            Self::Weighted { probabilities, .. } => probabilities[neuron as usize],
        }
    }
}

/// Draws `count` random neurons beside the true labels: for each sample, or once for the batch.
#[derive(Debug)]
pub struct Random {
    sampler: Sampler,
    count: usize,
    /// Whether all samples of a batch get the same neurons.
    shared: bool,
    corrections: Option<Vec<f32>>,
    seed: u64,
}

impl Random {
    pub fn new(sampler: Sampler, count: usize, shared: bool, seed: u64) -> Self {
        Self { sampler, count, shared, corrections: None, seed }
    }

    /// With corrections for the probability of being drawn, for a layer of `neurons` neurons.
    pub fn corrected(mut self, neurons: usize) -> Self {
        let correction = |n: u32| {
            let absent = self.count as f32 * (-self.sampler.probability(n)).ln_1p();
            -(-absent.exp_m1()).ln()
        };
        self.corrections = Some((0..neurons as u32).map(correction).collect());
        self
    }
}

impl Selection for Random {
    fn prepare(&mut self, _step: u64, _neurons: Neurons<'_>) -> bool {
        false
    }

    fn select(&mut self, step: u64, _queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        debug_assert!(self.corrections.as_ref().is_none_or(|c| c.len() == neurons.bias.len()));
        let this = &*self;
        let draw = |sample| {
            let mut rng = stream(this.seed, step, sample);
            std::iter::repeat_with(move || this.sampler.draw(&mut rng)).take(this.count)
        };
        let drawn: Vec<u32> = if this.shared { draw(0).collect() } else { Vec::new() };
        sets.for_each(|sample, marks, counts| {
            if this.shared {
                marks.mark_all(&drawn);
            } else {
                draw(sample).for_each(|neuron| marks.mark(neuron));
            }
            counts.selected += marks.take_added();
            counts.candidates += this.count as u32;
        });
    }

    fn corrections(&self) -> Option<&[f32]> {
        self.corrections.as_deref()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_uniform_probabilities_follow_the_rank_of_the_shares() {
        let sampler = Sampler::log_uniform(&[0.1, 0.5, 0.0, 0.3]);
        let expected = [3, 1, 4, 2].map(|rank: i32| (f64::from(rank + 1) / f64::from(rank)).ln() / 5f64.ln());
        for (label, expected) in expected.into_iter().enumerate() {
            assert!((f64::from(sampler.probability(label as u32)) - expected).abs() < 1e-6);
        }
        let mut rng = stream(1, 2, 3);
        let mut drawn = [0.0; 4];
        (0..20_000).for_each(|_| drawn[sampler.draw(&mut rng) as usize] += 1.0 / 20_000.0);
        for (drawn, expected) in drawn.into_iter().zip(expected) {
            assert!((drawn - expected).abs() < 0.02, "{drawn} for {expected}");
        }
    }
}

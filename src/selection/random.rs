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
    Uniform(Uniform<u32>),
    /// In proportion to label frequency plus one.
    Frequency(WeightedAliasIndex<f32>),
}

impl Sampler {
    /// Every one of `neurons` neurons equally often.
    pub fn uniform(neurons: usize) -> Self {
        Self::Uniform(Uniform::new(0, neurons as u32).expect("a layer has neurons"))
    }

    /// In proportion to `counts[n] + 1`, `counts` being the training rows of each label.
    pub fn frequency(counts: &[u32]) -> Self {
        let weights = counts.iter().map(|&c| c as f32 + 1.0).collect();
        Self::Frequency(WeightedAliasIndex::new(weights).expect("positive weights"))
    }

    /// Draws one neuron.
    pub fn draw(&self, rng: &mut impl Rng) -> u32 {
        match self {
            Self::Uniform(uniform) => uniform.sample(rng),
            Self::Frequency(alias) => alias.sample(rng) as u32,
        }
    }
}

/// Marks `count` random neurons a sample, beside the true labels.
#[derive(Debug)]
pub struct Random {
    sampler: Sampler,
    count: usize,
    seed: u64,
}

impl Random {
    pub fn new(sampler: Sampler, count: usize, seed: u64) -> Self {
        Self { sampler, count, seed }
    }
}

impl Selection for Random {
    fn prepare(&mut self, _step: u64, _neurons: Neurons<'_>) -> bool {
        false
    }

    fn select(&mut self, step: u64, _queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets) {
        let total = neurons.bias.len();
        sets.for_each(|sample, marks, counts| {
            let wanted = self.count.min(total - counts.active() as usize) as u32;
            let mut rng = stream(self.seed, step, sample);
            let mut added = 0;
            while added < wanted {
                marks.mark(self.sampler.draw(&mut rng));
                added += marks.take_added();
                counts.candidates += 1;
            }
            counts.selected += added;
        });
    }

    fn bytes(&self) -> u64 {
        0
    }
}

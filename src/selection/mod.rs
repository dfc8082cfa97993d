//! Which neurons of a layer compute, sample by sample.
//!
//! A [`Selection`] looks at a batch of layer inputs (queries) and marks, for every sample, the neurons that shall be
//! active. Training marks the true labels first; what a selection adds is its own affair: the contents of hash buckets
//! ([`Lsh`]), random neurons ([`Random`]), the true top ones ([`TopK`]), or everything ([`All`]). The controls answer
//! the question "is it the hashing, or only the skipping?".

mod all;
mod lsh;
mod marks;
mod random;
mod shared;
mod top_k;
mod votes;

pub use all::All;
pub use lsh::{Fill, HashedSettings, Lsh, Retrieve};
pub use marks::{ActiveSets, Counts, Marks};
pub(crate) use random::stream;
pub use random::{Random, Sampler};
pub use shared::{Negatives, SharedSelection};
pub use top_k::TopK;

use crate::kernels::weights::Weights;

/// The inputs of a layer for B samples: row-major, `stride` floats a sample of which `width` are data.
#[derive(Clone, Copy, Debug)]
pub struct Queries<'a> {
    pub x: &'a [f32],
    pub width: usize,
    pub stride: usize,
}

impl<'a> Queries<'a> {
    /// The input vector of sample `b`.
    pub fn row(&self, b: usize) -> &'a [f32] {
        &self.x[b * self.stride..][..self.width]
    }
}

/// The neurons to choose from: `stride` numbers a neuron of which `width` are weights, and one bias each.
#[derive(Clone, Copy, Debug)]
pub struct Neurons<'a> {
    pub weights: Weights<'a>,
    pub bias: &'a [f32],
    pub width: usize,
    pub stride: usize,
}

/// A way to choose active neurons.
pub trait Selection: Send {
    /// Makes ready for step `step` (from 0), for instance rebuilds hash tables when they are due; tells whether it did.
    fn prepare(&mut self, step: u64, neurons: Neurons<'_>) -> bool;
    /// Marks active neurons for every sample of `sets`, whose true labels are marked already when training.
    fn select(&mut self, step: u64, queries: Queries<'_>, neurons: Neurons<'_>, sets: &mut ActiveSets);
    /// What is added to the logit of each neuron (length L) where it is active without being a true label: −ln of its
    /// probability of being chosen, so that the sum over the active set estimates the sum over all neurons.
    fn corrections(&self) -> Option<&[f32]> {
        None
    }
    /// Bytes held.
    fn bytes(&self) -> u64;
    /// Facts for the record, such as table occupancy.
    fn notes(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

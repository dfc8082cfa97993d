//! What is trained: any number of ReLU layers under a softmax over L labels, with multi-label cross-entropy and Adam.
//!
//! Definitions every engine follows, so that they compute one and the same thing:
//!
//! - **Loss** of a sample: the sum over its true labels y of −(1/n)·ln p(y), n being their number; a sample without
//!   labels has loss 0 and no gradient. The loss of a batch is the mean over its B samples, and so is the gradient.
//! - **Adam** (Kingma & Ba 2015, end of section 2, as in SLIDE's code and TensorFlow): at step t (from 1),
//!   m ← β1·m + (1−β1)·g, v ← β2·v + (1−β2)·g², w ← w − lr·√(1−β2ᵗ)/(1−β1ᵗ) · m/(√v + ε).
//! - **Lazy** rows: a weight row without gradient in a step (an input feature absent from the batch, a neuron outside
//!   the active set) keeps its w, m and v; t is the global step for all rows. **Dense** rows: every row decays and
//!   moves at every step, as the formula says. Biases of the hidden layers are always dense.

mod parameters;

pub use parameters::{Init, Layer, Order, Parameters};

use serde::{Deserialize, Serialize};

/// Widths of the network: I inputs, one or more ReLU layers, L labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// I.
    pub inputs: usize,
    /// H of each hidden layer, first to last; at least one.
    pub hidden: Vec<usize>,
    /// L.
    pub labels: usize,
}

impl Shape {
    /// `(inputs, outputs)` of every weight layer, first to last (hidden layers, then the output layer).
    pub fn layers(&self) -> Vec<(usize, usize)> {
        let mut widths = vec![self.inputs];
        widths.extend(&self.hidden);
        widths.push(self.labels);
        widths.windows(2).map(|w| (w[0], w[1])).collect()
    }

    /// Number of weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.layers().iter().map(|(i, o)| (i + 1) * o).sum()
    }
}

/// Which rows an optimiser step moves; see the module documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rows {
    /// Only rows with a gradient in this step.
    #[default]
    Lazy,
    /// Every row, every step.
    Dense,
}

/// How the network is trained: the same for every engine of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Training {
    /// B, samples a step; the last batch of an epoch may be shorter.
    pub batch: usize,
    pub learning_rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// Rows of the first layer (one row of H weights an input feature) when the input is sparse.
    pub input_rows: Rows,
}

impl Default for Training {
    fn default() -> Self {
        Self { batch: 128, learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, input_rows: Rows::Lazy }
    }
}

impl Training {
    /// Adam's constants at step `t` (the first step is 1).
    pub fn adam_step(&self, t: u64) -> AdamStep {
        let t = t as f64;
        let (beta1, beta2) = (f64::from(self.beta1), f64::from(self.beta2));
        let rate = f64::from(self.learning_rate) * (1.0 - beta2.powf(t)).sqrt() / (1.0 - beta1.powf(t));
        AdamStep { rate: rate as f32, beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon }
    }
}

/// Adam's constants in one step: `rate` already holds the bias correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    pub rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
}

//! Weights and biases, drawn from one seed, the same bytes for every engine.

use super::Shape;
use rand::SeedableRng;
use rand_distr::{Distribution, Normal};
use rand_pcg::Pcg64Mcg;
use serde::{Deserialize, Serialize};

/// Which way a weight matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One row of `outputs` weights an input: `inputs x outputs`. The first layer, where inputs are sparse.
    InputMajor,
    /// One row of `inputs` weights a neuron: `outputs x inputs`. Every other layer.
    NeuronMajor,
}

/// One layer's weights and biases.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub order: Order,
    /// `inputs * outputs` weights in `order`.
    pub weights: Vec<f32>,
    /// One a neuron.
    pub bias: Vec<f32>,
}

impl Layer {
    /// The weight from input `i` to neuron `o`.
    pub fn weight(&self, i: usize, o: usize) -> f32 {
        match self.order {
            Order::InputMajor => self.weights[i * self.outputs + o],
            Order::NeuronMajor => self.weights[o * self.inputs + i],
        }
    }
}

/// Where the first weights come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// Weights and biases N(0, 0.01): standard deviation 0.01, as in SLIDE's code.
    Slide,
    /// Weights N(0, 2/(inputs + outputs)) (Glorot & Bengio 2010, normal form), biases 0.
    #[default]
    Glorot,
}

/// All layers, first to last.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub layers: Vec<Layer>,
}

impl Parameters {
    /// Draws the parameters of `shape`; the same seed gives the same bytes.
    pub fn new(shape: &Shape, init: Init, seed: u64) -> Self {
        let layers = shape
            .layers()
            .into_iter()
            .enumerate()
            .map(|(index, (inputs, outputs))| {
                let mut rng = Pcg64Mcg::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ index as u64);
                let (deviation, bias_deviation) = match init {
                    Init::Slide => (0.01, 0.01),
                    Init::Glorot => ((2.0 / (inputs + outputs) as f32).sqrt(), 0.0),
                };
                let mut draw = |n: usize, deviation: f32| -> Vec<f32> {
                    let normal = Normal::new(0.0, deviation).expect("a finite deviation");
                    (0..n).map(|_| normal.sample(&mut rng)).collect()
                };
                Layer {
                    inputs,
                    outputs,
                    order: if index == 0 { Order::InputMajor } else { Order::NeuronMajor },
                    weights: draw(inputs * outputs, deviation),
                    bias: draw(outputs, bias_deviation),
                }
            })
            .collect();
        Self { layers }
    }
}

//! A weight matrix with its Adam state, rows padded for the kernels.

use crate::kernels::{self, AdamRows, padded};
use crate::network::AdamStep;

/// `rows x width` weights and both moments, each row padded with zeros to `stride` floats.
#[derive(Debug)]
pub struct Matrix {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
    pub w: Vec<f32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
}

impl Matrix {
    /// Takes `rows x width` weights; moments start at zero.
    pub fn new(weights: &[f32], rows: usize, width: usize) -> Self {
        assert_eq!(weights.len(), rows * width);
        let stride = padded(width);
        let zeros = || vec![0.0; rows * stride];
        let mut w = zeros();
        for (to, from) in w.chunks_exact_mut(stride).zip(weights.chunks_exact(width)) {
            to[..width].copy_from_slice(from);
        }
        Self { rows, width, stride, w, m: zeros(), v: zeros() }
    }

    /// The weights without padding.
    pub fn unpadded(&self) -> Vec<f32> {
        self.w.chunks_exact(self.stride).flat_map(|row| &row[..self.width]).copied().collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (4 * (self.w.len() + self.m.len() + self.v.len())) as u64
    }
}

/// Biases with their Adam state.
#[derive(Debug)]
pub struct Bias {
    pub b: Vec<f32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
}

impl Bias {
    /// Takes the biases, padded with zeros to `len`; moments start at zero.
    pub fn new(bias: &[f32], len: usize) -> Self {
        let mut b = bias.to_vec();
        b.resize(len, 0.0);
        Self { b, m: vec![0.0; len], v: vec![0.0; len] }
    }

    /// Adam on all biases with gradient `g`.
    pub fn update(&mut self, g: &[f32], step: AdamStep) {
        (kernels::kernels().adam)(AdamRows { w: &mut self.b, m: &mut self.m, v: &mut self.v }, g, step);
    }
}

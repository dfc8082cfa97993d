//! A weight matrix with its Adam state, rows padded for the kernels.

use crate::engine::EngineError;
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::{self, AdamRows, padded};
use crate::network::AdamStep;
use rayon::prelude::*;

/// `rows x width` weights and both moments, each row padded with zeros to `stride` floats.
pub struct Matrix {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
    pub w: Buffer,
    pub m: Buffer,
    pub v: Buffer,
}

impl Matrix {
    /// Takes `rows x width` weights; moments start at zero. Every page is touched here, outside the clock.
    pub fn new(weights: &[f32], rows: usize, width: usize, huge: HugePages) -> Result<Self, EngineError> {
        assert_eq!(weights.len(), rows * width);
        let stride = padded(width);
        let zeros = || {
            let mut buffer = Buffer::zeroed(rows * stride, huge).map_err(|_| EngineError::OutOfMemory {
                what: format!("a matrix of {rows} x {stride} f32"),
                needs: 4 * (rows * stride) as u64,
                remedy: "use fewer labels or a narrower hidden layer".into(),
            })?;
            buffer.prefault();
            Ok(buffer)
        };
        let mut w = zeros()?;
        w.par_chunks_exact_mut(stride)
            .zip(weights.par_chunks_exact(width))
            .for_each(|(to, from)| to[..width].copy_from_slice(from));
        Ok(Self { rows, width, stride, w, m: zeros()?, v: zeros()? })
    }

    /// The weights without padding.
    pub fn unpadded(&self) -> Vec<f32> {
        self.w.chunks_exact(self.stride).flat_map(|row| &row[..self.width]).copied().collect()
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.w.bytes() + self.m.bytes() + self.v.bytes()) as u64
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

//! A weight matrix with its Adam state, rows padded for the kernels.

use super::Update;
use crate::engine::EngineError;
use crate::engine::common::Shards;
use crate::kernels::bf16::tiled;
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::packed::PackedRows;
use crate::kernels::{AdamRows, Pairs, kernels};
use rayon::prelude::*;
use serde::Deserialize;
use std::ops::Range;

/// `rows x width` weights and both moments, each row padded with zeros to `stride` floats.
pub struct Matrix {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
    pub w: Buffer,
    moments: Moments,
    /// Updates so far; starts the random rounding of packed moments.
    updates: u32,
}

/// How Adam's moments are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Weights and moments in f32.
    #[default]
    F32,
    /// Weights in f32, moments in bf16, m rounded to the nearest and v at random: two thirds of the bytes.
    PackedMoments,
}

enum Moments {
    F32 { m: Buffer, v: Buffer },
    Packed(Buffer<u32>),
}

/// A matrix shared out to tasks that update different rows.
pub struct MatrixShards<'a> {
    w: Shards<'a, f32>,
    moments: MomentShards<'a>,
    stride: usize,
    seed: u32,
}

enum MomentShards<'a> {
    F32 { m: Shards<'a, f32>, v: Shards<'a, f32> },
    Packed(Shards<'a, u32>),
}

/// Rows of a matrix in the hands of one task. Packed moments are Adam's.
pub enum RowState<'a> {
    F32(AdamRows<'a>),
    Packed(PackedRows<'a>),
}

impl RowState<'_> {
    /// `Kernels::pair_update` on these rows.
    pub fn pair_update(
        self,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: &Update,
    ) {
        match self {
            Self::F32(state) => step.pairs(state, x, dx, width, pairs, g),
            Self::Packed(state) => (kernels().packed.pair_update)(state, x, dx, width, pairs, g, step.adam),
        }
    }

    /// `Kernels::row_adam` on these rows.
    pub fn row_adam(self, width: usize, rows: &[u32], gradients: &[f32], step: &Update) {
        match self {
            Self::F32(state) => step.rows(state, width, rows, gradients),
            Self::Packed(state) => (kernels().packed.row_adam)(state, width, rows, gradients, step.adam),
        }
    }
}

impl<'a> MatrixShards<'a> {
    /// The rows `rows` (cut to the matrix by the caller).
    ///
    /// # Safety
    /// No two ranges taken may overlap while both are alive.
    pub unsafe fn take(&self, rows: Range<usize>) -> RowState<'a> {
        let seed = self.seed.wrapping_add(rows.start as u32);
        let span = rows.start * self.stride..rows.end * self.stride;
        // SAFETY: the caller's promise.
        unsafe {
            let w = self.w.take(span.clone());
            match &self.moments {
                MomentShards::F32 { m, v } => RowState::F32(AdamRows { w, m: m.take(span.clone()), v: v.take(span) }),
                MomentShards::Packed(moments) => RowState::Packed(PackedRows { w, moments: moments.take(span), seed }),
            }
        }
    }
}

impl Matrix {
    /// Takes `rows x width` weights; moments start at zero. Every page is touched here, outside the clock.
    pub fn new(
        weights: &[f32],
        rows: usize,
        width: usize,
        huge: HugePages,
        precision: Precision,
    ) -> Result<Self, EngineError> {
        assert_eq!(weights.len(), rows * width);
        let stride = tiled(width);
        let mut w: Buffer = zeros(rows, stride, huge)?;
        w.par_chunks_exact_mut(stride)
            .zip(weights.par_chunks_exact(width))
            .for_each(|(to, from)| to[..width].copy_from_slice(from));
        let moments = match precision {
            Precision::F32 => Moments::F32 { m: zeros(rows, stride, huge)?, v: zeros(rows, stride, huge)? },
            Precision::PackedMoments => Moments::Packed(zeros(rows, stride, huge)?),
        };
        Ok(Self { rows, width, stride, w, moments, updates: 0 })
    }

    /// Shares the matrix out for one update.
    pub fn shards(&mut self) -> MatrixShards<'_> {
        self.updates = self.updates.wrapping_add(1);
        let moments = match &mut self.moments {
            Moments::F32 { m, v } => MomentShards::F32 { m: Shards::new(m), v: Shards::new(v) },
            Moments::Packed(moments) => MomentShards::Packed(Shards::new(moments)),
        };
        let seed = self.updates.wrapping_mul(self.rows as u32);
        MatrixShards { w: Shards::new(&mut self.w), moments, stride: self.stride, seed }
    }

    /// Bytes of state a weight: the weight itself and its moments.
    pub fn bytes_per_weight(&self) -> usize {
        match self.moments {
            Moments::F32 { .. } => 12,
            Moments::Packed(_) => 8,
        }
    }

    /// The weights without padding.
    pub fn unpadded(&self) -> Vec<f32> {
        self.w.chunks_exact(self.stride).flat_map(|row| &row[..self.width]).copied().collect()
    }

    /// Bytes that lie on huge pages; none where it cannot be told.
    pub fn huge_bytes(&self) -> Option<usize> {
        let moments = match &self.moments {
            Moments::F32 { m, v } => m.huge_bytes()? + v.huge_bytes()?,
            Moments::Packed(moments) => moments.huge_bytes()?,
        };
        Some(self.w.huge_bytes()? + moments)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.bytes_per_weight() * self.w.len()) as u64
    }
}

/// `rows x stride` zeros, every page touched.
fn zeros<T: bytemuck::Pod + Send + Sync>(
    rows: usize,
    stride: usize,
    huge: HugePages,
) -> Result<Buffer<T>, EngineError> {
    let mut buffer = Buffer::zeroed(rows * stride, huge).map_err(|_| EngineError::OutOfMemory {
        what: format!("a matrix of {rows} x {stride}"),
        needs: (size_of::<T>() * rows * stride) as u64,
        remedy: "use fewer labels or a narrower hidden layer".into(),
    })?;
    buffer.prefault();
    Ok(buffer)
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

    /// The optimiser on all biases with gradient `g`.
    pub fn update(&mut self, g: &[f32], step: &Update) {
        step.slice(AdamRows { w: &mut self.b, m: &mut self.m, v: &mut self.v }, g);
    }
}

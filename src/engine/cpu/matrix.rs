//! A weight matrix with its Adam state, rows padded for the kernels.

use super::Update;
use crate::engine::EngineError;
use crate::engine::common::Shards;
use crate::kernels::bf16::tiled;
use crate::kernels::memory::{Buffer, HugePages};
use crate::kernels::packed::PackedRows;
use crate::kernels::row_wise::RowWiseRows;
use crate::kernels::weights::{Bf16Rows, Weights};
use crate::kernels::{self, AdamRows, Pairs, kernels};
use crate::network::AdamStep;
use bytemuck::Pod;
use half::bf16;
use rayon::prelude::*;
use serde::Deserialize;
use std::ops::Range;

/// `rows x width` weights and both moments, each row padded with zeros to `stride` numbers.
pub struct Matrix {
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
    w: Stored,
    moments: Moments,
    /// Updates so far; starts the random rounding.
    updates: u32,
}

/// How weights and Adam's moments are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Weights and moments in f32: 12 bytes a weight.
    #[default]
    F32,
    /// Weights in f32, moments in bf16, m rounded to the nearest and v at random: 8 bytes.
    PackedMoments,
    /// Weights in bf16, rounded at random so that steps far below bf16's spacing add up in the mean; moments in f32:
    /// 10 bytes.
    Bf16Weights,
    /// Weights as `bf16-weights`, moments as `packed-moments`: 6 bytes.
    Packed,
}

impl Precision {
    /// Whether weights are in bf16.
    pub fn bf16_weights(self) -> bool {
        matches!(self, Self::Bf16Weights | Self::Packed)
    }

    /// Whether moments are in bf16.
    pub fn bf16_moments(self) -> bool {
        matches!(self, Self::PackedMoments | Self::Packed)
    }
}

/// What the optimiser remembers of a matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Two values a weight: Adam's moments.
    #[default]
    EachWeight,
    /// One second moment a row and no first one; see [`crate::kernels::row_wise`].
    RowWise,
}

impl State {
    /// What is to be said of a first layer with such a state, after its precision.
    pub fn note(self) -> &'static str {
        match self {
            Self::EachWeight => "",
            Self::RowWise => ", one moment a row of the first layer",
        }
    }
}

enum Stored {
    F32(Buffer),
    Bf16(Buffer<bf16>),
}

enum Moments {
    F32 {
        m: Buffer,
        v: Buffer,
    },
    Packed(Buffer<u32>),
    /// One v a row.
    RowWise(Vec<f32>),
}

/// A matrix shared out to tasks that update different rows.
pub struct MatrixShards<'a> {
    w: WeightShards<'a>,
    moments: MomentShards<'a>,
    width: usize,
    stride: usize,
    seed: u32,
}

enum WeightShards<'a> {
    F32(Shards<'a, f32>),
    Bf16(Shards<'a, bf16>),
}

enum MomentShards<'a> {
    F32 { m: Shards<'a, f32>, v: Shards<'a, f32> },
    Packed(Shards<'a, u32>),
    RowWise(Shards<'a, f32>),
}

/// Rows of a matrix in the hands of one task. All forms but f32 are Adam's or, with one second moment a row, its
/// relative's.
pub enum RowState<'a> {
    F32(AdamRows<'a>),
    PackedMoments(PackedRows<'a>),
    Bf16Weights(Bf16Rows<'a>),
    Packed(PackedRows<'a, bf16>),
    RowWise(RowWiseRows<'a>),
    Bf16RowWise(RowWiseRows<'a, bf16>),
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
            Self::PackedMoments(state) => (kernels().packed.pair_update)(state, x, dx, width, pairs, g, step.adam),
            Self::Bf16Weights(state) => (kernels().bf16.pair_update)(state, x, dx, width, pairs, g, step.adam),
            Self::Packed(state) => (kernels().bf16.packed.pair_update)(state, x, dx, width, pairs, g, step.adam),
            Self::RowWise(state) => (kernels().row_wise.pair_update)(state, x, dx, width, pairs, g, step.adam),
            Self::Bf16RowWise(state) => (kernels().bf16.row_wise.pair_update)(state, x, dx, width, pairs, g, step.adam),
        }
    }

    /// One step without gradient on a single row.
    pub fn settle(self, width: usize, step: AdamStep) {
        match self {
            // Its weights stay where they are.
            Self::RowWise(RowWiseRows { v, .. }) | Self::Bf16RowWise(RowWiseRows { v, .. }) => v[0] *= step.beta2,
            state => {
                let none = Pairs { rows: &[0], starts: &[0, 0], columns: &[] };
                state.pair_update(&[], None, width, none, &[], &Update::adam(step));
            }
        }
    }

    /// The weights, padding included.
    pub fn weights(&self) -> Weights<'_> {
        match self {
            Self::F32(state) => Weights::F32(state.w),
            Self::PackedMoments(state) => Weights::F32(state.w),
            Self::Bf16Weights(state) => Weights::Bf16(state.w),
            Self::Packed(state) => Weights::Bf16(state.w),
            Self::RowWise(state) => Weights::F32(state.w),
            Self::Bf16RowWise(state) => Weights::Bf16(state.w),
        }
    }

    /// Adam on all of these rows, whose gradients are at hand.
    pub fn adam(self, gradients: &[f32], step: AdamStep) {
        // To the kernels over lists, all rows are one long one.
        let (width, rows) = (gradients.len(), [0]);
        match self {
            Self::F32(state) => (kernels().adam)(state, gradients, step),
            Self::PackedMoments(state) => (kernels().packed.row_adam)(state, width, &rows, gradients, step),
            Self::Bf16Weights(state) => (kernels().bf16.row_adam)(state, width, &rows, gradients, step),
            Self::Packed(state) => (kernels().bf16.packed.row_adam)(state, width, &rows, gradients, step),
            Self::RowWise(_) | Self::Bf16RowWise(_) => unreachable!("only first layers are row-wise"),
        }
    }

    /// `Kernels::row_adam` on these rows.
    pub fn row_adam(self, width: usize, rows: &[u32], gradients: &[f32], step: &Update) {
        match self {
            Self::F32(state) => step.rows(state, width, rows, gradients),
            Self::PackedMoments(state) => (kernels().packed.row_adam)(state, width, rows, gradients, step.adam),
            Self::Bf16Weights(state) => (kernels().bf16.row_adam)(state, width, rows, gradients, step.adam),
            Self::Packed(state) => (kernels().bf16.packed.row_adam)(state, width, rows, gradients, step.adam),
            Self::RowWise(state) => (kernels().row_wise.row_adam)(state, width, rows, gradients, step.adam),
            Self::Bf16RowWise(state) => (kernels().bf16.row_wise.row_adam)(state, width, rows, gradients, step.adam),
        }
    }
}

impl<'a> MatrixShards<'a> {
    /// Where weights and moments of the rows `rows` (cut to the matrix by the caller) lie, for prefetches.
    pub fn places(&self, rows: Range<usize>) -> [(*const f32, usize); 3] {
        fn place<T>(shards: &Shards<'_, T>, span: Range<usize>) -> (*const f32, usize) {
            let (start, len) = shards.place(span);
            (start.cast(), len * size_of::<T>() / size_of::<f32>())
        }
        let span = rows.start * self.stride..rows.end * self.stride;
        let w = match &self.w {
            WeightShards::F32(w) => place(w, span.clone()),
            WeightShards::Bf16(w) => place(w, span.clone()),
        };
        match &self.moments {
            MomentShards::F32 { m, v } => [w, place(m, span.clone()), place(v, span)],
            MomentShards::Packed(moments) => [w, place(moments, span), (std::ptr::null(), 0)],
            MomentShards::RowWise(v) => [w, place(v, rows), (std::ptr::null(), 0)],
        }
    }

    /// Asks for weights and moments of a row.
    pub fn prefetch(&self, row: usize) {
        self.places(row..row + 1).into_iter().for_each(kernels::prefetch);
    }

    /// The rows `rows` (cut to the matrix by the caller).
    ///
    /// # Safety
    /// No two ranges taken may overlap while both are alive.
    pub unsafe fn take(&self, rows: Range<usize>) -> RowState<'a> {
        let seed = self.seed.wrapping_add(rows.start as u32);
        let span = rows.start * self.stride..rows.end * self.stride;
        let columns = self.width;
        // SAFETY: the caller's promise.
        unsafe {
            match (&self.w, &self.moments) {
                (WeightShards::F32(w), MomentShards::RowWise(v)) => {
                    RowState::RowWise(RowWiseRows { w: w.take(span), v: v.take(rows), columns, seed })
                }
                (WeightShards::Bf16(w), MomentShards::RowWise(v)) => {
                    RowState::Bf16RowWise(RowWiseRows { w: w.take(span), v: v.take(rows), columns, seed })
                }
                (WeightShards::F32(w), MomentShards::F32 { m, v }) => {
                    RowState::F32(AdamRows { w: w.take(span.clone()), m: m.take(span.clone()), v: v.take(span) })
                }
                (WeightShards::F32(w), MomentShards::Packed(moments)) => {
                    RowState::PackedMoments(PackedRows { w: w.take(span.clone()), moments: moments.take(span), seed })
                }
                (WeightShards::Bf16(w), MomentShards::F32 { m, v }) => {
                    let (w, m, v) = (w.take(span.clone()), m.take(span.clone()), v.take(span));
                    RowState::Bf16Weights(Bf16Rows { w, m, v, seed })
                }
                (WeightShards::Bf16(w), MomentShards::Packed(moments)) => {
                    RowState::Packed(PackedRows { w: w.take(span.clone()), moments: moments.take(span), seed })
                }
            }
        }
    }
}

impl Matrix {
    /// Takes `rows x width` weights, to the nearest bf16 where they are stored so; moments start at zero. Every page is
    /// touched here, outside the clock.
    pub fn new(
        weights: &[f32],
        rows: usize,
        width: usize,
        huge: HugePages,
        precision: Precision,
        state: State,
    ) -> Result<Self, EngineError> {
        assert_eq!(weights.len(), rows * width);
        let stride = tiled(width);
        let w = if precision.bf16_weights() {
            Stored::Bf16(padded_rows(weights, rows, width, huge, bf16::from_f32)?)
        } else {
            Stored::F32(padded_rows(weights, rows, width, huge, |w| w)?)
        };
        let moments = match state {
            State::RowWise => Moments::RowWise(vec![0.0; rows]),
            _ if precision.bf16_moments() => Moments::Packed(zeros(rows, stride, huge)?),
            _ => Moments::F32 { m: zeros(rows, stride, huge)?, v: zeros(rows, stride, huge)? },
        };
        Ok(Self { rows, width, stride, w, moments, updates: 0 })
    }

    /// Shares the matrix out for one update.
    pub fn shards(&mut self) -> MatrixShards<'_> {
        self.updates = self.updates.wrapping_add(1);
        let w = match &mut self.w {
            Stored::F32(w) => WeightShards::F32(Shards::new(w)),
            Stored::Bf16(w) => WeightShards::Bf16(Shards::new(w)),
        };
        let moments = match &mut self.moments {
            Moments::F32 { m, v } => MomentShards::F32 { m: Shards::new(m), v: Shards::new(v) },
            Moments::Packed(moments) => MomentShards::Packed(Shards::new(moments)),
            Moments::RowWise(v) => MomentShards::RowWise(Shards::new(v)),
        };
        let seed = self.updates.wrapping_mul(self.rows as u32);
        MatrixShards { w, moments, width: self.width, stride: self.stride, seed }
    }

    /// All weights, padding included.
    pub fn weights(&self) -> Weights<'_> {
        match &self.w {
            Stored::F32(w) => Weights::F32(w),
            Stored::Bf16(w) => Weights::Bf16(w),
        }
    }

    /// The weights of the rows `rows`, cut to the matrix.
    pub fn weights_of(&self, rows: Range<usize>) -> Weights<'_> {
        self.weights().part(rows.start * self.stride..rows.end.min(self.rows) * self.stride)
    }

    /// Bytes of a weight.
    pub fn bytes_per_weight(&self) -> usize {
        if let Stored::F32(_) = self.w { 4 } else { 2 }
    }

    /// Bytes of a weight and the moments of its own.
    pub fn bytes_per_state(&self) -> usize {
        self.bytes_per_weight()
            + match self.moments {
                Moments::F32 { .. } => 8,
                Moments::Packed(_) => 4,
                Moments::RowWise(_) => 0,
            }
    }

    /// The weights in f32, without padding.
    pub fn unpadded(&self) -> Vec<f32> {
        self.weights().unpadded(self.width, self.stride)
    }

    /// Bytes that lie on huge pages; none where it cannot be told.
    pub fn huge_bytes(&self) -> Option<usize> {
        let w = match &self.w {
            Stored::F32(w) => w.huge_bytes()?,
            Stored::Bf16(w) => w.huge_bytes()?,
        };
        let moments = match &self.moments {
            Moments::F32 { m, v } => m.huge_bytes()? + v.huge_bytes()?,
            Moments::Packed(moments) => moments.huge_bytes()?,
            Moments::RowWise(_) => 0,
        };
        Some(w + moments)
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.bytes_per_state() * self.rows * self.stride) as u64
    }
}

/// `rows x width` weights as they are stored, in rows of `stride`.
fn padded_rows<T: Pod + Send + Sync>(
    weights: &[f32],
    rows: usize,
    width: usize,
    huge: HugePages,
    store: impl Fn(f32) -> T + Sync,
) -> Result<Buffer<T>, EngineError> {
    let stride = tiled(width);
    let mut buffer: Buffer<T> = zeros(rows, stride, huge)?;
    buffer.par_chunks_exact_mut(stride).zip(weights.par_chunks_exact(width)).for_each(|(to, from)| {
        for (to, &from) in to.iter_mut().zip(from) {
            *to = store(from);
        }
    });
    Ok(buffer)
}

/// `rows x stride` zeros, every page touched.
pub fn zeros<T: Pod + Send + Sync>(rows: usize, stride: usize, huge: HugePages) -> Result<Buffer<T>, EngineError> {
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

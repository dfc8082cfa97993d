//! Kernels over lists of rows, chosen once at start.
//!
//! Every row matrix here is row-major f32 with `width` columns, `width` a multiple of [`LANES`] (zero-padded) unless a
//! kernel says otherwise. A kernel takes the whole list of rows, so that the loop and its prefetches lie inside one
//! `target_feature` function. [`portable`] is the reference that the vector versions are tested against.

pub mod memory;
pub mod portable;

use crate::network::AdamStep;
use std::sync::OnceLock;

/// Row widths are padded to a multiple of this many f32 (64 bytes).
pub const LANES: usize = 16;

/// `width` rounded up to a multiple of [`LANES`].
pub const fn padded(width: usize) -> usize {
    width.next_multiple_of(LANES)
}

/// A sparse set of (row, column) pairs, grouped by row: row `rows[r]` meets the columns
/// `columns[starts[r]..starts[r+1]]`. Rows are distinct. For the output layer a row is a neuron and a column a sample
/// of the batch; for the input layer a row is a feature and a column a sample.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    pub rows: &'a [u32],
    /// One entry more than `rows`; offsets into `columns` and into every array "a pair".
    pub starts: &'a [u32],
    pub columns: &'a [u32],
}

/// The state of a weight matrix under Adam: three row matrices of one shape.
#[derive(Debug)]
pub struct AdamRows<'a> {
    pub w: &'a mut [f32],
    pub m: &'a mut [f32],
    pub v: &'a mut [f32],
}

/// One set of kernels.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// `avx512`, `avx2`, `portable`.
    pub name: &'static str,
    /// `a · b`; any length.
    pub dot: fn(a: &[f32], b: &[f32]) -> f32,
    /// `y += alpha * x`; any length.
    pub axpy: fn(alpha: f32, x: &[f32], y: &mut [f32]),
    /// Largest element; −∞ if empty; any length.
    pub max: fn(x: &[f32]) -> f32,
    /// `x[i] = exp(x[i] - shift)`, returns the sum; any length.
    pub exp_sum: fn(x: &mut [f32], shift: f32) -> f32,
    /// Adam on whole arrays with gradient `g`; any length.
    pub adam: fn(state: AdamRows<'_>, g: &[f32], step: AdamStep),
    /// `out[i] = w[rows[i]] · x`.
    pub row_dots: fn(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]),
    /// `out += Σ coefficients[i] * w[rows[i]]`: the sparse-input forward pass.
    pub row_sum: fn(w: &[f32], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]),
    /// `out[p] = w[row of p] · x[column of p]` for every pair p; `x` holds a row of `width` for each column.
    pub pair_dots: fn(w: &[f32], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]),
    /// For every row: gradient `Σ g[p] * x[column of p]`, then Adam on the row. Where `dx` is given (a row of `width`
    /// for each column), first `dx[column of p] += g[p] * w[row of p]` with the weights before the update.
    pub pair_update: fn(
        state: AdamRows<'_>,
        x: &[f32],
        dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
        step: AdamStep,
    ),
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}

/// The best kernels this CPU runs; `SLIDEBENCH_SIMD=portable|avx2|avx512` forces a set.
pub fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| portable::KERNELS)
}

//! Plain loops: the reference for the vector kernels, and the fallback on CPUs without them.

use super::packed::{PackedKernels, further};
use super::roofline::Probes;
use super::row_wise::RowWiseKernels;
use super::weights::Weight;
use super::{AdamRows, GRADIENT, Kernels, NORMAL, Pairs, SHIFT, check, weights};
use crate::network::AdamStep;

/// The portable set.
pub const KERNELS: Kernels = Kernels {
    name: "portable",
    dot,
    axpy,
    max,
    exp_sum,
    adam,
    row_dots,
    row_sum,
    gather_rows,
    row_adam: |state, width, rows, gradients, step| row_adam(state, width, rows, gradients, step),
    pair_dots,
    pair_update: |state, x, dx, width, pairs, g, step| pair_update(state, x, dx, width, pairs, g, step),
    pair_max,
    pair_exp,
    pair_scale,
    packed: PackedKernels::PORTABLE,
    row_wise: RowWiseKernels::PORTABLE,
    bf16: weights::PORTABLE,
    probes: Probes { read_rows, change_rows, multiply_add },
};

fn row<W>(w: &[W], width: usize, r: u32) -> &[W] {
    &w[r as usize * width..][..width]
}

fn row_mut(w: &mut [f32], width: usize, r: u32) -> &mut [f32] {
    &mut w[r as usize * width..][..width]
}

/// Zero unless one of `bits` is set.
pub(super) fn keep(x: f32, bits: u32) -> f32 {
    if x.to_bits() & bits == 0 { 0.0 } else { x }
}

fn dot<W: Weight>(a: &[W], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.widen() * b).sum()
}

fn axpy<W: Weight>(alpha: f32, x: &[W], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x.widen();
    }
}

fn max(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut sum = 0.0;
    for x in x {
        *x = keep((*x - shift).exp(), NORMAL);
        sum += *x;
    }
    sum
}

/// What the square of (1 − β1)·g is multiplied by in the second moment.
pub(super) fn rest2(step: AdamStep) -> f32 {
    (1.0 - step.beta2) / ((1.0 - step.beta1) * (1.0 - step.beta1))
}

pub(super) fn adam(state: AdamRows<'_>, g: &[f32], step: AdamStep) {
    let AdamRows { w, m, v } = state;
    assert!(w.len() == g.len() && m.len() == g.len() && v.len() == g.len());
    for i in 0..g.len() {
        let shifted = (1.0 - step.beta1) * g[i] + SHIFT;
        m[i] = step.beta1 * m[i] + shifted - SHIFT;
        v[i] = step.beta2 * v[i] + rest2(step) * shifted * shifted;
        w[i] -= step.rate * (m[i] / (v[i].sqrt() + step.epsilon));
    }
}

fn row_dots(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((x.len(), out.len()), (width, rows.len()));
    for (out, &r) in out.iter_mut().zip(rows) {
        *out = dot(row(w, width, r), x);
    }
}

pub(super) fn row_sum<W: Weight>(w: &[W], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!((coefficients.len(), out.len()), (rows.len(), width));
    for (&r, &c) in rows.iter().zip(coefficients) {
        axpy(c, row(w, width, r), out);
    }
}

fn gather_rows(w: &[f32], width: usize, rows: &[u32], out: &mut [f32]) {
    check::rows(rows, width, w.len());
    assert_eq!(out.len(), rows.len() * width);
    for (out, &r) in out.chunks_exact_mut(width).zip(rows) {
        out.copy_from_slice(row(w, width, r));
    }
}

/// Rows and what is remembered of them.
pub(super) trait Rows {
    type Weight: Weight;

    /// Asserts that the arrays hold equally many rows of `width`, and returns how many weights.
    fn checked_len(&self, width: usize) -> usize;
    /// What to round with in this call.
    fn seed(&self) -> u32;
    fn weights(&self) -> &[Self::Weight];
    /// Moves the row that starts at `at` and is as long as its gradient; its first weight is rounded with `noise`.
    fn move_row(&mut self, at: usize, gradient: &[f32], step: AdamStep, noise: u32);
}

impl Rows for AdamRows<'_> {
    type Weight = f32;

    fn checked_len(&self, _width: usize) -> usize {
        check::state(self)
    }

    fn seed(&self) -> u32 {
        0
    }

    fn weights(&self) -> &[f32] {
        self.w
    }

    fn move_row(&mut self, at: usize, gradient: &[f32], step: AdamStep, _noise: u32) {
        let row = at..at + gradient.len();
        let Self { w, m, v } = self;
        adam(AdamRows { w: &mut w[row.clone()], m: &mut m[row.clone()], v: &mut v[row] }, gradient, step);
    }
}

/// [`Kernels::row_adam`] for whatever rows.
pub(super) fn row_adam<R: Rows>(mut state: R, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
    check::rows(rows, width, state.checked_len(width));
    assert_eq!(gradients.len(), rows.len() * width);
    let mut noise = state.seed();
    for (gradient, &row) in gradients.chunks_exact(width).zip(rows) {
        state.move_row(row as usize * width, gradient, step, noise);
        noise = further(noise, width);
    }
}

pub(super) fn pair_dots<W: Weight>(w: &[W], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) {
    if !check::pairs(pairs, width, w.len(), x.len(), out.len()) {
        return;
    }
    for (neuron, range) in pairs.by_row() {
        for (out, &column) in out[range.clone()].iter_mut().zip(&pairs.columns[range]) {
            *out = dot(row(w, width, neuron), row(x, width, column));
        }
    }
}

/// [`Kernels::pair_update`] for whatever rows.
pub(super) fn pair_update<R: Rows>(
    mut state: R,
    x: &[f32],
    mut dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, state.checked_len(width), x.len(), g.len()) {
        return;
    }
    let mut noise = state.seed();
    for (r, range) in pairs.by_row() {
        let weights = row(state.weights(), width, r);
        let gradient = gradient(weights, x, dx.as_deref_mut(), &pairs.columns[range.clone()], &g[range]);
        state.move_row(r as usize * width, &gradient, step, noise);
        noise = further(noise, width);
    }
}

/// The gradient of one row of weights by its pairs, whose products with the weights are added to `dx`.
fn gradient<W: Weight>(w: &[W], x: &[f32], mut dx: Option<&mut [f32]>, columns: &[u32], g: &[f32]) -> Vec<f32> {
    let mut gradient = vec![0.0; w.len()];
    for (&g, &column) in g.iter().zip(columns) {
        if let Some(dx) = &mut dx {
            axpy(g, w, row_mut(dx, w.len(), column));
        }
        axpy(g, row(x, w.len(), column), &mut gradient);
    }
    gradient
}

fn pair_max(logits: &[f32], columns: &[u32], largest: &mut [f32]) {
    assert_eq!(logits.len(), columns.len());
    for (&logit, &column) in logits.iter().zip(columns) {
        let largest = &mut largest[column as usize];
        *largest = largest.max(logit);
    }
}

fn pair_exp(logits: &mut [f32], columns: &[u32], shift: &[f32], sums: &mut [f32]) {
    assert_eq!((logits.len(), sums.len()), (columns.len(), shift.len()));
    for (logit, &column) in logits.iter_mut().zip(columns) {
        *logit = keep((*logit - shift[column as usize]).exp(), NORMAL);
        sums[column as usize] += *logit;
    }
}

fn pair_scale(g: &mut [f32], columns: &[u32], scale: &[f32]) {
    assert_eq!(g.len(), columns.len());
    for (g, &column) in g.iter_mut().zip(columns) {
        *g = keep(*g * scale[column as usize], GRADIENT);
    }
}

fn read_rows(w: &[f32], width: usize, rows: &[u32], _ahead: usize) -> f32 {
    rows.iter().map(|&r| row(w, width, r).iter().fold(0, |bits, x| bits ^ x.to_bits())).fold(0, |a, b| a ^ b) as f32
}

fn change_rows(w: &mut [f32], width: usize, rows: &[u32], _ahead: usize) {
    let highest = std::hint::black_box(f32::INFINITY);
    for &r in rows {
        for x in row_mut(w, width, r) {
            *x = x.min(highest);
        }
    }
}

fn multiply_add(rounds: usize) -> f64 {
    const CHAINS: usize = 32;
    let factor = std::hint::black_box(0.5f32);
    let mut chains = [factor; CHAINS];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = *chain * factor + factor;
        }
    }
    std::hint::black_box(chains);
    (rounds * CHAINS * 2) as f64
}

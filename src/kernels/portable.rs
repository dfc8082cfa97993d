//! Plain loops: the reference for the vector kernels, and the fallback on CPUs without them.

use super::packed::PackedKernels;
use super::roofline::Probes;
use super::row_wise::RowWiseKernels;
use super::weights::Weight;
use super::{AdamRows, GRADIENT, Kernels, MOMENT, NORMAL, Pairs, check, weights};
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
    row_adam,
    pair_dots,
    pair_update,
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

fn adam(state: AdamRows<'_>, g: &[f32], step: AdamStep) {
    let AdamRows { w, m, v } = state;
    assert!(w.len() == g.len() && m.len() == g.len() && v.len() == g.len());
    for i in 0..g.len() {
        let g = keep(g[i], GRADIENT);
        m[i] = keep(step.beta1 * m[i] + (1.0 - step.beta1) * g, MOMENT);
        v[i] = keep(step.beta2 * v[i] + (1.0 - step.beta2) * g * g, MOMENT);
        w[i] -= step.rate * m[i] / (v[i].sqrt() + step.epsilon);
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

fn row_adam(state: AdamRows<'_>, width: usize, rows: &[u32], gradients: &[f32], step: AdamStep) {
    check::rows(rows, width, check::state(&state));
    assert_eq!(gradients.len(), rows.len() * width);
    let AdamRows { w, m, v } = state;
    for (gradient, &r) in gradients.chunks_exact(width).zip(rows) {
        let rows = AdamRows { w: row_mut(w, width, r), m: row_mut(m, width, r), v: row_mut(v, width, r) };
        adam(rows, gradient, step);
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

fn pair_update(
    state: AdamRows<'_>,
    x: &[f32],
    mut dx: Option<&mut [f32]>,
    width: usize,
    pairs: Pairs<'_>,
    g: &[f32],
    step: AdamStep,
) {
    if !check::pairs(pairs, width, check::state(&state), x.len(), g.len()) {
        return;
    }
    for (neuron, range) in pairs.by_row() {
        let weights = row(state.w, width, neuron);
        let gradient = gradient(weights, x, dx.as_deref_mut(), &pairs.columns[range.clone()], &g[range]);
        let rows = AdamRows {
            w: row_mut(state.w, width, neuron),
            m: row_mut(state.m, width, neuron),
            v: row_mut(state.v, width, neuron),
        };
        adam(rows, &gradient, step);
    }
}

/// The gradient of one row of weights by its pairs, whose products with the weights are added to `dx`.
pub(super) fn gradient<W: Weight>(
    w: &[W],
    x: &[f32],
    mut dx: Option<&mut [f32]>,
    columns: &[u32],
    g: &[f32],
) -> Vec<f32> {
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
        *g *= scale[column as usize];
    }
}

fn read_rows(w: &[f32], width: usize, rows: &[u32], _ahead: usize) -> f32 {
    rows.iter().map(|&r| row(w, width, r).iter().fold(0, |bits, x| bits ^ x.to_bits())).fold(0, |a, b| a ^ b) as f32
}

fn change_rows(w: &mut [f32], width: usize, rows: &[u32], _ahead: usize) {
    for &r in rows {
        for x in row_mut(w, width, r) {
            *x += 1.0;
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

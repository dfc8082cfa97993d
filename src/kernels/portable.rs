//! Plain loops: the reference for the vector kernels, and the fallback on CPUs without them.

use super::{AdamRows, Kernels, Pairs};
use crate::network::AdamStep;

/// The portable set.
pub const KERNELS: Kernels =
    Kernels { name: "portable", dot, axpy, max, exp_sum, adam, row_dots, row_sum, pair_dots, pair_update };

fn row(w: &[f32], width: usize, r: u32) -> &[f32] {
    &w[r as usize * width..][..width]
}

fn row_mut(w: &mut [f32], width: usize, r: u32) -> &mut [f32] {
    &mut w[r as usize * width..][..width]
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

fn max(x: &[f32]) -> f32 {
    x.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

fn exp_sum(x: &mut [f32], shift: f32) -> f32 {
    let mut sum = 0.0;
    for x in x {
        *x = (*x - shift).exp();
        sum += *x;
    }
    sum
}

fn adam(state: AdamRows<'_>, g: &[f32], step: AdamStep) {
    let AdamRows { w, m, v } = state;
    assert!(w.len() == g.len() && m.len() == g.len() && v.len() == g.len());
    for i in 0..g.len() {
        m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * g[i];
        v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * g[i] * g[i];
        w[i] -= step.rate * m[i] / (v[i].sqrt() + step.epsilon);
    }
}

fn row_dots(w: &[f32], width: usize, rows: &[u32], x: &[f32], out: &mut [f32]) {
    for (out, &r) in out.iter_mut().zip(rows) {
        *out = dot(row(w, width, r), x);
    }
}

fn row_sum(w: &[f32], width: usize, rows: &[u32], coefficients: &[f32], out: &mut [f32]) {
    for (&r, &c) in rows.iter().zip(coefficients) {
        axpy(c, row(w, width, r), out);
    }
}

fn pair_dots(w: &[f32], x: &[f32], width: usize, pairs: Pairs<'_>, out: &mut [f32]) {
    for (r, &neuron) in pairs.rows.iter().enumerate() {
        for p in pairs.starts[r] as usize..pairs.starts[r + 1] as usize {
            out[p] = dot(row(w, width, neuron), row(x, width, pairs.columns[p]));
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
    let mut gradient = vec![0.0; width];
    for (r, &neuron) in pairs.rows.iter().enumerate() {
        gradient.fill(0.0);
        for p in pairs.starts[r] as usize..pairs.starts[r + 1] as usize {
            if let Some(dx) = &mut dx {
                axpy(g[p], row(state.w, width, neuron), row_mut(dx, width, pairs.columns[p]));
            }
            axpy(g[p], row(x, width, pairs.columns[p]), &mut gradient);
        }
        let rows = AdamRows {
            w: row_mut(state.w, width, neuron),
            m: row_mut(state.m, width, neuron),
            v: row_mut(state.v, width, neuron),
        };
        adam(rows, &gradient, step);
    }
}

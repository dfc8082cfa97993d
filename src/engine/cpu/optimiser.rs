//! Adam, and the optimisers it is compared with.

use crate::kernels::{AdamRows, Pairs, kernels};
use crate::network::AdamStep;
use serde::Deserialize;

/// How a gradient moves a weight. `m` and `v` are the weight's two state values, η the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    /// As [`crate::network`] defines it: SLIDE's.
    #[default]
    Adam,
    /// w ← w − η·g.
    Sgd,
    /// Adagrad with momentum μ, as Spring & Shrivastava (KDD 2017) train: v ← v + g², m ← μ·m + g/(√v + ε),
    /// w ← w − η·m.
    Adagrad,
}

/// One optimiser step, its constants at hand.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub optimiser: Optimiser,
    pub adam: AdamStep,
    /// η.
    pub rate: f32,
    /// μ of Adagrad.
    pub momentum: f32,
}

impl Update {
    /// A step of Adam.
    pub fn adam(adam: AdamStep) -> Self {
        Self { optimiser: Optimiser::Adam, adam, rate: adam.rate, momentum: 0.0 }
    }

    /// Moves one weight.
    pub fn scalar(&self, w: &mut f32, m: &mut f32, v: &mut f32, g: f32) {
        let adam = &self.adam;
        match self.optimiser {
            Optimiser::Adam => {
                *m = adam.beta1 * *m + (1.0 - adam.beta1) * g;
                *v = adam.beta2 * *v + (1.0 - adam.beta2) * g * g;
                *w -= adam.rate * *m / (v.sqrt() + adam.epsilon);
            }
            Optimiser::Sgd => *w -= self.rate * g,
            Optimiser::Adagrad => {
                *v += g * g;
                *m = self.momentum * *m + g / (v.sqrt() + adam.epsilon);
                *w -= self.rate * *m;
            }
        }
    }

    /// Moves every weight of an array.
    pub fn slice(&self, state: AdamRows<'_>, g: &[f32]) {
        if self.optimiser == Optimiser::Adam {
            return (kernels().adam)(state, g, self.adam);
        }
        for (((w, m), v), g) in state.w.iter_mut().zip(state.m).zip(state.v).zip(g) {
            self.scalar(w, m, v, *g);
        }
    }

    /// [`crate::kernels::Kernels::row_adam`] for any optimiser.
    pub fn rows(&self, state: AdamRows<'_>, width: usize, rows: &[u32], gradients: &[f32]) {
        if self.optimiser == Optimiser::Adam {
            return (kernels().row_adam)(state, width, rows, gradients, self.adam);
        }
        for (&row, g) in rows.iter().zip(gradients.chunks_exact(width)) {
            self.slice(row_of(&mut *state.w, &mut *state.m, &mut *state.v, width, row), g);
        }
    }

    /// [`crate::kernels::Kernels::pair_update`] for any optimiser.
    pub fn pairs(
        &self,
        state: AdamRows<'_>,
        x: &[f32],
        mut dx: Option<&mut [f32]>,
        width: usize,
        pairs: Pairs<'_>,
        g: &[f32],
    ) {
        if self.optimiser == Optimiser::Adam {
            return (kernels().pair_update)(state, x, dx, width, pairs, g, self.adam);
        }
        let mut gradient = vec![0.0; width];
        for (row, range) in pairs.by_row() {
            let own = row_of(&mut *state.w, &mut *state.m, &mut *state.v, width, row);
            gradient.fill(0.0);
            for (&g, &column) in g[range.clone()].iter().zip(&pairs.columns[range]) {
                let at = column as usize * width..(column as usize + 1) * width;
                if let Some(dx) = dx.as_deref_mut() {
                    (kernels().axpy)(g, own.w, &mut dx[at.clone()]);
                }
                (kernels().axpy)(g, &x[at], &mut gradient);
            }
            self.slice(own, &gradient);
        }
    }
}

fn row_of<'a>(w: &'a mut [f32], m: &'a mut [f32], v: &'a mut [f32], width: usize, row: u32) -> AdamRows<'a> {
    let at = row as usize * width..(row as usize + 1) * width;
    AdamRows { w: &mut w[at.clone()], m: &mut m[at.clone()], v: &mut v[at] }
}

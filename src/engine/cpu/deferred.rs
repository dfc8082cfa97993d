//! Dense Adam at the price of lazy Adam.
//!
//! A row without gradient still moves under dense Adam: m and v decay and w drifts on along m, at every step. Nobody
//! sees that until the row is read again, so the steps can be made up for then, all at once. After k steps without
//! gradient from moments m, v, with r = β1/√β2 and η_t the bias-corrected rate of step t,
//!
//! ```text
//! w ← w − m/√v · Σ_{j=1..k} r^j·η_{t+j},   m ← β1^k·m,   v ← β2^k·v
//! ```
//!
//! which is the loop over k steps but for ε, counted once here (√v + ε in place of √v + ε/β2^(j/2)). The sum depends on
//! the row's step alone, so it is kept once a step, not once a row; r is about 0.9, so that it grows over the next 200
//! steps only.

use crate::network::{AdamStep, Training};

/// A rest of the sum that is not worth waiting for.
const NEGLIGIBLE: f64 = 1e-9;
/// More steps than this are not worth keeping open.
const LONGEST: usize = 4096;

/// Which steps the rows of a matrix still owe.
#[derive(Debug)]
pub struct Deferred {
    /// r^j for j = 0, 1, … until it is negligible.
    powers: Vec<f64>,
    /// A row: the step it stands at; 0 where it never had a gradient, so that it has nothing to make up for.
    stands: Vec<u32>,
    /// A step t: Σ_{j≥1} r^j·η_{t+j} over the steps so far.
    drift: Vec<f64>,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    /// What is left of a row's moments after so many steps, from none to all so far.
    faded: Vec<Faded>,
}

/// What steps without gradient leave of the moments.
#[derive(Clone, Copy, Debug)]
struct Faded {
    /// β1^k and β2^k.
    m: f32,
    v: f32,
    /// √β2^k/β1^k, or 0 where nothing is left of m.
    ratio: f64,
}

impl Faded {
    /// After `steps`; from `window` steps on, what is left of m is as good as nothing, and β1^k would leave the range of
    /// an f32.
    fn after(steps: usize, beta1: f32, beta2: f32, window: usize) -> Self {
        let m = f64::from(beta1).powi(steps.min(window) as i32);
        let v = f64::from(beta2).powi(steps as i32);
        Self { m: m as f32, v: v as f32, ratio: if m > 0.0 { v.sqrt() / m } else { 0.0 } }
    }
}

impl Deferred {
    /// For so many rows; none where old moments matter too long to be deferred (β1 near √β2).
    pub fn new(rows: usize, training: &Training) -> Option<Self> {
        let Training { beta1, beta2, epsilon, .. } = *training;
        let r = f64::from(beta1) / f64::from(beta2).sqrt();
        let window = if r > 0.0 { NEGLIGIBLE.ln() / r.ln() } else { 1.0 };
        if !(1.0..LONGEST as f64).contains(&window) {
            return None;
        }
        let powers: Vec<f64> = (0..=window.ceil() as i32).map(|j| r.powi(j)).collect();
        let faded = vec![Faded::after(0, beta1, beta2, powers.len())];
        Some(Self { powers, stands: vec![0; rows], drift: vec![0.0], beta1, beta2, epsilon, faded })
    }

    /// Steps taken so far.
    pub fn now(&self) -> u32 {
        self.drift.len() as u32 - 1
    }

    /// Books a step: rows that had no part in it owe it from now on.
    pub fn took(&mut self, step: AdamStep) {
        self.drift.push(0.0);
        let recent = self.drift.iter_mut().rev().zip(&self.powers).skip(1);
        recent.for_each(|(drift, power)| *drift += power * f64::from(step.rate));
        self.faded.push(Faded::after(self.faded.len(), self.beta1, self.beta2, self.powers.len()));
    }

    /// The step each row stands at, to be handed out to tasks together with the rows.
    pub fn stands(&mut self) -> (&mut [u32], Debts<'_>) {
        let now = self.now();
        (&mut self.stands, Debts { now, drift: &self.drift, faded: &self.faded, epsilon: self.epsilon })
    }
}

/// What rows owe by the step they stand at.
#[derive(Clone, Copy, Debug)]
pub struct Debts<'a> {
    now: u32,
    drift: &'a [f64],
    faded: &'a [Faded],
    epsilon: f32,
}

impl Debts<'_> {
    /// Whether a row that stands there owes anything.
    pub fn owes(&self, stands: u32) -> bool {
        stands != 0 && stands != self.now
    }

    /// Brings the books of a row up to date: the one step with gradient 0 that does what the row owes. None where it owes
    /// nothing.
    pub fn settle(&self, stands: &mut u32) -> Option<AdamStep> {
        let from = *stands;
        if !self.owes(from) {
            return None;
        }
        *stands = self.now;
        let faded = self.faded[(self.now - from) as usize];
        let rate = (self.drift[from as usize] * faded.ratio) as f32;
        Some(AdamStep { rate, beta1: faded.m, beta2: faded.v, epsilon: self.epsilon })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One weight under plain dense Adam and under deferral, gradients at some steps only.
    #[test]
    fn agrees_with_taking_every_step() {
        let training = Training { learning_rate: 0.01, ..Training::default() };
        for gaps in [vec![1, 1, 1], vec![2, 7, 1, 30], vec![300, 1, 500]] {
            let update = |w: &mut f64, m: &mut f64, v: &mut f64, g: f64, s: AdamStep| {
                *m = f64::from(s.beta1) * *m + (1.0 - f64::from(s.beta1)) * g;
                *v = f64::from(s.beta2) * *v + (1.0 - f64::from(s.beta2)) * g * g;
                *w -= f64::from(s.rate) * *m / (v.sqrt() + f64::from(s.epsilon));
            };
            let (mut plain, mut late) = ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0]);
            let mut deferred = Deferred::new(1, &training).unwrap();
            let mut t = 0;
            for (turn, gap) in gaps.iter().enumerate() {
                for step in 1..=*gap {
                    t += 1;
                    let adam = training.adam_step(t);
                    let gradient = if step == *gap { 0.3 - 0.2 * turn as f64 } else { 0.0 };
                    let [w, m, v] = &mut plain;
                    update(w, m, v, gradient, adam);
                    if step == *gap {
                        let (stands, debts) = deferred.stands();
                        let [w, m, v] = &mut late;
                        if let Some(debt) = debts.settle(&mut stands[0]) {
                            // As the kernels do, with gradient 0.
                            (*m, *v) = (f64::from(debt.beta1) * *m, f64::from(debt.beta2) * *v);
                            *w -= f64::from(debt.rate) * *m / (v.sqrt() + f64::from(debt.epsilon));
                        }
                        update(w, m, v, gradient, adam);
                        stands[0] = t as u32;
                    }
                    deferred.took(adam);
                }
                let error = (plain[0] - late[0]).abs() / (plain[0] - 1.0).abs();
                assert!(error < 1e-6, "after {t} steps {plain:?} against {late:?}");
            }
        }
    }

    #[test]
    fn moments_that_never_fade_are_not_deferred() {
        let deferred = |beta1, beta2| Deferred::new(1, &Training { beta1, beta2, ..Training::default() });
        assert!(deferred(0.99, 0.9).is_none());
        assert!(deferred(0.0, 0.999).is_some());
    }
}

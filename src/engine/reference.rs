//! `reference`: the network in plain scalar f64, written to be read, so that the fast engines can be held to it.
//!
//! Nothing here is fast on purpose. Gradients are checked by central finite differences in this file's tests; every
//! other engine is checked against this one in `tests/parity.rs`.

use super::{Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, StepStats, TopK};
use crate::data::{Batch, Input};
use crate::network::{AdamStep, Layer, Order, Parameters, Rows, Training};
use std::time::Instant;

/// Weights and biases of one layer in f64, in the order of the [`Layer`] they came from. Holds parameters, gradients
/// and Adam's moments alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensors {
    pub inputs: usize,
    pub outputs: usize,
    pub order: Order,
    pub weights: Vec<f64>,
    pub bias: Vec<f64>,
}

impl Tensors {
    fn from_layer(layer: &Layer) -> Self {
        Self {
            inputs: layer.inputs,
            outputs: layer.outputs,
            order: layer.order,
            weights: layer.weights.iter().map(|&w| f64::from(w)).collect(),
            bias: layer.bias.iter().map(|&b| f64::from(b)).collect(),
        }
    }

    fn zeros_like(&self) -> Self {
        Self { weights: vec![0.0; self.weights.len()], bias: vec![0.0; self.bias.len()], ..self.clone() }
    }

    fn to_layer(&self) -> Layer {
        Layer {
            inputs: self.inputs,
            outputs: self.outputs,
            order: self.order,
            weights: self.weights.iter().map(|&w| w as f32).collect(),
            bias: self.bias.iter().map(|&b| b as f32).collect(),
        }
    }

    fn at(&self, i: usize, o: usize) -> usize {
        match self.order {
            Order::InputMajor => i * self.outputs + o,
            Order::NeuronMajor => o * self.inputs + i,
        }
    }
}

/// A sample's input to some layer: the `(index, value)` pairs that are present.
type Present = Vec<(usize, f64)>;

/// The network's forward and backward passes over f64 parameters.
#[derive(Clone, Debug)]
pub struct Network {
    /// First to last.
    pub layers: Vec<Tensors>,
}

impl Network {
    /// The network with the given parameters.
    pub fn new(parameters: &Parameters) -> Self {
        Self { layers: parameters.layers.iter().map(Tensors::from_layer).collect() }
    }

    /// The input of every layer for one sample, and the logits behind the last.
    fn forward(&self, input: Input<'_>) -> (Vec<Present>, Vec<f64>) {
        let mut present: Present = match input {
            Input::Sparse { indices, values } => {
                indices.iter().zip(values).map(|(&i, &x)| (i as usize, f64::from(x))).collect()
            }
            Input::Dense(values) => values.iter().map(|&x| f64::from(x)).enumerate().collect(),
        };
        let mut inputs = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let mut z = layer.bias.clone();
            for (o, z) in z.iter_mut().enumerate() {
                *z += present.iter().map(|&(i, x)| layer.weights[layer.at(i, o)] * x).sum::<f64>();
            }
            inputs.push(present);
            if index + 1 == self.layers.len() {
                return (inputs, z);
            }
            present = z.into_iter().map(|z| z.max(0.0)).enumerate().collect();
        }
        unreachable!("a network has an output layer")
    }

    /// Logits of every sample, `B x L`.
    pub fn logits(&self, batch: &Batch) -> Vec<Vec<f64>> {
        (0..batch.len()).map(|b| self.forward(batch.input(b)).1).collect()
    }

    /// The loss of a batch: the mean over its samples (see [`crate::network`]).
    pub fn loss(&self, batch: &Batch) -> f64 {
        let mut loss = 0.0;
        for b in 0..batch.len() {
            let (logits, labels) = (self.forward(batch.input(b)).1, batch.labels(b));
            let log_normaliser = log_sum_exp(&logits);
            for &y in labels {
                loss += (log_normaliser - logits[y as usize]) / labels.len() as f64;
            }
        }
        loss / batch.len().max(1) as f64
    }

    /// The loss of a batch and its gradient for every layer.
    pub fn loss_and_gradients(&self, batch: &Batch) -> (f64, Vec<Tensors>) {
        let mut gradients: Vec<Tensors> = self.layers.iter().map(Tensors::zeros_like).collect();
        let mut loss = 0.0;
        for b in 0..batch.len() {
            let labels = batch.labels(b);
            if labels.is_empty() {
                continue;
            }
            let (inputs, logits) = self.forward(batch.input(b));
            let log_normaliser = log_sum_exp(&logits);
            let target = 1.0 / labels.len() as f64;
            let mut delta: Vec<f64> = logits.iter().map(|z| (z - log_normaliser).exp()).collect();
            for &y in labels {
                loss += target * (log_normaliser - logits[y as usize]);
                delta[y as usize] -= target;
            }
            delta.iter_mut().for_each(|d| *d /= batch.len() as f64);
            for (index, layer) in self.layers.iter().enumerate().rev() {
                let (present, gradient) = (&inputs[index], &mut gradients[index]);
                for (o, &d) in delta.iter().enumerate() {
                    gradient.bias[o] += d;
                    for &(i, x) in present {
                        gradient.weights[layer.at(i, o)] += d * x;
                    }
                }
                if index > 0 {
                    // A ReLU passes a gradient on where its output is above zero.
                    delta = present
                        .iter()
                        .map(|&(i, x)| {
                            let through: f64 =
                                (0..layer.outputs).map(|o| delta[o] * layer.weights[layer.at(i, o)]).sum();
                            if x > 0.0 { through } else { 0.0 }
                        })
                        .collect();
                }
            }
        }
        (loss / batch.len().max(1) as f64, gradients)
    }
}

/// ln Σ exp(z), shifted by the largest z.
fn log_sum_exp(z: &[f64]) -> f64 {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + z.iter().map(|z| (z - max).exp()).sum::<f64>().ln()
}

/// One Adam step on one number.
fn adam(w: &mut f64, m: &mut f64, v: &mut f64, g: f64, step: &Step) {
    *m = step.beta1 * *m + (1.0 - step.beta1) * g;
    *v = step.beta2 * *v + (1.0 - step.beta2) * g * g;
    *w -= step.rate * *m / (v.sqrt() + step.epsilon);
}

/// [`AdamStep`] in f64.
struct Step {
    rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl From<AdamStep> for Step {
    fn from(step: AdamStep) -> Self {
        Self {
            rate: step.rate.into(),
            beta1: step.beta1.into(),
            beta2: step.beta2.into(),
            epsilon: step.epsilon.into(),
        }
    }
}

/// The engine around [`Network`].
#[derive(Debug)]
pub struct Reference {
    training: Training,
    network: Network,
    first: Vec<Tensors>,
    second: Vec<Tensors>,
    t: u64,
    stats: StepStats,
    loss_sum: f64,
}

/// Builds the engine; it takes no options.
pub fn build(settings: &EngineSettings) -> Result<Box<dyn Engine>, EngineError> {
    if let Some(key) = settings.options.keys().next() {
        return Err(EngineError::Settings(format!("reference: unknown option `{key}`; this engine takes none")));
    }
    Ok(Box::new(Reference {
        training: settings.training.clone(),
        network: Network { layers: vec![] },
        first: vec![],
        second: vec![],
        t: 0,
        stats: StepStats::default(),
        loss_sum: 0.0,
    }))
}

impl Reference {
    /// Which input rows the optimiser moves: under [`Rows::Lazy`] the features that occur in a sparse batch.
    fn touched(&self, batch: &Batch) -> Vec<bool> {
        let inputs = self.network.layers[0].inputs;
        let mut touched = vec![self.training.input_rows == Rows::Dense; inputs];
        for b in 0..batch.len() {
            match batch.input(b) {
                Input::Sparse { indices, .. } => indices.iter().for_each(|&i| touched[i as usize] = true),
                Input::Dense(_) => touched.fill(true),
            }
        }
        touched
    }
}

impl Engine for Reference {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            name: "reference".into(),
            device: "CPU".into(),
            precision: "f64".into(),
            threads: 1,
            notes: vec![],
        }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        self.network = Network::new(initial);
        self.first = self.network.layers.iter().map(Tensors::zeros_like).collect();
        self.second = self.first.clone();
        self.t = 0;
        self.stats = StepStats::default();
        self.loss_sum = 0.0;
        Ok(())
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if batch.is_empty() {
            return Ok(());
        }
        let start = Instant::now();
        let (loss, gradients) = self.network.loss_and_gradients(batch);
        self.t += 1;
        let step = Step::from(self.training.adam_step(self.t));
        let touched = self.touched(batch);
        for (index, gradient) in gradients.iter().enumerate() {
            let (layer, m, v) = (&mut self.network.layers[index], &mut self.first[index], &mut self.second[index]);
            for i in 0..layer.weights.len() {
                if index > 0 || touched[i / layer.outputs] {
                    adam(&mut layer.weights[i], &mut m.weights[i], &mut v.weights[i], gradient.weights[i], &step);
                }
            }
            for o in 0..layer.outputs {
                adam(&mut layer.bias[o], &mut m.bias[o], &mut v.bias[o], gradient.bias[o], &step);
            }
        }
        self.loss_sum += loss * batch.len() as f64;
        self.stats.steps += 1;
        self.stats.samples += batch.len() as u64;
        self.stats.device_time += start.elapsed();
        Ok(())
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        let mut stats = std::mem::take(&mut self.stats);
        stats.loss = self.loss_sum / stats.samples.max(1) as f64;
        self.loss_sum = 0.0;
        Ok(stats)
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        let mut top = TopK { k, ..TopK::default() };
        for logits in self.network.logits(batch) {
            top.k = k.min(logits.len());
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            top.scores.extend(order[..top.k].iter().map(|&l| logits[l as usize] as f32));
            top.labels.extend(&order[..top.k]);
        }
        Ok(top)
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        Ok(Parameters { layers: self.network.layers.iter().map(Tensors::to_layer).collect() })
    }

    fn memory(&self) -> MemoryUse {
        let numbers: usize = self.network.layers.iter().map(|l| l.weights.len() + l.bias.len()).sum();
        MemoryUse { host_bytes: 3 * 8 * numbers as u64, device_bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Inputs;
    use crate::network::{Init, Shape};

    /// A batch that has everything: several labels, none, no features.
    fn batch(dense: bool) -> Batch {
        let mut batch = Batch::default();
        if dense {
            batch.inputs = Inputs::Dense { width: 7, values: vec![] };
            batch.push_dense(&[0.5, -1.0, 0.0, 2.0, 0.1, 0.3, -0.7], &[0, 4]);
            batch.push_dense(&[0.0, 1.5, -0.2, 0.4, 0.9, -0.3, 0.7], &[]);
            batch.push_dense(&[1.0, 0.2, 0.6, -0.5, 0.4, 0.8, 0.1], &[8]);
        } else {
            batch.push_sparse(&[0, 3, 6], &[1.0, -0.5, 2.0], &[0, 4]);
            batch.push_sparse(&[1, 2], &[0.3, 0.7], &[]);
            batch.push_sparse(&[], &[], &[1, 2, 3]);
            batch.push_sparse(&[3, 5], &[1.2, 0.4], &[8]);
        }
        batch
    }

    fn network(hidden: &[usize]) -> Network {
        let shape = Shape { inputs: 7, hidden: hidden.to_vec(), labels: 9 };
        let mut network = Network::new(&Parameters::new(&shape, Init::Glorot, 3));
        // Biases off zero, so that no ReLU sits on its kink (a row without features would).
        for layer in &mut network.layers {
            layer.bias.iter_mut().enumerate().for_each(|(o, b)| *b = 0.05 + 0.01 * o as f64);
        }
        network
    }

    #[test]
    fn gradients_agree_with_central_finite_differences() {
        let h = 1e-5;
        for hidden in [&[5][..], &[6, 5], &[6, 5, 4]] {
            for dense in [false, true] {
                let (mut network, batch) = (network(hidden), batch(dense));
                let (_, gradients) = network.loss_and_gradients(&batch);
                for (index, gradient) in gradients.iter().enumerate() {
                    let largest = gradient.weights.iter().chain(&gradient.bias).fold(0f64, |a, g| a.max(g.abs()));
                    assert!(largest > 1e-3, "layer {index} has a gradient worth checking");
                    let weights = gradient.weights.len();
                    for parameter in 0..weights + gradient.bias.len() {
                        let mut loss_at = |offset: f64| {
                            let layer = &mut network.layers[index];
                            let cell = match parameter.checked_sub(weights) {
                                None => &mut layer.weights[parameter],
                                Some(o) => &mut layer.bias[o],
                            };
                            let before = std::mem::replace(cell, *cell + offset);
                            let loss = network.loss(&batch);
                            let layer = &mut network.layers[index];
                            match parameter.checked_sub(weights) {
                                None => layer.weights[parameter] = before,
                                Some(o) => layer.bias[o] = before,
                            }
                            loss
                        };
                        let numeric = (loss_at(h) - loss_at(-h)) / (2.0 * h);
                        let analytic =
                            gradient.weights.iter().chain(&gradient.bias).nth(parameter).copied().unwrap_or(f64::NAN);
                        // Entries far below the largest are held to its scale: their own digits drown in rounding.
                        let scale = analytic.abs().max(numeric.abs()).max(1e-3 * largest);
                        let error = (analytic - numeric).abs() / scale;
                        assert!(
                            error < 1e-6,
                            "hidden {hidden:?} dense {dense} layer {index} parameter {parameter}: \
                             {analytic} against {numeric}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn uniform_logits_lose_the_log_of_the_label_count() {
        let mut network = network(&[5]);
        let output = network.layers.last_mut().unwrap();
        output.weights.fill(0.0);
        output.bias.fill(0.0);
        // Three of the four samples have labels; the fourth counts with loss 0.
        assert!((network.loss(&batch(false)) - 0.75 * 9f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn lazy_rows_of_absent_features_stay() {
        let shape = Shape { inputs: 7, hidden: vec![5], labels: 9 };
        let initial = Parameters::new(&shape, Init::Glorot, 1);
        let second = {
            let mut second = Batch::default();
            second.push_sparse(&[4], &[1.0], &[2]);
            second
        };
        let row = |parameters: &Parameters, i: usize| parameters.layers[0].weights[i * 5..(i + 1) * 5].to_vec();
        for (rows, moves) in [(Rows::Lazy, false), (Rows::Dense, true)] {
            let settings = EngineSettings {
                shape: shape.clone(),
                training: Training { input_rows: rows, ..Training::default() },
                options: toml::Table::new(),
                threads: 1,
                allow_software: false,
                seed: 0,
                label_rows: Default::default(),
            };
            let mut engine = build(&settings).unwrap();
            engine.load(&initial).unwrap();
            engine.step(&batch(false)).unwrap();
            let between = engine.parameters().unwrap();
            engine.step(&second).unwrap();
            let after = engine.parameters().unwrap();
            // Feature 3 had a gradient in the first step only: its momentum moves it again under dense rows alone.
            assert_ne!(row(&initial, 3), row(&between, 3));
            assert_eq!(row(&between, 3) != row(&after, 3), moves, "{rows:?}");
        }
    }
}

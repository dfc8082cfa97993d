//! Which kernels to use on an adapter: the fastest tile, measured; matrix units, if they agree with their twin.

use super::DenseGpu;
use super::gpu::{Gpu, one_line};
use super::kernels::{Kernels, Precision, Tile};
use super::options::Options;
use crate::data::Batch;
use crate::engine::{Engine, EngineError, EngineSettings};
use crate::network::{Init, Parameters, Shape};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Labels of the network that tiles are measured on: enough to fill a large GPU several times over.
const TUNING_LABELS: usize = 1 << 17;
const TUNING_STEPS: u32 = 5;

/// The kernels, and what was tried, for the record.
pub(super) type Choice = (Kernels, Vec<(String, String)>);

/// Chooses kernels for `settings`.
///
/// # Errors
/// [`EngineError::Unavailable`] if f16 is asked of an adapter without it.
pub(super) fn choose(gpu: &Arc<Gpu>, settings: &EngineSettings, options: &Options) -> Result<Choice, EngineError> {
    let mut notes = Vec::new();
    if options.half && !gpu.adapter.f16 {
        return Err(EngineError::Unavailable(format!("{} does not compute in f16", gpu.adapter.name)));
    }
    let plain = if options.half { Precision::Half } else { Precision::Full };
    let tile = match options.tile {
        Some(tile) if Tile::that_fit(&gpu.limits).contains(&tile) => tile,
        Some(tile) => {
            let name = &gpu.adapter.name;
            return Err(EngineError::Unavailable(format!("{name} has too little workgroup memory for tile {tile}")));
        }
        None => fastest_tile(gpu, settings, plain, &mut notes)?,
    };
    let plain = Kernels::new(gpu, tile, plain)?;
    if !options.half || !options.matrix_units || !gpu.adapter.matrix_units {
        return Ok((plain, notes));
    }
    let (verdict, matrix) = on_matrix_units(gpu, settings, plain, tile)?;
    notes.push(("matrix units".into(), verdict));
    Ok((matrix, notes))
}

/// Measures every tile that fits. A software adapter would take long and its answer would mean nothing.
fn fastest_tile(
    gpu: &Arc<Gpu>,
    settings: &EngineSettings,
    precision: Precision,
    notes: &mut Vec<(String, String)>,
) -> Result<Tile, EngineError> {
    let tiles = Tile::that_fit(&gpu.limits);
    let Some(&largest) = tiles.last() else {
        return Err(EngineError::Unavailable(format!("{} has too little workgroup memory", gpu.adapter.name)));
    };
    if gpu.adapter.software {
        return Ok(largest);
    }
    let shape = trial_shape(settings, TUNING_LABELS);
    let initial = Parameters::new(&shape, Init::Glorot, 1);
    let mut best = (Duration::MAX, largest);
    let mut tried = Vec::new();
    for tile in tiles {
        let mut trial = Trial::new(gpu, settings, &shape, Kernels::new(gpu, tile, precision)?);
        let (time, ..) = trial.run(&initial, TUNING_STEPS)?;
        tried.push(format!("{tile} {:.3} ms", time.as_secs_f64() * 1e3));
        if time < best.0 {
            best = (time, tile);
        }
    }
    notes.push((format!("tiles tried at L {}", shape.labels), tried.join(", ")));
    Ok(best.1)
}

/// The kernels on matrix units if, on this very adapter, they train like the plain ones; the plain ones otherwise.
fn on_matrix_units(
    gpu: &Arc<Gpu>,
    settings: &EngineSettings,
    plain: Kernels,
    tile: Tile,
) -> Result<(String, Kernels), EngineError> {
    // Widths that are no multiple of a tile, and few enough labels that each moves visibly.
    let shape = trial_shape(settings, 1000);
    let initial = Parameters::new(&shape, Init::Glorot, 1);
    let (_, expected, wanted) = Trial::new(gpu, settings, &shape, plain).run(&initial, 3)?;
    let matrix = match Kernels::new(gpu, tile, Precision::HalfMatrix) {
        Ok(matrix) => matrix,
        Err(e) => {
            let verdict = format!("not used: {}", one_line(&e.to_string()));
            return Ok((verdict, Kernels::new(gpu, tile, Precision::Half)?));
        }
    };
    let mut trial = Trial::new(gpu, settings, &shape, matrix);
    let (_, loss, trained) = trial.run(&initial, 3)?;
    // Adam moves by about the learning rate a step whatever the gradient's size: compare means.
    let pairs = || trained.layers.iter().zip(&wanted.layers).flat_map(|(a, b)| a.weights.iter().zip(&b.weights));
    let apart = pairs().map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / pairs().count() as f64;
    let moved = 3.0 * f64::from(settings.training.learning_rate);
    if (loss - expected).abs() < 0.01 * expected && apart < 0.05 * moved {
        return Ok(("used: they agree with the plain kernels".into(), trial.engine.kernels));
    }
    let verdict = format!("not used: loss {loss} instead of {expected}, weights {apart:e} apart on average");
    Ok((verdict, Kernels::new(gpu, tile, Precision::Half)?))
}

fn trial_shape(settings: &EngineSettings, labels: usize) -> Shape {
    Shape { inputs: 64, hidden: settings.shape.hidden.clone(), labels: settings.shape.labels.min(labels) }
}

/// A short training of a small network on made-up samples.
struct Trial {
    engine: DenseGpu,
    batch: Batch,
}

impl Trial {
    fn new(gpu: &Arc<Gpu>, settings: &EngineSettings, shape: &Shape, kernels: Kernels) -> Self {
        let settings = EngineSettings { shape: shape.clone(), ..settings.clone() };
        let mut batch = Batch::default();
        for b in 0..settings.training.batch as u32 {
            let features = [b % 32, 32 + b * 7 % 32];
            batch.push_sparse(&features, &[1.0, 0.5], &[b * 13 % shape.labels as u32]);
        }
        Self { engine: DenseGpu::new(gpu.clone(), settings, kernels, None, &Options::default()), batch }
    }

    /// Time of a step after warming up, mean loss, and the parameters.
    fn run(&mut self, initial: &Parameters, steps: u32) -> Result<(Duration, f64, Parameters), EngineError> {
        self.engine.load(initial)?;
        self.engine.step(&self.batch)?;
        let warm = self.engine.finish()?;
        let started = Instant::now();
        for _ in 0..steps {
            self.engine.step(&self.batch)?;
        }
        let stats = self.engine.finish()?;
        let time = started.elapsed() / steps;
        Ok((time, (warm.loss + stats.loss) / 2.0, self.engine.parameters()?))
    }
}

//! A training step of `dense-gpu` at the size of Amazon-670K against the adapter's own peaks:
//!
//! ```text
//! cargo run --release --example gpu_step -- [labels] [steps] [engine options as TOML]
//! ```
//!
//! I 135,909, H 128, B 256, 76 features a sample, random data. A software adapter is measured at 4,096 labels, where a
//! step takes a second; its figures say that the program runs, nothing more. Without options, `f32` and `f16` are
//! measured one after the other.

use rand::{RngExt, SeedableRng};
use slidebench::data::Batch;
use slidebench::engine::dense_gpu::{self, Roofline};
use slidebench::engine::{EngineError, EngineSettings, Phase, find};
use slidebench::network::{Init, Parameters, Shape, Training};
use std::time::Instant;

fn main() -> Result<(), EngineError> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().map(|n| n.parse::<usize>().expect("a whole number"));
    let (labels, steps) = (number(), number());
    let peak = dense_gpu::roofline(true)?;
    println!(
        "{}{}: {:.2} TFLOP/s f32, copy {:.0} GB/s, upload {:.1} GB/s",
        peak.adapter,
        if peak.software { " (software)" } else { "" },
        peak.flops_per_second / 1e12,
        peak.copy_bytes_per_second / 1e9,
        peak.upload_bytes_per_second / 1e9
    );
    let labels = labels.unwrap_or(if peak.software { 4096 } else { 670_091 });
    let steps = steps.unwrap_or(if peak.software { 2 } else { 200 });
    match arguments.next() {
        Some(options) => measure(&peak, labels, steps, &options),
        None => ["", "precision = 'f16'", "precision = 'f16'\nmatrix-units = false", "upload-dense-labels = true"]
            .into_iter()
            .try_for_each(|options| measure(&peak, labels, steps, options)),
    }
}

fn measure(peak: &Roofline, labels: usize, steps: usize, options: &str) -> Result<(), EngineError> {
    let shape = Shape { inputs: 135_909, hidden: vec![128], labels };
    let settings = EngineSettings {
        shape: shape.clone(),
        training: Training { batch: 256, ..Training::default() },
        options: options.parse().expect("options in TOML"),
        threads: 1,
        allow_software: true,
        seed: 1,
        label_rows: Default::default(),
    };
    let batches = batches(&shape, 8);
    let mut engine = (find("dense-gpu").expect("in the registry").build)(&settings)?;
    engine.load(&Parameters::new(&shape, Init::Glorot, 1))?;
    let info = engine.describe();
    println!("\n{} [{}] {:?}", info.precision, options.replace('\n', ", "), info.notes);
    // The first steps allocate and compile.
    batches.iter().take(2).try_for_each(|batch| engine.step(batch))?;
    engine.finish()?;
    let started = Instant::now();
    for step in 0..steps {
        engine.step(&batches[step % batches.len()])?;
    }
    let stats = engine.finish()?;
    let wall = started.elapsed().as_secs_f64() / steps as f64;
    let device = stats.device_time.as_secs_f64() / steps as f64;
    let (flops, bytes) = (stats.flops / steps as f64, stats.bytes / steps as f64);
    println!(
        "L {labels}: {:.3} ms a step ({:.3} ms on the device), loss {:.4}, {:.2} GB in use",
        wall * 1e3,
        device * 1e3,
        stats.loss,
        engine.memory().device_bytes as f64 / 1e9
    );
    println!(
        "  {:.1} GFLOP, {:.0} % of the f32 peak; {:.2} GB, {:.0} % of the copy bandwidth",
        flops / 1e9,
        100.0 * flops / device / peak.flops_per_second,
        bytes / 1e9,
        100.0 * bytes / device / peak.copy_bytes_per_second
    );
    for phase in [Phase::Upload, Phase::Forward, Phase::Backward, Phase::Update] {
        println!("  {phase:?} {:.3} ms", stats.phases[phase as usize].as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}

/// Random batches of 256 samples with up to 76 features and 5 labels each.
fn batches(shape: &Shape, count: usize) -> Vec<Batch> {
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(1);
    let mut draw = |count: usize, below: usize| {
        let mut drawn: Vec<u32> = (0..count).map(|_| rng.random_range(0..below) as u32).collect();
        drawn.sort_unstable();
        drawn.dedup();
        drawn
    };
    (0..count)
        .map(|_| {
            let mut batch = Batch::default();
            for _ in 0..256 {
                let (features, labels) = (draw(76, shape.inputs), draw(5, shape.labels));
                batch.push_sparse(&features, &vec![0.1; features.len()], &labels);
            }
            batch
        })
        .collect()
}

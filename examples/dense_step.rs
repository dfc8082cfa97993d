//! A training step of `dense-cpu` at the size of Amazon-670K against this machine's own f32 peak:
//!
//! ```text
//! cargo run --release --example dense_step -- [threads] [labels] [steps] [engine options as TOML]
//! ```
//!
//! I 135,909, H 128, B 256, 76 features a sample, random data. CPU seconds, not wall time, so that a busy machine does
//! not blur the ratio; the peak is measured between the steps.

use rand::{RngExt, SeedableRng};
use slidebench::data::Batch;
use slidebench::engine::{EngineSettings, Phase, find};
use slidebench::harness::{Clock, SystemClock};
use slidebench::network::{Init, Parameters, Shape, Training};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(default, |n| n.parse().expect("a whole number"));
    let (threads, labels, steps) = (number(1), number(670_091), number(5));
    let options = arguments.next().unwrap_or_default();
    let shape = Shape { inputs: 135_909, hidden: vec![128], labels };
    let mut rng = rand_pcg::Pcg64Mcg::seed_from_u64(1);
    let batches: Vec<Batch> = (0..steps + 1)
        .map(|_| {
            let mut batch = Batch::default();
            for _ in 0..256 {
                let mut draw = |count: usize, below: usize| {
                    let mut drawn: Vec<u32> = (0..count).map(|_| rng.random_range(0..below) as u32).collect();
                    drawn.sort_unstable();
                    drawn.dedup();
                    drawn
                };
                let (features, labels) = (draw(76, shape.inputs), draw(5, labels));
                batch.push_sparse(&features, &vec![0.1; features.len()], &labels);
            }
            batch
        })
        .collect();
    let settings = EngineSettings {
        shape: shape.clone(),
        training: Training { batch: 256, ..Training::default() },
        options: options.parse().expect("options are TOML"),
        threads,
        allow_software: false,
        seed: 1,
        label_rows: Default::default(),
    };
    let mut engine = (find("dense-cpu").expect("registered").build)(&settings).expect("an engine");
    engine.load(&Parameters::new(&shape, Init::Glorot, 1)).expect("loaded");
    engine.step(&batches[0]).expect("a step");
    engine.finish().expect("finished");
    println!("{:?}", engine.describe());
    for batch in &batches[1..] {
        let peak = peak();
        let before = cpu_seconds();
        engine.step(batch).expect("a step");
        let cpu = cpu_seconds() - before;
        let stats = engine.finish().expect("finished");
        let rate = stats.flops / cpu / 1e9;
        println!(
            "{:.3} CPU s ({:.3} wall; forward {:.3} backward {:.3}); {rate:.0} GFLOP/s a CPU s, {:.0} % of {peak:.0}; {:.2} GB; loss {:.4}",
            cpu,
            stats.device_time.as_secs_f64(),
            stats.phases[Phase::Forward as usize].as_secs_f64(),
            stats.phases[Phase::Backward as usize].as_secs_f64(),
            100.0 * rate / peak,
            stats.bytes / 1e9,
            stats.loss,
        );
    }
    let before = cpu_seconds();
    let top = engine.predict(&batches[0], 5).expect("a prediction");
    println!("predict: {:.3} CPU s for {} rows", cpu_seconds() - before, top.labels.len() / 5);
}

/// CPU seconds of this process, where the system tells them.
fn cpu_seconds() -> f64 {
    SystemClock::default().cpu().map_or(f64::NAN, |time| time.as_secs_f64())
}

/// f32 multiply-add GFLOP/s a CPU second of one core.
#[cfg(target_arch = "x86_64")]
fn peak() -> f64 {
    #[target_feature(enable = "avx512f")]
    fn run(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let (x, y) = (_mm512_set1_ps(std::hint::black_box(0.5)), _mm512_set1_ps(std::hint::black_box(0.25)));
        let mut sums = [x; 16];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        sums.into_iter().map(|sum| _mm512_reduce_add_ps(sum)).sum()
    }
    if !is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    let before = cpu_seconds();
    let rounds = 10_000_000;
    // SAFETY: the CPU has the feature.
    std::hint::black_box(unsafe { run(rounds) });
    (rounds * 16 * 32) as f64 / (cpu_seconds() - before) / 1e9
}

#[cfg(not(target_arch = "x86_64"))]
fn peak() -> f64 {
    f64::NAN
}

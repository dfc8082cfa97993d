//! What needs the engine's insides; training is tested through the public API in `tests/gpu.rs`.

use super::*;
use crate::data::Batch;
use crate::network::{Init, Rows, Shape, Training};

/// An engine on the device that validates every call and executes nothing.
fn engine_without_driver(shape: &Shape) -> DenseGpu {
    let gpu = Arc::new(Gpu::noop().unwrap());
    let kernels = Kernels::new(&gpu, kernels::Tile::ALL[0], kernels::Precision::Full).unwrap();
    let settings = EngineSettings {
        shape: shape.clone(),
        training: Training { batch: 4, ..Training::default() },
        options: toml::Table::new(),
        threads: 1,
        allow_software: false,
        seed: 1,
        label_rows: Default::default(),
    };
    DenseGpu::new(gpu, settings, kernels, None, &Options::default())
}

fn batch() -> Batch {
    let mut batch = Batch::default();
    batch.push_sparse(&[1, 3], &[1.0, 2.0], &[0, 2]);
    batch.push_sparse(&[3], &[0.5], &[]);
    batch
}

#[test]
fn every_call_of_a_step_is_valid() {
    let shape = Shape { inputs: 5, hidden: vec![6, 7], labels: 9 };
    let mut engine = engine_without_driver(&shape);
    engine.load(&Parameters::new(&shape, Init::Glorot, 1)).unwrap();
    for _ in 0..5 {
        engine.step(&batch()).unwrap();
    }
    assert_eq!(engine.finish().unwrap().steps, 5);
}

#[test]
fn a_lost_device_is_an_error() {
    let shape = Shape { inputs: 5, hidden: vec![6], labels: 9 };
    let mut engine = engine_without_driver(&shape);
    engine.load(&Parameters::new(&shape, Init::Glorot, 1)).unwrap();
    engine.step(&batch()).unwrap();
    engine.gpu.device.destroy();
    let outcome = engine.step(&batch()).and_then(|()| engine.finish());
    assert!(matches!(outcome, Err(EngineError::DeviceLost(_))), "{outcome:?}");
    assert!(matches!(engine.parameters(), Err(EngineError::DeviceLost(_))));
    assert!(matches!(engine.predict(&batch(), 1), Err(EngineError::DeviceLost(_))));
}

#[test]
fn too_large_a_buffer_is_out_of_memory() {
    let gpu = Gpu::noop().unwrap();
    match gpu.storage("weights", gpu.limits.max_buffer_size + 4) {
        Err(EngineError::OutOfMemory { what, needs, remedy }) => {
            assert!(what.starts_with("weights on ") && needs > gpu.limits.max_buffer_size && !remedy.is_empty());
        }
        other => panic!("{other:?}"),
    }
}

/// The paper's Amazon-670K step: three products of 43.92 GFLOP, 4.80 GB moved by the output layer.
#[test]
fn cost_of_the_published_step() {
    let shape = Shape { inputs: 135_909, hidden: vec![128], labels: 670_091 };
    let cost = cost::step_cost(&shape, 256, Some((0, 0)), Rows::Lazy);
    assert!((cost.flops / 1e9 - 131.74).abs() < 0.01, "{cost:?}");
    assert!((cost.bytes / 1e9 - 4.803).abs() < 0.001, "{cost:?}");
    let with_input = cost::step_cost(&shape, 256, Some((19_354, 15_000)), Rows::Lazy);
    assert_eq!(with_input.flops - cost.flops, 4.0 * 128.0 * 19_354.0);
    let dense_rows = cost::step_cost(&shape, 256, Some((19_354, 15_000)), Rows::Dense);
    assert_eq!(dense_rows.bytes - with_input.bytes, 24.0 * 128.0 * (135_909.0 - 15_000.0));
}

#[test]
fn samples_outside_the_network_are_named() {
    let shape = Shape { inputs: 3, hidden: vec![6], labels: 9 };
    let outcome = Packer::default().pack(&batch(), 0..2, &shape, &[3], 4, Purpose::Train { sample: None });
    assert!(matches!(outcome, Err(EngineError::Failed(message)) if message.contains("feature 3")));
    let shape = Shape { inputs: 5, hidden: vec![6], labels: 2 };
    let outcome = Packer::default().pack(&batch(), 0..2, &shape, &[5], 4, Purpose::Train { sample: None });
    assert!(matches!(outcome, Err(EngineError::Failed(message)) if message.contains("label 2")));
}

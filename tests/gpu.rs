//! The GPU engine against the f64 reference, on any adapter, software ones included.
//!
//! Without an adapter these tests say so and pass; with `SLIDEBENCH_REQUIRE_GPU=1` they fail instead.

use rand::RngExt;
use rand::SeedableRng;
use rand_pcg::Pcg64Mcg;
use slidebench::data::{Batch, Input, Inputs};
use slidebench::engine::dense_gpu;
use slidebench::engine::{Build, Engine, EngineError, EngineSettings, Phase, find};
use slidebench::network::{Init, Parameters, Rows, Shape, Training};
use std::sync::Arc;
use std::time::Duration;

/// Batches that cover the awkward cases: samples without labels, without features, with several labels.
fn batches(shape: &Shape, training: &Training, dense: bool, count: usize) -> Vec<Batch> {
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    (0..count)
        .map(|step| {
            let mut batch = Batch::default();
            if dense {
                batch.inputs = Inputs::Dense { width: shape.inputs, values: vec![] };
            }
            // The last batch of an epoch is short.
            let samples = if step % 5 == 4 { training.batch / 2 + 1 } else { training.batch };
            for b in 0..samples {
                let mut labels: Vec<u32> = (0..b % 4).map(|_| rng.random_range(0..shape.labels as u32)).collect();
                labels.sort_unstable();
                labels.dedup();
                if dense {
                    let row: Vec<f32> = (0..shape.inputs).map(|_| rng.random_range(-1.0..1.0)).collect();
                    batch.push_dense(&row, &labels);
                } else {
                    let entries = if b == 3 { 0 } else { rng.random_range(1..8) };
                    let mut indices: Vec<u32> =
                        (0..entries).map(|_| rng.random_range(0..shape.inputs as u32)).collect();
                    indices.sort_unstable();
                    indices.dedup();
                    let values: Vec<f32> = indices.iter().map(|_| rng.random_range(0.2..1.5)).collect();
                    batch.push_sparse(&indices, &values, &labels);
                }
            }
            batch
        })
        .collect()
}

fn settings(shape: &Shape, training: &Training) -> EngineSettings {
    EngineSettings {
        shape: shape.clone(),
        training: training.clone(),
        options: toml::Table::new(),
        threads: 1,
        allow_software: true,
        seed: 1,
        label_rows: Arc::default(),
    }
}

/// The engine, or None (said on stderr) on a machine without any adapter.
fn engine(settings: &EngineSettings) -> Option<Box<dyn Engine>> {
    built(dense_gpu::build, settings)
}

fn built(build: Build, settings: &EngineSettings) -> Option<Box<dyn Engine>> {
    match build(settings) {
        Ok(engine) => Some(engine),
        Err(EngineError::Unavailable(reason)) if std::env::var("SLIDEBENCH_REQUIRE_GPU").as_deref() != Ok("1") => {
            eprintln!("skipped: {reason}");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// Trains both for 20 steps: every loss within 1e-4 relative, then every parameter close, then the same best labels.
fn follows_reference(shape: Shape, dense: bool, rows: Rows, max_binding: Option<i64>) {
    let mut options = toml::Table::new();
    if let Some(bytes) = max_binding {
        options.insert("max-binding-bytes".into(), bytes.into());
    }
    follows_reference_with(shape, dense, rows, options);
}

fn follows_reference_with(shape: Shape, dense: bool, rows: Rows, options: toml::Table) {
    built_follows_reference(dense_gpu::build, shape, dense, rows, options);
}

fn built_follows_reference(build: Build, shape: Shape, dense: bool, rows: Rows, options: toml::Table) {
    let training = Training { batch: 19, learning_rate: 0.01, input_rows: rows, ..Training::default() };
    let mut settings = settings(&shape, &training);
    settings.options = options;
    let Some(mut engine) = built(build, &settings) else { return };
    let initial = Parameters::new(&shape, Init::Glorot, 3);
    engine.load(&initial).unwrap();
    assert_eq!(engine.parameters().unwrap(), initial, "parameters survive the way to the device and back");
    let mut reference =
        (find("reference").unwrap().build)(&EngineSettings { options: toml::Table::new(), ..settings.clone() })
            .unwrap();
    reference.load(&initial).unwrap();
    let batches = batches(&shape, &training, dense, 20);
    for (step, batch) in batches.iter().enumerate() {
        engine.step(batch).unwrap();
        let stats = engine.finish().unwrap();
        reference.step(batch).unwrap();
        let expected = reference.finish().unwrap().loss;
        assert!(
            (stats.loss - expected).abs() <= 1e-4 * expected.abs(),
            "step {step}: loss {} instead of {expected}",
            stats.loss
        );
        assert_eq!((stats.steps, stats.samples), (1, batch.len() as u64));
    }
    let (trained, truth) = (engine.parameters().unwrap(), reference.parameters().unwrap());
    for (index, (layer, wanted)) in trained.layers.iter().zip(&truth.layers).enumerate() {
        for (what, got, wanted) in [("weight", &layer.weights, &wanted.weights), ("bias", &layer.bias, &wanted.bias)] {
            assert_eq!(got.len(), wanted.len());
            for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
                assert!((got - wanted).abs() < 2e-3, "layer {index} {what} {at}: {got} instead of {wanted}");
            }
        }
    }
    let (best, wanted) = (engine.predict(&batches[0], 3).unwrap(), reference.predict(&batches[0], 3).unwrap());
    assert_eq!((best.k, best.labels.len()), (3, 3 * batches[0].len()));
    for (rank, (got, wanted)) in best.scores.iter().zip(&wanted.scores).enumerate() {
        assert!((got - wanted).abs() < 0.02, "score {rank}: {got} instead of {wanted}");
    }
    let same = best.labels.iter().zip(&wanted.labels).filter(|(got, wanted)| got == wanted).count();
    assert!(10 * same >= 9 * best.labels.len(), "{same} of {} labels are the reference's", best.labels.len());
}

fn shape(inputs: usize, hidden: &[usize], labels: usize) -> Shape {
    Shape { inputs, hidden: hidden.to_vec(), labels }
}

#[test]
fn one_hidden_layer_sparse() {
    follows_reference(shape(37, &[19], 301), false, Rows::Lazy, None);
}

#[test]
fn one_hidden_layer_dense_rows() {
    follows_reference(shape(37, &[19], 301), false, Rows::Dense, None);
}

#[test]
fn one_hidden_layer_dense_input() {
    follows_reference(shape(37, &[130], 301), true, Rows::Lazy, None);
}

#[test]
fn two_hidden_layers_sparse() {
    follows_reference(shape(37, &[19, 130], 301), false, Rows::Lazy, None);
}

#[test]
fn two_hidden_layers_dense_input() {
    follows_reference(shape(37, &[130, 19], 77), true, Rows::Lazy, None);
}

#[test]
fn three_hidden_layers() {
    follows_reference(shape(37, &[19, 130, 21], 301), false, Rows::Lazy, None);
    follows_reference(shape(5, &[7, 6, 3], 9), true, Rows::Lazy, None);
    follows_reference(shape(1, &[1], 3), false, Rows::Lazy, None);
}

/// A binding of 68 KB holds 128 rows of 132 weights: the output layer, a hidden layer and the input layer all need
/// several.
#[test]
fn matrices_larger_than_a_binding() {
    follows_reference(shape(300, &[130], 301), false, Rows::Lazy, Some(68_000));
    follows_reference(shape(300, &[130], 301), false, Rows::Dense, Some(68_000));
    follows_reference(shape(300, &[130, 150, 128], 301), true, Rows::Lazy, Some(80_000));
}

/// Every tile configuration computes the same network; the last also with a batch wider than a tile.
#[test]
fn every_tile() {
    for tile in ["64x64x16", "128x64x16", "64x128x16", "128x128x8"] {
        let options = toml::Table::from_iter([("tile".to_string(), tile.into())]);
        follows_reference_with(shape(37, &[130], 301), false, Rows::Lazy, options);
    }
}

/// The handicapped variant trains the same network, also across windows.
#[test]
fn as_published_trains_the_same_network() {
    let options = toml::Table::from_iter([
        ("upload-dense-labels".to_string(), true.into()),
        ("max-binding-bytes".to_string(), 70_000.into()),
    ]);
    follows_reference_with(shape(37, &[128], 301), false, Rows::Lazy, options);
    let built = dense_gpu::build_as_published(&settings(&shape(4, &[8], 10), &Training::default()));
    if let Ok(engine) = built {
        assert_eq!(engine.describe().name, "dense-gpu:as-published");
    }
}

/// Sampled softmax over all labels is softmax, fetched and put back row by row, also across windows. Over a share, a
/// step moves exactly the sampled rows, true labels among them, and prediction still ranks every label.
#[test]
fn sampled_softmax() {
    for limit in [1 << 30, 70_000] {
        let options = toml::Table::from_iter([
            ("sampled".to_string(), 1.0.into()),
            ("max-binding-bytes".to_string(), limit.into()),
        ]);
        follows_reference_with(shape(37, &[128], 301), false, Rows::Lazy, options);
    }

    let shape = shape(37, &[20], 301);
    let training = Training { batch: 8, ..Training::default() };
    let mut settings = settings(&shape, &training);
    settings.options.insert("sampled".into(), 0.2.into());
    let Some(mut engine) = engine(&settings) else { return };
    let initial = Parameters::new(&shape, Init::Glorot, 3);
    engine.load(&initial).unwrap();
    let batch = &batches(&shape, &training, false, 1)[0];
    engine.step(batch).unwrap();
    let stats = engine.finish().unwrap();
    let active = stats.active.unwrap();
    assert_eq!(active.mean, 61.0);
    // ln 61 instead of ln 301 as long as nothing is learned; six of eight samples have labels.
    assert!((stats.loss / (0.75 * 61f64.ln()) - 1.0).abs() < 0.1, "{}", stats.loss);
    let trained = engine.parameters().unwrap();
    let rows = |p: &Parameters| p.layers[1].weights.chunks(20).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let moved: Vec<bool> = rows(&initial).iter().zip(rows(&trained)).map(|(a, b)| *a != b).collect();
    assert_eq!(moved.iter().filter(|&&moved| moved).count(), 61);
    assert!(batch.labels.iter().all(|&label| moved[label as usize]));
    assert_eq!(trained.layers[1].bias.iter().filter(|&&bias| bias != 0.0).count(), 61);
    assert_eq!(engine.predict(batch, 301).unwrap().labels.len(), 301 * 8);

    // Two labels of 301 are fewer than the batch has.
    settings.options.insert("sampled".into(), 0.004.into());
    let mut engine = dense_gpu::build(&settings).unwrap();
    engine.load(&initial).unwrap();
    assert!(matches!(engine.step(batch), Err(EngineError::Settings(message)) if message.contains("larger share")));
}

/// SimHash in 16 tables of 16 buckets, rebuilt every 5 steps.
fn hashed(share: f64) -> toml::Table {
    let text = "hashed.lsh = { family = 'simhash', bits = 4, tables = 16, sparsity = 1, rebuild = { every = 5 } }";
    let mut options: toml::Table = text.parse().unwrap();
    options.insert("sampled".into(), share.into());
    options
}

/// Whatever the tables say, a set with room for every neuron is all of them: also across windows and hidden layers.
#[test]
fn hashed_sets_of_everything_are_softmax() {
    built_follows_reference(dense_gpu::build_lsh, shape(37, &[19], 301), false, Rows::Lazy, hashed(1.0));
    let mut options = hashed(1.0);
    options.insert("max-binding-bytes".into(), 70_000.into());
    built_follows_reference(dense_gpu::build_lsh, shape(37, &[19, 128], 301), true, Rows::Lazy, options);
}

/// The tables bring in neurons whose logits are above the average: host and device agree about activations, weights
/// and which neuron is which.
#[test]
fn hashed_sets_hold_the_neurons_of_large_logits() {
    let shape = shape(37, &[30], 601);
    let training = Training { batch: 8, ..Training::default() };
    let mut settings = settings(&shape, &training);
    settings.options = hashed(0.1);
    settings.options.insert("max-binding-bytes".into(), 70_000.into());
    let Some(mut engine) = built(dense_gpu::build_lsh, &settings) else { return };
    assert_eq!(engine.describe().name, "lsh-gpu");
    let initial = Parameters::new(&shape, Init::Glorot, 3);
    engine.load(&initial).unwrap();
    let mut batch = Batch::default();
    (0..8).for_each(|b| batch.push_sparse(&[3, 20, 31], &[1.0, 0.5, 2.0], &[b * 70]));
    engine.step(&batch).unwrap();
    let active = engine.finish().unwrap().active.unwrap();
    assert_eq!((active.mean, active.labels), (61.0, 8.0));
    assert!(active.selected > 20.0, "{active:?}");
    assert_eq!(active.labels + active.selected + active.fill, active.mean);

    let trained = engine.parameters().unwrap();
    let first = &initial.layers[0];
    let h: Vec<f32> = (0..30)
        .map(|j| (first.weight(3, j) + 0.5 * first.weight(20, j) + 2.0 * first.weight(31, j)).max(0.0))
        .collect();
    let (mut inside, mut outside) = (vec![], vec![]);
    let rows = initial.layers[1].weights.chunks(30).zip(trained.layers[1].weights.chunks(30));
    for (_, (before, after)) in rows.enumerate().filter(|(label, _)| !batch.labels.contains(&(*label as u32))) {
        let logit: f32 = before.iter().zip(&h).map(|(w, x)| w * x).sum();
        if before == after {
            outside.push(logit)
        } else {
            inside.push(logit)
        };
    }
    let mean = |logits: &[f32]| logits.iter().sum::<f32>() / logits.len() as f32;
    let deviation = (outside.iter().map(|z| (z - mean(&outside)).powi(2)).sum::<f32>() / outside.len() as f32).sqrt();
    assert_eq!(inside.len(), 61 - 8);
    assert!(mean(&inside) > mean(&outside) + deviation, "{} and {}", mean(&inside), mean(&outside));
}

/// A small set is learned from, across rebuilds.
#[test]
fn hashed_sets_train() {
    let shape = shape(64, &[24], 601);
    let training = Training { batch: 16, learning_rate: 0.02, ..Training::default() };
    let mut settings = settings(&shape, &training);
    settings.options = hashed(0.1);
    let Some(mut engine) = built(dense_gpu::build_lsh, &settings) else { return };
    engine.load(&Parameters::new(&shape, Init::Glorot, 3)).unwrap();
    let mut batch = Batch::default();
    (0..16u32).for_each(|b| batch.push_sparse(&[b, 16 + b, 32 + b], &[1.0; 3], &[37 * b]));
    let right = |engine: &mut Box<dyn Engine>| {
        let best = engine.predict(&batch, 1).unwrap();
        best.labels.iter().zip(&batch.labels).filter(|(got, wanted)| got == wanted).count()
    };
    assert!(right(&mut engine) < 4);
    let mut losses = vec![];
    for _ in 0..30 {
        engine.step(&batch).unwrap();
        let stats = engine.finish().unwrap();
        losses.push(stats.loss);
        assert!(stats.phases[Phase::Select as usize] > Duration::ZERO);
        assert!(stats.device_time >= stats.phases[Phase::Select as usize]);
    }
    assert!(losses[29] < 0.2 * losses[0], "{losses:?}");
    assert!(right(&mut engine) >= 14, "all labels are ranked, not only those in the set");

    // Loading again forgets tables and all.
    engine.load(&Parameters::new(&shape, Init::Glorot, 3)).unwrap();
    engine.step(&batch).unwrap();
    assert!(engine.finish().unwrap().loss > 0.9 * losses[0]);
}

#[test]
fn hashed_options_are_checked() {
    let shape = shape(5, &[4], 9);
    for (options, hint) in
        [("hashed.lsh.tables = 0", "tables"), ("hashed.tabels = 3", "tabels"), ("sampled = 2.0", "share")]
    {
        let mut settings = settings(&shape, &Training::default());
        settings.options = options.parse().unwrap();
        match dense_gpu::build_lsh(&settings) {
            Err(EngineError::Settings(message)) => assert!(message.contains(hint), "{message}"),
            Err(EngineError::Unavailable(_)) => {}
            _ => panic!("{options} was accepted"),
        }
    }
}

/// 16-bit output weights and logits against their f32 twin: the losses of 20 steps within 2e-3 relative, parameters
/// close on average, the same scores to 16 bits; over several windows and batch tiles.
#[test]
fn half_precision_follows_full() {
    let shape = shape(37, &[130], 301);
    let training = Training { batch: 70, learning_rate: 0.01, ..Training::default() };
    let mut full = settings(&shape, &training);
    full.options.insert("max-binding-bytes".into(), 70_000.into());
    let mut half = full.clone();
    half.options.insert("precision".into(), "f16".into());
    let (Some(mut full), Some(mut half)) = (engine(&full), engine(&half)) else { return };
    assert!(half.describe().precision.starts_with("f16"));
    let initial = Parameters::new(&shape, Init::Glorot, 3);
    full.load(&initial).unwrap();
    half.load(&initial).unwrap();
    let batches = batches(&shape, &training, false, 20);
    for (step, batch) in batches.iter().enumerate() {
        full.step(batch).unwrap();
        half.step(batch).unwrap();
        let (expected, loss) = (full.finish().unwrap().loss, half.finish().unwrap().loss);
        assert!((loss - expected).abs() <= 2e-3 * expected, "step {step}: loss {loss} instead of {expected}");
        assert!(loss != expected, "the half-precision engine does not round");
    }
    let (full_now, half_now) = (full.parameters().unwrap(), half.parameters().unwrap());
    for (layer, twin) in full_now.layers.iter().zip(&half_now.layers) {
        let apart: f32 = layer.weights.iter().zip(&twin.weights).map(|(a, b)| (a - b).abs()).sum();
        assert!(apart / (layer.weights.len() as f32) < 2e-3, "{} apart in all", apart);
    }
    let (wanted, got) = (full.predict(&batches[0], 1).unwrap(), half.predict(&batches[0], 1).unwrap());
    for (a, b) in wanted.scores.iter().zip(&got.scores) {
        assert!((a - b).abs() < 0.02 * a.abs().max(1.0), "{b} instead of {a}");
    }
    assert!(half.memory().device_bytes < full.memory().device_bytes + 301 * 130 * 2);
}

/// Output weights of 132 MiB, more than one binding of a software adapter (128 MiB) holds: loss and the rows on
/// both sides of the window's edge after one step, against sums in f64.
#[test]
fn label_matrix_larger_than_128_mib() {
    let shape = shape(50, &[128], 270_000);
    let training = Training { batch: 4, learning_rate: 0.01, ..Training::default() };
    let mut settings = settings(&shape, &training);
    // Narrow tiles waste less on four samples.
    settings.options.insert("tile".into(), "64x64x16".into());
    let Some(mut engine) = engine(&settings) else { return };
    // Drawing 35 million normal weights would take longer than training them.
    let small = Shape { labels: 10, ..shape.clone() };
    let mut initial = Parameters::new(&small, Init::Glorot, 3);
    initial.layers[0].weights.iter_mut().for_each(|w| *w *= 100.0);
    let mut state = 1u32;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 0.02 - 0.01
    };
    let last = &mut initial.layers[1];
    last.outputs = shape.labels;
    last.weights = (0..shape.labels * 128).map(|_| draw()).collect();
    last.bias = vec![0.0; shape.labels];
    engine.load(&initial).unwrap();
    let mut batch = Batch::default();
    // Row 262,144 is the first past 128 MiB.
    let truth = [vec![0], vec![262_143], vec![262_144], vec![3, 269_999]];
    for (b, labels) in truth.iter().enumerate() {
        let b = b as u32;
        batch.push_sparse(&[b, 10 + 3 * b, 30 + b], &[1.0, 0.5, -0.7], labels);
    }

    let (input, output) = (&initial.layers[0], &initial.layers[1]);
    let mut expected = 0.0;
    let mut gradient_rows: Vec<(usize, Vec<f64>)> =
        [0, 3, 1000, 262_143, 262_144, 269_999].map(|row| (row, vec![0.0; 128])).into();
    for (b, labels) in truth.iter().enumerate() {
        let Input::Sparse { indices, values } = batch.input(b) else { unreachable!() };
        let h: Vec<f64> = (0..128)
            .map(|o| {
                let entries = indices.iter().zip(values);
                let sum: f64 = entries.map(|(&i, &x)| f64::from(x) * f64::from(input.weight(i as usize, o))).sum();
                sum.max(0.0)
            })
            .collect();
        let logit = |row: &[f32]| row.iter().zip(&h).map(|(&w, h)| f64::from(w) * h).sum::<f64>();
        let logits: Vec<f64> = output.weights.chunks_exact(128).map(logit).collect();
        let normalizer = logits.iter().map(|z| z.exp()).sum::<f64>().ln();
        for &label in labels {
            expected += (normalizer - logits[label as usize]) / (4 * labels.len()) as f64;
        }
        for (row, gradient) in &mut gradient_rows {
            let share = if labels.contains(&(*row as u32)) { 1.0 / labels.len() as f64 } else { 0.0 };
            let dz = ((logits[*row] - normalizer).exp() - share) / 4.0;
            gradient.iter_mut().zip(&h).for_each(|(g, h)| *g += dz * h);
        }
    }

    engine.step(&batch).unwrap();
    let loss = engine.finish().unwrap().loss;
    assert!((loss - expected).abs() < 1e-4 * expected, "loss {loss} instead of {expected}");
    let trained = engine.parameters().unwrap();
    for (row, gradient) in &gradient_rows {
        for (i, g) in gradient.iter().enumerate() {
            // Adam's first step: the rate times g / (|g| + ε/√(1−β2)).
            let moved = 0.01 * g / (g.abs() + 1e-8 / 0.001f64.sqrt());
            let wanted = f64::from(output.weight(i, *row)) - moved;
            let got = f64::from(trained.layers[1].weight(i, *row));
            // Where the gradient is about as small as ε, its rounding shows.
            let slack = if g.abs() < 1e-5 { 2e-4 } else { 1e-5 };
            assert!((got - wanted).abs() < slack, "row {row} input {i}: {got} instead of {wanted}, gradient {g}");
        }
    }
    assert!(engine.memory().device_bytes > 3 * 270_000 * 128 * 4);
}

/// Many steps between two `finish` calls: nothing is lost, and the same batches give the same bits.
#[test]
fn queued_steps_are_deterministic() {
    let shape = shape(60, &[24], 500);
    let training = Training { batch: 16, ..Training::default() };
    let Some(mut engine) = engine(&settings(&shape, &training)) else { return };
    let initial = Parameters::new(&shape, Init::Slide, 3);
    let batches = batches(&shape, &training, false, 12);
    let mut run = || {
        engine.load(&initial).unwrap();
        batches.iter().for_each(|batch| engine.step(batch).unwrap());
        let stats = engine.finish().unwrap();
        assert_eq!(stats.steps, 12);
        assert!(stats.flops > 0.0 && stats.bytes > 0.0 && stats.device_time > std::time::Duration::ZERO);
        (stats.loss, engine.parameters().unwrap())
    };
    let first = run();
    assert_eq!(first, run());
    assert_ne!(first.1, initial);
    assert_eq!(engine.finish().unwrap().steps, 0);
}

/// Equal scores order by the lower label, also across windows and lists; a batch larger than the training batch is
/// predicted in parts.
#[test]
fn ties_go_to_the_lower_label() {
    let shape = shape(4, &[128], 400);
    let training = Training { batch: 5, ..Training::default() };
    let mut settings = settings(&shape, &training);
    settings.options.insert("max-binding-bytes".into(), 70_000.into());
    let Some(mut engine) = engine(&settings) else { return };
    let mut initial = Parameters::new(&shape, Init::Glorot, 3);
    initial.layers[1].weights.fill(0.0);
    initial.layers[1].bias.fill(0.25);
    initial.layers[1].bias[399] = 0.5;
    engine.load(&initial).unwrap();
    let mut batch = Batch::default();
    (0..13).for_each(|b| batch.push_sparse(&[b % 4], &[1.0], &[]));
    let best = engine.predict(&batch, 20).unwrap();
    let expected: Vec<u32> = std::iter::once(399).chain(0..19).collect();
    assert_eq!(best.labels, expected.repeat(13));
    assert_eq!(best.scores[..2], [0.5, 0.25]);
    // A batch without any true label moves nothing and has no loss.
    let mut quiet = Batch::default();
    (0..3).for_each(|b| quiet.push_sparse(&[b], &[1.0], &[]));
    engine.step(&quiet).unwrap();
    assert_eq!(engine.finish().unwrap().loss, 0.0);
    assert_eq!(engine.parameters().unwrap(), initial);
}

#[test]
fn every_shader_validates_without_a_driver() {
    let pipelines = dense_gpu::validate_shaders().unwrap();
    let files = std::fs::read_dir("shaders").unwrap().count();
    assert!(pipelines >= files - 2, "{pipelines} pipelines from {files} files, of which two are preludes");
}

#[test]
fn roofline_is_measured() {
    match dense_gpu::roofline(true) {
        Ok(peak) => {
            for rate in [peak.copy_bytes_per_second, peak.flops_per_second, peak.upload_bytes_per_second] {
                assert!(rate.is_finite() && rate > 1e6, "{peak:?}");
            }
        }
        Err(EngineError::Unavailable(reason)) => eprintln!("skipped: {reason}"),
        Err(e) => panic!("{e}"),
    }
}

#[test]
fn mistakes_are_errors() {
    let shape = shape(4, &[8], 10);
    let training = Training { batch: 2, ..Training::default() };
    for (key, value) in [
        ("tile", "3x3x3"),
        ("precision", "f8"),
        ("average", "often"),
        ("max-binding-bytes", "all"),
        ("speed", "ludicrous"),
    ] {
        let mut wrong = settings(&shape, &training);
        wrong.options.insert(key.into(), value.into());
        assert!(matches!(dense_gpu::build(&wrong), Err(EngineError::Settings(message)) if message.contains(key)));
    }

    let Some(mut engine) = engine(&settings(&shape, &training)) else { return };
    let mut batch = Batch::default();
    batch.push_sparse(&[0], &[1.0], &[1]);
    assert!(matches!(engine.step(&batch), Err(EngineError::Failed(_))), "no parameters yet");
    engine.load(&Parameters::new(&shape, Init::Glorot, 1)).unwrap();
    batch.push_sparse(&[0], &[1.0], &[1]);
    batch.push_sparse(&[0], &[1.0], &[1]);
    assert!(matches!(engine.step(&batch), Err(EngineError::Settings(_))), "three samples for a batch of two");
    for (feature, label) in [(4, 1), (1, 10)] {
        let mut batch = Batch::default();
        batch.push_sparse(&[feature], &[1.0], &[label]);
        assert!(matches!(engine.step(&batch), Err(EngineError::Failed(_))), "feature {feature}, label {label}");
    }
}

/// A software adapter is refused unless allowed, with the remedy; `adapters` lists it as software.
#[test]
fn software_adapters_are_refused() {
    let adapters = dense_gpu::adapters();
    if adapters.is_empty() || adapters.iter().any(|adapter| !adapter.software) {
        eprintln!("skipped: the adapters here are {adapters:?}");
        return;
    }
    let shape = shape(4, &[8], 10);
    let mut settings = settings(&shape, &Training::default());
    settings.allow_software = false;
    match dense_gpu::build(&settings) {
        Err(EngineError::Unavailable(reason)) => {
            assert!(reason.starts_with(&format!("software adapter: {}", adapters[0].name)), "{reason}");
            assert!(reason.contains("--allow-software"));
        }
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("a software adapter was taken for a GPU"),
    }
}

/// Without a Vulkan driver the engine says so. The loader reads its environment, so the check runs in a child.
#[test]
#[cfg(target_os = "linux")]
fn no_driver_is_a_reason_not_a_crash() {
    if std::env::var_os("SLIDEBENCH_CHILD").is_some() {
        assert!(dense_gpu::adapters().is_empty());
        match dense_gpu::build(&settings(&shape(4, &[8], 10), &Training::default())) {
            Err(EngineError::Unavailable(reason)) => {
                assert!(reason.starts_with("no GPU adapter: ") && !reason.contains('\n'), "{reason}");
            }
            Err(e) => panic!("{e}"),
            Ok(_) => panic!("an engine without a driver"),
        }
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "no_driver_is_a_reason_not_a_crash"])
        .envs([("SLIDEBENCH_CHILD", "1"), ("VK_DRIVER_FILES", "/nonexistent"), ("VK_ICD_FILENAMES", "/nonexistent")])
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
}

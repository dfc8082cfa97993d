//! The average of weights that engines predict from where asked for.

mod common;

use common::Problem;
use slidebench::engine::{Engine, EngineError};
use slidebench::network::{Init, Parameters, Rows, Shape};

const STEPS: usize = 11;

/// Two hidden layers, so that the average has one between the first and the last.
fn problem(input_rows: Rows) -> Problem {
    let shape = Shape { inputs: 60, hidden: vec![32, 24], labels: 90 };
    Problem { shape, batch: 16, dense_input: false, input_rows, seed: 11 }
}

/// The average as it is defined, of weights after every second step: of n snapshots the last counts 4/(n + 3), and the
/// others what that leaves. Before the first snapshot, the weights.
fn average(passed: &[Parameters]) -> Vec<f32> {
    let first = if passed.len() == 1 { 0 } else { 1 };
    let mut mean: Vec<f64> = vec![];
    for (n, snapshot) in (1..).zip(passed[first..].iter().step_by(2)) {
        let share = 4.0 / (f64::from(n) + 3.0);
        let values = flat(snapshot);
        mean.resize(values.len(), 0.0);
        mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * (f64::from(value) - *mean));
    }
    mean.into_iter().map(|mean| mean as f32).collect()
}

/// All weights and biases.
fn flat(parameters: &Parameters) -> Vec<f32> {
    parameters.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.bias)).copied().collect()
}

/// The largest difference.
fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn engines_predict_from_the_average_and_train_as_without() {
    // Weights in bf16 are rounded at random, and otherwise where rows that owe steps are settled at other times.
    let row_wise = "shared = true\ncount = 30\ninput-state = \"row-wise\"";
    let packed = format!("{row_wise}\nprecision = \"packed\"");
    for (name, options, input_rows) in [
        ("dense-cpu", "", Rows::Lazy),
        ("dense-cpu", "", Rows::Dense),
        ("sparse-cpu:all", "", Rows::Lazy),
        ("sparse-cpu:all", "", Rows::Dense),
        ("sparse-cpu:uniform", row_wise, Rows::Dense),
        ("sparse-cpu:uniform", &packed, Rows::Lazy),
    ] {
        let (problem, case) = (problem(input_rows), format!("{name}, {options}, {input_rows:?}"));
        let engine = |options: &str| {
            let mut engine = problem.engine(name, options, 2);
            engine.load(&Parameters::new(&problem.shape, Init::Glorot, 5)).unwrap();
            engine
        };
        let averaging = format!("average = 2\n{options}");
        // The last is looked at only in the end: what rows miss until then they must make up for.
        let (mut plain, mut averaged, mut unseen) = (engine(options), engine(&averaging), engine(&averaging));
        let mut passed = vec![];
        for (step, batch) in (1..).zip(problem.batches(STEPS)) {
            plain.step(&batch).unwrap();
            averaged.step(&batch).unwrap();
            unseen.step(&batch).unwrap();
            let (without, with) = (plain.finish().unwrap().loss, averaged.finish().unwrap().loss);
            assert!((with - without).abs() < 1e-5 * without, "{case}, step {step}: loss {with} for {without}");
            passed.push(plain.parameters().unwrap());
            let off = furthest(&average(&passed), &flat(&averaged.parameters().unwrap()));
            assert!(off < 1e-5, "{case}, step {step}: {off} off the average");
        }
        assert!(averaged.memory().host_bytes > plain.memory().host_bytes, "{case}: the average takes memory");
        let mean = averaged.parameters().unwrap();
        let off = furthest(&flat(&unseen.parameters().unwrap()), &flat(&mean));
        assert!(off < 1e-5, "{case}: {off} off where nobody looked");
        let moved = furthest(&flat(&passed[STEPS - 1]), &flat(&mean));
        assert!(moved > 1e-3, "{case}: the average is {moved} from the last weights");
        // A network of those weights predicts the same; in f32, where nothing is rounded anew when they are loaded.
        let mut other = problem.engine("dense-cpu", "", 2);
        other.load(&mean).unwrap();
        let batch = &problem.batches(1)[0];
        let (got, expected) = (averaged.predict(batch, 3).unwrap(), other.predict(batch, 3).unwrap());
        assert_eq!(got.labels, expected.labels, "{case}");
        assert!(got.scores.iter().zip(&expected.scores).all(|(a, b)| (a - b).abs() < 1e-4), "{case}");
        averaged.load(&passed[0]).unwrap();
        let again = averaged.parameters().unwrap();
        assert_eq!(again, plain_after_load(&mut *plain, &passed[0]), "{case}: a load forgets the average");
    }
}

fn plain_after_load(engine: &mut dyn Engine, parameters: &Parameters) -> Parameters {
    engine.load(parameters).unwrap();
    engine.parameters().unwrap()
}

/// Also where matrices lie in windows. Without an adapter it says so and passes; with `SLIDEBENCH_REQUIRE_GPU=1` it fails.
#[test]
fn the_gpu_predicts_from_the_average_and_trains_as_without() {
    for input_rows in [Rows::Lazy, Rows::Dense] {
        let shape = Shape { inputs: 40, hidden: vec![12, 9], labels: 400 };
        let problem = Problem { shape, batch: 16, dense_input: false, input_rows, seed: 11 };
        let engine = |options: &str| problem.build("dense-gpu", &format!("max-binding-bytes = 70_000\n{options}"), 1);
        let mut plain = match engine("") {
            Err(EngineError::Unavailable(reason)) if std::env::var("SLIDEBENCH_REQUIRE_GPU").as_deref() != Ok("1") => {
                eprintln!("skipped: {reason}");
                return;
            }
            engine => engine.unwrap(),
        };
        let (mut averaged, mut other) = (engine("average = 2").unwrap(), engine("").unwrap());
        let initial = Parameters::new(&problem.shape, Init::Glorot, 3);
        plain.load(&initial).unwrap();
        averaged.load(&initial).unwrap();
        let mut passed = vec![];
        for (step, batch) in (1..).zip(problem.batches(STEPS)) {
            let case = format!("{input_rows:?}, step {step}");
            plain.step(&batch).unwrap();
            averaged.step(&batch).unwrap();
            assert_eq!(averaged.finish().unwrap().loss, plain.finish().unwrap().loss, "{case}");
            passed.push(plain.parameters().unwrap());
            let got = averaged.parameters().unwrap();
            let off = furthest(&average(&passed), &flat(&got));
            assert!(off < 1e-6, "{case}: {off} off the average");
            other.load(&got).unwrap();
            let (best, of_these) = (averaged.predict(&batch, 3).unwrap(), other.predict(&batch, 3).unwrap());
            assert_eq!((best.labels, best.scores), (of_these.labels, of_these.scores), "{case}");
        }
        let moved = furthest(&flat(&passed[STEPS - 1]), &flat(&averaged.parameters().unwrap()));
        assert!(moved > 1e-3, "{input_rows:?}: the average is {moved} from the last weights");
    }
}

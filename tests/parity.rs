//! Every engine that computes all neurons follows the f64 reference, step by step.

mod common;

use common::Problem;
use slidebench::data::Batch;
use slidebench::engine::Engine;
use slidebench::network::{Init, Parameters, Rows, Shape};

/// Engines held to the reference, with the options each is tried with. One line an engine.
const CONTESTANTS: &[(&str, &[&str])] = &[
    (
        "dense-cpu",
        &[
            "",
            "block = 7\nlogits-budget-mib = 0",
            "block = 1",
            "block = 64\nlogits-budget-mib = 0",
            "precision = \"bf16x3\"\nblock = 32\nlogits-budget-mib = 0",
            "precision = \"bf16x3\"\nlogits-budget-mib = 64",
        ],
    ),
    (
        "sparse-cpu:all",
        &[
            "",
            "output-rows = \"dense\"",
            "sums = \"atomic\"",
            "hidden = { selection = \"lsh\", hashed = { fill = \"independent\", floor = 1000000 } }",
        ],
    ),
    // So many draws that every neuron is among them.
    ("sparse-cpu:uniform", &["shared = true\ncount = 100000"]),
    // The fill reaches every neuron.
    ("lsh-cpu", &["hashed = { fill = \"independent\", floor = 1000000 }"]),
];

const STEPS: usize = 20;

fn problem(inputs: usize, hidden: &[usize], labels: usize, dense_input: bool, input_rows: Rows) -> Problem {
    let shape = Shape { inputs, hidden: hidden.to_vec(), labels };
    Problem { shape, batch: 23, dense_input, input_rows, seed: 7 }
}

/// Widths that are no multiple of any tile, one to three hidden layers, both kinds of input and of input rows.
fn problems() -> Vec<Problem> {
    vec![
        problem(37, &[19], 301, false, Rows::Lazy),
        problem(37, &[130], 301, false, Rows::Dense),
        problem(37, &[19], 301, true, Rows::Lazy),
        problem(211, &[130, 19], 97, false, Rows::Lazy),
        problem(37, &[19, 33], 301, true, Rows::Dense),
        problem(37, &[19, 33, 21], 65, false, Rows::Dense),
        problem(53, &[40, 19, 130], 301, true, Rows::Lazy),
        problem(1, &[1], 2, false, Rows::Lazy),
    ]
}

/// The loss of each of the first steps.
fn losses(engine: &mut dyn Engine, problem: &Problem) -> Vec<f64> {
    engine.load(&Parameters::new(&problem.shape, Init::Glorot, 5)).unwrap();
    let mut losses = Vec::new();
    for batch in problem.batches(STEPS) {
        engine.step(&batch).unwrap();
        losses.push(engine.finish().unwrap().loss);
    }
    losses
}

#[test]
fn losses_follow_the_reference() {
    for problem in problems() {
        let expected = losses(problem.engine("reference", "", 1).as_mut(), &problem);
        assert!(expected.iter().all(|loss| loss.is_finite() && *loss > 0.0), "{problem:?}: {expected:?}");
        for (name, variants) in CONTESTANTS {
            for options in *variants {
                for threads in [1, 2] {
                    let found = losses(problem.engine(name, options, threads).as_mut(), &problem);
                    for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!(
                            (found - expected).abs() <= 1e-4 * expected,
                            "{name} ({options}), {threads} threads, {problem:?}, step {step}: {found} for {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn parameters_and_predictions_follow_the_reference() {
    for problem in problems() {
        let evaluation = Problem { seed: 99, ..problem.clone() }.batches(1).remove(0);
        let mut reference = problem.engine("reference", "", 1);
        losses(reference.as_mut(), &problem);
        let expected = (reference.parameters().unwrap(), reference.predict(&evaluation, 5).unwrap());
        for (name, variants) in CONTESTANTS {
            for options in *variants {
                let mut engine = problem.engine(name, options, 2);
                losses(engine.as_mut(), &problem);
                let (parameters, top) = (engine.parameters().unwrap(), engine.predict(&evaluation, 5).unwrap());
                for (index, (found, expected)) in parameters.layers.iter().zip(&expected.0.layers).enumerate() {
                    assert_eq!(
                        (found.inputs, found.outputs, found.order),
                        (expected.inputs, expected.outputs, expected.order)
                    );
                    let error = relative_error(&found.weights, &expected.weights);
                    let bias_error = relative_error(&found.bias, &expected.bias);
                    assert!(
                        error < 1e-3 && bias_error < 1e-2,
                        "{name} ({options}), {problem:?}, layer {index}: {error}, {bias_error}"
                    );
                }
                assert_eq!((top.k, top.labels.len()), (expected.1.k, expected.1.labels.len()));
                for (found, expected) in top.scores.iter().zip(&expected.1.scores) {
                    assert!(
                        (found - expected).abs() < 2e-3 * expected.abs().max(1.0),
                        "{name} ({options}), {problem:?}"
                    );
                }
                let same = top.labels.iter().zip(&expected.1.labels).filter(|(a, b)| a == b).count();
                assert!(same * 100 >= top.labels.len() * 95, "{name} ({options}): {same} of {}", top.labels.len());
            }
        }
    }
}

/// ‖a − b‖ / ‖b‖.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b))).max(1e-12)
}

/// Plain gradient descent above the first layer is that of the sparse engine with every neuron active.
#[test]
fn gradient_descent_is_the_same_in_both_cpu_engines() {
    let problem = problem(37, &[19], 301, false, Rows::Dense);
    let initial = Parameters::new(&problem.shape, Init::Glorot, 5);
    let batch = problem.batches(1).remove(0);
    let output = |name: &str, options: &str| {
        let mut engine = problem.engine(name, options, 2);
        engine.load(&initial).unwrap();
        engine.step(&batch).unwrap();
        engine.finish().unwrap();
        let moved = engine.parameters().unwrap().layers.remove(1);
        let before = &initial.layers[1];
        let by = |now: &[f32], then: &[f32]| now.iter().zip(then).map(|(a, b)| a - b).collect::<Vec<_>>();
        (by(&moved.weights, &before.weights), by(&moved.bias, &before.bias))
    };
    let (found, expected) =
        (output("dense-cpu", "optimiser = \"sgd\""), output("sparse-cpu:all", "optimiser = \"sgd\""));
    assert!(expected.0.iter().any(|step| *step != 0.0));
    assert!(relative_error(&found.0, &expected.0) < 1e-3 && relative_error(&found.1, &expected.1) < 1e-3);
    assert!(relative_error(&found.0, &output("dense-cpu", "").0) > 0.5, "Adam steps otherwise");
}

/// Products in bf16 follow the same path within what bf16 (8 bits of mantissa) loses.
#[test]
fn bf16_stays_near_the_reference() {
    for problem in problems() {
        let expected = losses(problem.engine("reference", "", 1).as_mut(), &problem);
        for (block, budget) in [(32, 0), (32, 64), (128, 64)] {
            let options = format!("precision = \"bf16\"\nblock = {block}\nlogits-budget-mib = {budget}");
            let found = losses(problem.engine("dense-cpu", &options, 2).as_mut(), &problem);
            for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (found - expected).abs() / expected;
                assert!(error < 1e-2, "{problem:?}, step {step}: {found} for {expected}");
            }
            assert_ne!(found, expected);
        }
    }
}

/// Weights and moments stored in fewer bytes: no nearer than their bits allow, no further, and in less memory.
#[test]
fn storage_in_bf16_stays_near_the_reference_in_less_memory() {
    // Of two labels, too little hangs on a weight to show.
    for problem in problems().into_iter().filter(|problem| problem.shape.labels > 2) {
        let expected = losses(problem.engine("reference", "", 1).as_mut(), &problem);
        let run = |storage: &str| {
            let options = format!("block = 32\nprecision = \"bf16\"\nstorage = \"{storage}\"");
            let mut engine = problem.engine("dense-cpu", &options, 2);
            let losses = losses(engine.as_mut(), &problem);
            (losses, engine.memory().host_bytes)
        };
        let (of_f32, most) = run("f32");
        for storage in ["packed-moments", "bf16-weights", "packed"] {
            let (found, bytes) = run(storage);
            let error = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / b).fold(0.0, f64::max);
            assert!(error < 2e-2, "{problem:?}, {storage}: {error}");
            assert!(found != of_f32 && bytes < most, "{problem:?}, {storage}: {bytes} of {most} bytes");
        }
    }
}

/// The low parts carry what bf16 loses: were any of them dropped, this would be no nearer than bf16 is.
#[test]
fn three_products_of_bf16_are_far_nearer_than_one() {
    for problem in problems().into_iter().take(7) {
        let expected = losses(problem.engine("reference", "", 1).as_mut(), &problem);
        let [one, three] = ["bf16", "bf16x3"].map(|precision| {
            let options = format!("precision = \"{precision}\"\nblock = 32");
            let found = losses(problem.engine("dense-cpu", &options, 2).as_mut(), &problem);
            found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs() / expected).fold(0.0, f64::max)
        });
        assert!(three < one / 20.0, "{problem:?}: {three} and {one}");
    }
}

#[test]
fn dense_cpu_gives_the_same_bits_on_any_number_of_threads() {
    for problem in problems() {
        for options in [
            "block = 3",
            "block = 3\nlogits-budget-mib = 0",
            "block = 32\nprecision = \"bf16\"",
            "block = 32\nprecision = \"bf16x3\"",
            "block = 32\nprecision = \"bf16\"\nstorage = \"packed\"",
        ] {
            let trained = |threads| {
                let mut engine = problem.engine("dense-cpu", options, threads);
                let losses = losses(engine.as_mut(), &problem);
                (losses, engine.parameters().unwrap())
            };
            let one = trained(1);
            assert!(one == trained(2), "{problem:?}");
            assert!(one == trained(5), "{problem:?}");
        }
    }
}

#[test]
fn batches_handed_in_train_as_steps_do() {
    let problem = &problems()[0];
    for name in ["reference", "dense-cpu", "lsh-cpu", "sparse-cpu:best"] {
        for threads in [1, 2] {
            let mut engine = problem.engine(name, "", threads);
            losses(engine.as_mut(), problem);
            let expected = engine.parameters().unwrap();
            engine.load(&Parameters::new(&problem.shape, Init::Glorot, 5)).unwrap();
            let mut left = problem.batches(STEPS).into_iter();
            let mut next = |batch: &mut Batch| left.next().map(|next| *batch = next).is_some();
            engine.steps(&mut Batch::default(), &mut next).unwrap();
            let stats = engine.finish().unwrap();
            assert_eq!(stats.steps, STEPS as u64, "{name}");
            assert!(engine.parameters().unwrap() == expected, "{name} on {threads} threads");
        }
    }
}

#[test]
fn loading_forgets_the_state() {
    let problem = &problems()[0];
    let mut engine = problem.engine("dense-cpu", "", 1);
    let first = losses(engine.as_mut(), problem);
    assert_eq!(first, losses(engine.as_mut(), problem));
}

#[test]
fn options_that_do_not_go_together_or_do_not_exist_are_refused_by_name() {
    for (name, options, named) in [
        ("dense-cpu", "blocks = 4", "blocks"),
        ("reference", "blocks = 4", "blocks"),
        ("dense-cpu", "storage = \"packed\"", "storage"),
        ("dense-cpu", "storage = \"packed-moments\"\noptimiser = \"sgd\"", "optimiser"),
        ("dense-cpu", "block = 7\nprecision = \"bf16x3\"", "block"),
    ] {
        let problem = &problems()[0];
        let settings = slidebench::engine::EngineSettings {
            shape: problem.shape.clone(),
            training: problem.training(),
            options: options.parse().unwrap(),
            threads: 1,
            allow_software: false,
            seed: 0,
            label_rows: Default::default(),
        };
        let Err(error) = (slidebench::engine::find(name).unwrap().build)(&settings) else {
            panic!("{name} took {options}")
        };
        assert!(error.to_string().contains(named), "{error}");
    }
}

//! Every option of the sparse engine, each in a test that fails if the option does nothing.

mod common;

use common::Problem;
use slidebench::engine::reference::Network;
use slidebench::engine::{Engine, EngineSettings, StepStats, find};
use slidebench::network::{Init, Parameters, Rows, Shape, Training};

const STEPS: usize = 6;

/// One hidden layer, sparse input, far more labels than a sample's active set.
fn problem() -> Problem {
    let shape = Shape { inputs: 60, hidden: vec![32], labels: 600 };
    Problem { shape, batch: 16, dense_input: false, input_rows: Rows::Lazy, seed: 11 }
}

fn initial(problem: &Problem) -> Parameters {
    Parameters::new(&problem.shape, Init::Glorot, 5)
}

/// What a training run leaves behind.
struct Run {
    losses: Vec<f64>,
    parameters: Parameters,
    stats: StepStats,
    engine: Box<dyn Engine>,
}

fn train_on(problem: &Problem, name: &str, options: &str, threads: usize, steps: usize) -> Run {
    let mut engine = problem.engine(name, options, threads);
    engine.load(&initial(problem)).unwrap();
    let (mut losses, mut stats) = (vec![], StepStats::default());
    for batch in problem.batches(steps) {
        engine.step(&batch).unwrap();
        stats = engine.finish().unwrap();
        losses.push(stats.loss);
    }
    Run { losses, parameters: engine.parameters().unwrap(), stats, engine }
}

fn train(name: &str, options: &str) -> Run {
    train_on(&problem(), name, options, 2, STEPS)
}

fn refusal(name: &str, options: &str) -> String {
    let problem = problem();
    let settings = EngineSettings {
        shape: problem.shape.clone(),
        training: problem.training(),
        options: options.parse().unwrap(),
        threads: 1,
        allow_software: false,
        seed: 0,
        label_shares: vec![].into(),
    };
    match (find(name).unwrap().build)(&settings) {
        Ok(_) => panic!("{name} took {options}"),
        Err(error) => error.to_string(),
    }
}

/// ‖a − b‖ / ‖b − start‖ over all weights: how far apart two runs are, next to how far training went.
fn distance(a: &Parameters, b: &Parameters, start: &Parameters) -> f64 {
    let norm = |a: &Parameters, b: &Parameters| {
        let squares = a.layers.iter().zip(&b.layers).flat_map(|(a, b)| {
            let weights = a.weights.iter().chain(&a.bias).zip(b.weights.iter().chain(&b.bias));
            weights.map(|(a, b)| f64::from(a - b).powi(2)).collect::<Vec<_>>()
        });
        squares.sum::<f64>().sqrt()
    };
    norm(a, b) / norm(b, start)
}

// Optimisers and rows.

/// Trains with gradients in f64 and `step(t, w, m, v, g)`, weight by weight.
fn by_hand(problem: &Problem, steps: usize, step: impl Fn(u64, &mut f64, &mut f64, &mut f64, f64)) -> Network {
    let mut network = Network::new(&initial(problem));
    let zeros = |network: &Network| -> Vec<[Vec<f64>; 2]> {
        network.layers.iter().map(|l| [vec![0.0; l.weights.len()], vec![0.0; l.bias.len()]]).collect()
    };
    let (mut m, mut v) = (zeros(&network), zeros(&network));
    for (t, batch) in problem.batches(steps).iter().enumerate() {
        let (_, gradients) = network.loss_and_gradients(batch);
        for (index, (layer, gradient)) in network.layers.iter_mut().zip(&gradients).enumerate() {
            for (part, (w, g)) in
                [(&mut layer.weights, &gradient.weights), (&mut layer.bias, &gradient.bias)].into_iter().enumerate()
            {
                for (i, (w, g)) in w.iter_mut().zip(g).enumerate() {
                    step(t as u64 + 1, w, &mut m[index][part][i], &mut v[index][part][i], *g);
                }
            }
        }
    }
    network
}

fn assert_near(found: &Parameters, expected: &Network, start: &Parameters, what: &str) {
    let mut parameters = start.clone();
    for (layer, tensors) in parameters.layers.iter_mut().zip(&expected.layers) {
        layer.weights = tensors.weights.iter().map(|&w| w as f32).collect();
        layer.bias = tensors.bias.iter().map(|&b| b as f32).collect();
    }
    let distance = distance(found, &parameters, start);
    assert!(distance < 1e-3, "{what}: {distance}");
}

/// The optimisers with every neuron active, against f64 by hand; once by pairs and once by a shared set.
#[test]
fn optimisers_equal_hand_computation() {
    let problem = Problem { input_rows: Rows::Dense, ..problem() };
    let training = problem.training();
    let (rate, epsilon) = (f64::from(training.learning_rate), f64::from(training.epsilon));
    let sgd = by_hand(&problem, STEPS, |_, w, _, _, g| *w -= rate * g);
    let adagrad = |momentum: f64| {
        by_hand(&problem, STEPS, move |_, w, m, v, g| {
            *v += g * g;
            *m = momentum * *m + g / (v.sqrt() + epsilon);
            *w -= rate * *m;
        })
    };
    let (half, most) = (adagrad(0.5), adagrad(0.75));
    let start = initial(&problem);
    for (name, all) in [("sparse-cpu:all", ""), ("sparse-cpu:uniform", "shared = true\ncount = 100000\n")] {
        for (options, expected) in [
            ("optimiser = \"sgd\"", &sgd),
            ("optimiser = \"adagrad\"", &half),
            ("optimiser = \"adagrad\"\nmomentum = 0.75", &most),
        ] {
            let run = train_on(&problem, name, &format!("{all}{options}"), 2, STEPS);
            assert_near(&run.parameters, expected, &start, &format!("{name} {options}"));
        }
    }
    let adam = train_on(&problem, "sparse-cpu:all", "", 2, STEPS);
    let sgd = train_on(&problem, "sparse-cpu:all", "optimiser = \"sgd\"", 2, STEPS);
    assert!(distance(&adam.parameters, &sgd.parameters, &start) > 0.5);
}

/// A row active in step 1 and not in step 2 stays where it is if lazy; if dense, its moments decay and it moves on by
/// Δ₁·(rate₂·β₁)/(rate₁·√β₂), because Δ₁ is a full step of lr wherever ε is nothing next to the gradient.
#[test]
fn dense_rows_move_on_as_adam_says() {
    let problem = problem();
    let Training { beta1, beta2, learning_rate, .. } = problem.training();
    let rate = |t| f64::from(problem.training().adam_step(t).rate);
    let factor = rate(2) * f64::from(beta1) / (rate(1) * f64::from(beta2).sqrt());
    for sets in ["count = 40", "count = 40\nshared = true", "count = 40\nshared = true\nprecision = \"packed-moments\""]
    {
        let after = |rows: &str, steps| {
            let options = format!("{sets}\noutput-rows = \"{rows}\"");
            train_on(&problem, "sparse-cpu:uniform", &options, 2, steps).parameters.layers.pop().unwrap()
        };
        let (start, first) = (initial(&problem).layers.pop().unwrap(), after("dense", 1));
        assert_eq!(first, after("lazy", 1), "rows without moments stay");
        let (lazy, dense) = (after("lazy", 2), after("dense", 2));
        let tolerance = if sets.contains("packed") { 2e-2 } else { 1e-3 };
        let mut seen = 0;
        for i in 0..start.weights.len() {
            let before = f64::from(first.weights[i] - start.weights[i]);
            if lazy.weights[i] == first.weights[i] && before.abs() > 0.99 * f64::from(learning_rate) {
                let moved = f64::from(dense.weights[i] - first.weights[i]);
                assert!((moved / (before * factor) - 1.0).abs() < tolerance, "{sets}: {moved}, {before}, {factor}");
                seen += 1;
            }
        }
        assert!(seen > 1000, "{sets}: {seen}");
    }
}

// Presets.

#[test]
fn presets_are_the_options_they_name() {
    // Batches of 16: a rehash every 400 steps.
    let slide = "output-rows = \"dense\"\n[hashed]\nfill = \"repeating\"\nfloor = 1000\nfill-below = 1500\n\
                 [hashed.lsh]\nbits = 6\ntables = 50\nrebuild = { every = 400, redraw = 20 }";
    let best = "shared = true\ncount = 3000\ncorrect = true\nproducts = \"bf16\"\nprecision = \"packed-moments\"";
    for (name, preset, other, spelled) in [
        ("lsh-cpu", "preset = \"slide-2020\"", "lsh-cpu", slide.to_string()),
        ("lsh-cpu", "preset = \"slide-2021\"", "lsh-cpu", slide.replace("50\n", "1024\n")),
        ("sparse-cpu:best", "", "sparse-cpu:uniform", best.to_string()),
    ] {
        // Enough labels that neither the floor nor the draws reach them all.
        let shape = Shape { inputs: 60, hidden: vec![32], labels: 9000 };
        let problem = Problem { shape, ..problem() };
        let preset = train_on(&problem, name, preset, 2, 2);
        let spelled = train_on(&problem, other, &spelled, 2, 2);
        assert_eq!(preset.losses, spelled.losses, "{name}");
        assert_eq!(preset.parameters, spelled.parameters, "{name}");
        assert_eq!(preset.stats.active, spelled.stats.active, "{name}");
    }
}

#[test]
fn options_override_their_preset() {
    let tables = |options: &str| {
        let run = train("lsh-cpu", options);
        let notes = run.engine.describe().notes;
        notes.iter().find(|(key, _)| key == "hash").unwrap().1.clone()
    };
    assert_eq!(tables("preset = \"slide-2020\""), "Dwta K=6 T=50");
    assert_eq!(tables("preset = \"slide-2020\"\nhashed = { lsh = { tables = 7 } }"), "Dwta K=6 T=7");
    assert_eq!(tables("preset = \"slide-2021\""), "Dwta K=6 T=1024");
    let count = |options: &str| train("sparse-cpu:best", options).stats.active.unwrap().mean;
    assert!(count("count = 10") < count(""));
    assert!(refusal("sparse-cpu:uniform", "preset = \"slide-2020\"").contains("lsh-cpu"));
    assert!(refusal("lsh-cpu", "preset = \"best\"").contains("sparse-cpu:best"));
    assert!(refusal("lsh-cpu", "preset = \"slide-2019\"").contains("slide-2020"));
}

// Gradient sums.

#[test]
fn gradient_sums_agree_where_nothing_races() {
    let problem = Problem { shape: Shape { inputs: 60, hidden: vec![32, 24], labels: 600 }, ..problem() };
    let start = initial(&problem);
    for rest in ["count = 60", "count = 60\noutput-rows = \"dense\"", "count = 60\nprecision = \"packed-moments\""] {
        let run = |sums: &str, threads| {
            train_on(&problem, "sparse-cpu:uniform", &format!("{rest}\nsums = \"{sums}\""), threads, STEPS)
        };
        let (exact, atomic, racy) = (run("deterministic", 1), run("atomic", 1), run("racy", 1));
        let tolerance = if rest.contains("packed") { 3e-2 } else { 1e-3 };
        assert_eq!(atomic.parameters, racy.parameters, "one thread loses nothing");
        assert_ne!(atomic.parameters, exact.parameters, "the order of the sums differs");
        for (what, other) in [("atomic", &atomic), ("atomic, three threads", &run("atomic", 3))] {
            let distance = distance(&other.parameters, &exact.parameters, &start);
            assert!(distance < tolerance, "{rest}, {what}: {distance}");
        }
        assert_eq!(run("deterministic", 3).parameters, exact.parameters);
    }
}

#[test]
fn lost_additions_are_told() {
    let told = |sums: &str, threads| {
        let options = format!("sums = \"{sums}\"");
        let run = train_on(&problem(), "sparse-cpu:all", &options, threads, STEPS);
        assert!(run.losses.iter().all(|loss| loss.is_finite()));
        let notes = run.engine.describe().notes;
        notes.into_iter().find(|(key, _)| key == "lost gradient additions").map(|(_, value)| value)
    };
    assert_eq!(told("deterministic", 2), None);
    let samples: usize = problem().batches(STEPS).iter().map(|batch| batch.len()).sum();
    let entries: usize = problem().batches(STEPS).iter().map(|batch| non_zeros(batch)).sum();
    let none = format!("0 of {}", 600 * samples + entries);
    assert_eq!(told("racy", 1).as_ref(), Some(&none));
    assert_eq!(told("atomic", 3).as_ref(), Some(&none));
    assert!(told("racy", 3).unwrap().ends_with(&none[1..]));
    assert!(refusal("sparse-cpu:uniform", "shared = true\nsums = \"racy\"").contains("sums"));
}

fn non_zeros(batch: &slidebench::data::Batch) -> usize {
    match &batch.inputs {
        slidebench::data::Inputs::Sparse { indices, .. } => indices.len(),
        slidebench::data::Inputs::Dense { values, .. } => values.len(),
    }
}

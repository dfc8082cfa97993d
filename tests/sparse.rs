//! Every option of the sparse engine, each in a test that fails if the option does nothing.

mod common;

use common::{Problem, label_lists};
use rand::SeedableRng;
use rand::seq::index::sample;
use rand_pcg::Pcg64Mcg;
use slidebench::data::{Batch, Input, LabelLists};
use slidebench::engine::reference::Network;
use slidebench::engine::{Engine, EngineSettings, StepStats, find};
use slidebench::kernels::memory::{Buffer, HugePages};
use slidebench::network::{Init, Parameters, Rows, Shape, Training};
use std::sync::Arc;

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

/// For engines of `problem` whose training rows have these labels.
fn settings(problem: &Problem, options: &str, label_rows: Arc<LabelLists>) -> EngineSettings {
    EngineSettings {
        shape: problem.shape.clone(),
        training: problem.training(),
        options: options.parse().unwrap(),
        threads: 2,
        allow_software: false,
        seed: 0,
        label_rows,
    }
}

fn refusal(name: &str, options: &str) -> String {
    let settings = settings(&problem(), options, Arc::default());
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
    for (name, all) in [("sparse-cpu:all", ""), ("sparse-cpu:all", "shared = true\n")] {
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
    let best = "shared = true\ncount = 4500\ncount-per-label = 0.34\nlabels = 64\ncorrect = true\nbackward = 300\nproducts = \"bf16\"\n\
                precision = \"packed\"\ninput-state = \"row-wise\"\naverage = 48";
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
        assert_eq!(preset.engine.describe().notes, spelled.engine.describe().notes, "{name}");
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
    assert!(count("count = 10\nfloor = 0") < count(""));
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
    let entries: usize = problem().batches(STEPS).iter().map(non_zeros).sum();
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

// Hashed hidden layers. That they equal the reference where every neuron is found is in tests/parity.rs.

#[test]
fn hidden_layers_skip_neurons_and_learn() {
    let problem = Problem { shape: Shape { inputs: 60, hidden: vec![32, 64], labels: 50 }, ..problem() };
    let epochs = |hidden: &str| {
        let mut engine = problem.engine("sparse-cpu:all", hidden, 2);
        engine.load(&initial(&problem)).unwrap();
        let (mut losses, mut flops) = (vec![], 0.0);
        for _ in 0..25 {
            problem.batches(4).iter().for_each(|batch| engine.step(batch).unwrap());
            let stats = engine.finish().unwrap();
            losses.push(stats.loss);
            flops += stats.flops;
        }
        (losses, flops)
    };
    let (_, every) = epochs("");
    let lsh = "hidden = { selection = \"lsh\", hashed = { lsh = { family = \"simhash\", bits = 3, tables = 2 } } }";
    for hidden in
        [lsh, "hidden = { selection = \"uniform\", count = 16 }", "hidden = { selection = \"top-k\", count = 16 }"]
    {
        let (losses, flops) = epochs(hidden);
        assert!(flops < 0.9 * every, "{hidden}: {flops} of {every}");
        assert!(losses[24] < 0.9 * losses[0], "{hidden}: {losses:?}");
    }
    // How many computed is counted: a count, or what the tables yield, of 64; where all do, nothing.
    let hidden_active = |hidden: &str| train_on(&problem, "sparse-cpu:all", hidden, 2, 3).stats.active.unwrap().hidden;
    assert_eq!(hidden_active("hidden = { selection = \"top-k\", count = 16 }"), Some(16.0));
    assert_eq!(hidden_active(""), None);
    let retrieved = hidden_active(lsh).unwrap();
    assert!((1.0..64.0).contains(&retrieved), "{retrieved}");
    // Two hidden neurons a sample leave the output layer, all of which computes, at most 2 of 64 products.
    let (_, few) = epochs("hidden = { selection = \"top-k\", count = 2 }");
    assert!(few < 0.4 * every, "{few} of {every}");
    let (_, fewer) = epochs("hidden = { selection = \"top-k\", count = 4 }");
    assert!(fewer < epochs("hidden = { selection = \"top-k\", count = 16 }").1);
    assert!(refusal("sparse-cpu:all", "hidden = { selection = \"frequency\" }").contains("frequency"));
}

// Instruments.

#[test]
fn recall_is_sampled() {
    let recall =
        |name: &str, options: &str, steps| train_on(&problem(), name, options, 2, steps).stats.active.unwrap().recall;
    assert_eq!(recall("sparse-cpu:all", "", 1), None);
    assert_eq!(recall("sparse-cpu:all", "recall-every = 4", 5), Some(1.0));
    assert_eq!(recall("sparse-cpu:all", "recall-every = 4", 4), None, "steps 0 and 4 are looked at");
    assert_eq!(recall("sparse-cpu:top-k", "count = 10\nrecall-every = 1", 3), Some(1.0));
    let half = recall("sparse-cpu:top-k", "count = 10\nrecall-at = 20\nrecall-every = 1", 3).unwrap();
    assert!((0.45..0.55).contains(&half), "{half}");
    for shared in ["", "shared = true\n"] {
        // 60 draws of 600.
        let tenth = recall("sparse-cpu:uniform", &format!("{shared}count = 60\nrecall-every = 1"), 3).unwrap();
        assert!((0.01..0.3).contains(&tenth), "{shared}{tenth}");
    }
}

/// "n of m MiB".
fn huge_mib(options: &str) -> Option<u64> {
    let problem = Problem { shape: Shape { inputs: 60, hidden: vec![64], labels: 40_000 }, ..problem() };
    let mut engine = problem.engine("sparse-cpu:uniform", options, 2);
    engine.load(&initial(&problem)).unwrap();
    let notes = engine.describe().notes;
    let note = notes.iter().find(|(key, _)| key == "huge pages")?;
    note.1.split(' ').next().unwrap().parse().ok()
}

#[test]
fn huge_pages_are_asked_for_and_reported() {
    let mut probe = Buffer::<f32>::zeroed(4 << 20, HugePages::Ask).unwrap();
    probe.prefault();
    match probe.huge_bytes() {
        None => assert_eq!(huge_mib(""), None),
        Some(granted) => {
            assert_eq!(huge_mib("huge-pages = \"never\""), Some(0));
            assert_eq!(huge_mib("").unwrap() > 0, granted > 0);
        }
    }
}

/// What an engine computes with in a bf16 step of a shared set, and every bit it leaves behind.
fn fingerprint(options: &str) -> String {
    let run = train("sparse-cpu:best", options);
    let notes = run.engine.describe().notes;
    let kernels = &notes.iter().find(|(key, _)| key == "kernels").unwrap().1;
    let bits = run.parameters.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.bias));
    format!("{kernels} {:x}", bits.fold(0u64, |hash, w| hash.rotate_left(5).wrapping_mul(31) ^ u64::from(w.to_bits())))
}

/// Run by the test below in a process of its own.
#[test]
#[ignore = "needs SLIDEBENCH_SIMD"]
fn with_kernels_of_the_environment() {
    println!("fingerprint: {};", fingerprint(""));
}

#[test]
fn an_engine_s_kernels_are_those_a_process_can_be_forced_to() {
    let mut seen = std::collections::BTreeSet::new();
    for set in slidebench::kernels::all_supported() {
        let own = fingerprint(&format!("simd = {:?}", set.name));
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "with_kernels_of_the_environment", "--nocapture"])
            .env("SLIDEBENCH_SIMD", set.name)
            .output()
            .unwrap();
        let forced = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(own.starts_with(set.name) && forced.contains(&format!("fingerprint: {own};")), "{own}: {forced}");
        seen.insert(own);
    }
    assert_eq!(seen.len(), slidebench::kernels::all_supported().len(), "sets round differently");
    assert!(refusal("lsh-cpu", "simd = \"sse9\"").contains("sse9 is not a kernel set; choose one of"));
}

// Selections.

/// A few wide tables over the 600 labels; further settings of `[hashed]` and `[hashed.lsh]`.
fn hashed(selection: &str, lsh: &str) -> Run {
    let tables = if lsh.contains("bits") { "" } else { "bits = 4\ntables = 8\n" };
    let family = if lsh.contains("family") { "" } else { "family = \"simhash\"\n" };
    train("lsh-cpu", &format!("[hashed]\n{selection}\n[hashed.lsh]\n{family}{tables}{lsh}"))
}

fn active(run: &Run) -> slidebench::engine::ActiveStats {
    run.stats.active.unwrap()
}

#[test]
fn retrieval_decides_what_becomes_active() {
    let union = hashed("", "");
    assert!(active(&union).selected > 50.0 && active(&union).selected < 500.0);
    assert!(active(&union).candidates > active(&union).selected);
    let vanilla = |limit| active(&hashed(&format!("retrieve = \"vanilla\"\nlimit = {limit}"), ""));
    assert!(vanilla(20).candidates < 0.6 * active(&union).candidates);
    assert!(vanilla(20).selected < vanilla(100).selected);
    let top = |limit| active(&hashed(&format!("retrieve = \"top-k\"\nlimit = {limit}"), ""));
    assert!(top(20).selected <= 20.0 && top(20).selected > 10.0);
    assert!(top(40).selected > top(20).selected);
    assert!(top(20).candidates > 0.9 * active(&union).candidates, "all buckets are read");
    let threshold = |threshold| hashed(&format!("retrieve = \"threshold\"\nthreshold = {threshold}"), "");
    assert_eq!(threshold(1).losses, union.losses);
    assert!(active(&threshold(2)).selected < 0.8 * active(&union).selected);
    assert!(active(&threshold(3)).selected < active(&threshold(2)).selected);
}

#[test]
fn fill_tops_up_to_the_floor() {
    let fill = |rest: &str| hashed(rest, "bits = 7\ntables = 2");
    let (off, independent) = (fill(""), fill("fill = \"independent\"\nfloor = 100"));
    let repeating = fill("fill = \"repeating\"\nfloor = 100");
    assert_eq!((active(&off).fill, active(&off).p5 < 50.0), (0.0, true));
    for run in [&independent, &repeating] {
        assert_eq!((active(run).p5, active(run).p95), (100.0, 100.0));
        assert!(active(run).fill > 50.0);
    }
    assert!(active(&repeating).distinct < 0.7 * active(&independent).distinct, "samples share their fill");
    assert_eq!(active(&fill("fill = \"independent\"\nfloor = 70")).p95, 70.0);
    assert_eq!(fill("fill = \"independent\"\nfloor = 100\nfill-below = 1").losses, off.losses);
    assert_eq!(fill("fill = \"independent\"\nfloor = 100\nfill-below = 100").losses, independent.losses);
    let period = |steps: u64| fill(&format!("fill = \"repeating\"\nfloor = 100\nfill-period = {steps}")).losses;
    assert_eq!(period(5), repeating.losses);
    assert_eq!(period(1)[0], period(9)[0]);
    assert_ne!(period(1), period(9));
}

/// Every setting of hash functions, tables and rebuilds reaches the engine: it changes what is learned.
#[test]
fn hashing_options_change_the_run() {
    let wta = "family = \"dwta\"\nbits = 2\ntables = 4\n";
    let minhash = "family = \"minhash\"\nbits = 1\ntables = 4\n";
    let often = "rebuild = { every = 2, redraw = 0 }";
    for (one, other) in [
        ("", "bits = 3\ntables = 8"),
        ("", "bits = 4\ntables = 9"),
        ("", "sparsity = 1"),
        ("", "capacity = 8"),
        ("capacity = 8", "capacity = 8\ninsertion = \"reservoir\""),
        ("", "family = \"mips\""),
        ("", often),
        (often, "rebuild = { every = 2, redraw = 1 }"),
        ("family = \"wta\"\nbits = 2\ntables = 4", "family = \"minhash\"\nbits = 2\ntables = 4"),
        (wta, &format!("{wta}bin = 4")),
        (wta, &format!("{wta}packing = \"exact\"")),
        (minhash, &format!("{minhash}top = 5")),
        (minhash, &format!("{minhash}range = 3")),
    ] {
        assert_ne!(hashed("", one).losses, hashed("", other).losses, "{one} | {other}");
    }
    let selected = |lsh: &str| active(&hashed("", lsh)).selected;
    assert!(selected("probes = 3") > 1.2 * selected(""), "more probes find more");
    let packing = |kind: &str| selected(&format!("family = \"dwta\"\nbits = 3\ntables = 4\npacking = \"{kind}\""));
    assert!(packing("released") > 1.2 * packing("exact"), "overlapping codes fill fewer buckets");
    let (full, kept) = (hashed("", often), hashed("", &format!("incremental = true\n{often}")));
    assert_eq!(full.losses, kept.losses, "corrected projections are those of a full rehash");
    assert!(kept.engine.memory().host_bytes > full.engine.memory().host_bytes);
}

#[test]
fn schedules_rebuild_when_they_say() {
    let rebuilds = |rebuild: &str| {
        let run = hashed("", &format!("rebuild = {{ {rebuild} }}"));
        run.engine.describe().notes.into_iter().find(|(key, _)| key == "rebuilds").unwrap().1
    };
    assert_eq!(rebuilds("every = 1"), "5");
    assert_eq!(rebuilds("every = 2"), "2");
    assert_eq!(rebuilds("policy = \"backoff\", every = 1, lambda = 0"), "5");
    // Steps 1, 1 + e^.7 = 3.01, beyond 6.
    assert_eq!(rebuilds("policy = \"backoff\", every = 1, lambda = 0.7"), "2");
    assert_eq!(rebuilds("policy = \"never\", every = 1"), "0");
    assert_eq!(rebuilds("policy = \"on-change\", every = 1, share = 1.0"), "0");
    assert_ne!(rebuilds("policy = \"on-change\", every = 1, share = 0.0"), "0");
}

#[test]
fn one_set_serves_the_batch_where_shared() {
    let own = active(&train("sparse-cpu:uniform", "count = 60"));
    let negatives = active(&train("sparse-cpu:uniform", "count = 60\nshared-negatives = true"));
    let shared = active(&train("sparse-cpu:uniform", "count = 60\nshared = true"));
    assert!(own.distinct > 300.0);
    assert!(negatives.distinct < 110.0 && negatives.mean < 66.0, "each has the draws and its own labels");
    assert_eq!((shared.mean, shared.p5), (shared.distinct, shared.distinct), "each has the draws and all labels");
    assert!(shared.mean > negatives.mean);
    assert!(active(&train("sparse-cpu:uniform", "count = 30")).mean < own.mean);
    let uniform = |options: &str| train("sparse-cpu:uniform", &format!("shared = true\n{options}"));
    let (few, many) = (active(&uniform("count = 200\ncount-per-label = 1.0")), active(&uniform("count = 200")));
    assert!(few.selected > 0.0 && few.selected < 0.7 * many.selected, "{} for {}", few.selected, many.selected);
    let half = active(&uniform("count = 200\ncount-per-label = 0.5"));
    assert!(half.selected > 0.4 * few.selected && half.selected < 0.6 * few.selected, "{} for half", half.selected);
    assert!(refusal("sparse-cpu:uniform", "count-per-label = -1.0").contains("count-per-label"));
    assert_eq!(uniform("count = 10\ncount-per-label = 1.0").losses, uniform("count = 10").losses, "fewer than labels");
    let filled = active(&train("sparse-cpu:uniform", "count = 60\nshared = true\nfloor = 400"));
    // Some 300 draws find 240 of 600 neurons.
    assert!(filled.mean > 240.0 && filled.mean < 400.0 && shared.mean < 100.0, "{} and {}", filled.mean, shared.mean);
    let hashed = "count = 40\nshared = true\nhashed = { lsh = { family = \"simhash\", bits = 4, tables = 8 } }";
    let run = active(&train("lsh-cpu", hashed));
    assert_eq!(run.mean, run.distinct);
    assert!(run.selected <= 40.0 && run.selected > 10.0);
    let beside = |options: &str| active(&train("lsh-cpu", &format!("{options}\n{hashed}"))).selected - run.selected;
    let random = beside("random = 200");
    // Some 170 of 600 neurons are drawn; a good quarter of them are labels or hashed.
    assert!(random > 90.0 && random < 170.0, "{random}");
    let bounded = beside("random = 200\ncount-per-label = 0.5");
    assert!(bounded > 0.0 && bounded < 0.5 * random, "{bounded} for {random}");
    for (engine, options) in [("lsh-cpu", "random = 9"), ("sparse-cpu:uniform", "random = 9\nshared = true")] {
        assert!(refusal(engine, options).contains("`random`"), "{engine}");
    }
    for by_sample in ["retrieve = \"top-k\"", "fill = \"independent\""] {
        let refused = refusal("lsh-cpu", &format!("shared = true\nhashed = {{ {by_sample} }}"));
        assert!(refused.contains("by collisions"), "{refused}");
    }
}

#[test]
fn frequency_prefers_frequent_labels() {
    let problem = problem();
    let distinct = |name: &str| {
        let rows = label_lists((0..100_000).map(|row| if row == 0 { 10..600 } else { 0..10 }));
        let settings = settings(&problem, "count = 60", rows.into());
        let mut engine = (find(name).unwrap().build)(&settings).unwrap();
        engine.load(&initial(&problem)).unwrap();
        engine.step(&problem.batches(1)[0]).unwrap();
        engine.finish().unwrap().active.unwrap().distinct
    };
    assert!(distinct("sparse-cpu:frequency") < 60.0);
    assert!(distinct("sparse-cpu:log-uniform") < distinct("sparse-cpu:uniform"));
    assert!(distinct("sparse-cpu:uniform") > 300.0);
}

/// With corrections the sum over a sample's set estimates the sum over all neurons.
#[test]
fn corrections_estimate_the_full_loss() {
    let full = train_on(&problem(), "sparse-cpu:all", "", 2, 1).losses[0];
    for sets in ["count = 200", "count = 200\nshared-negatives = true", "count = 200\nshared = true"] {
        let loss = |rest: &str| train_on(&problem(), "sparse-cpu:uniform", &format!("{sets}{rest}"), 2, 1).losses[0];
        let (plain, corrected) = (loss(""), loss("\ncorrect = true"));
        assert!(plain < 0.95 * full, "{sets}: {plain} of {full}");
        assert!((corrected - full).abs() < 0.3 * (full - plain), "{sets}: {corrected} for {full}");
    }
    let hashed = |rest: &str| {
        let options = format!(
            "count = 40\nshared = true\n{rest}\nhashed = {{ lsh = {{ family = \"simhash\", bits = 4, tables = 8 }} }}"
        );
        train_on(&problem(), "lsh-cpu", &options, 2, 1).losses[0]
    };
    let (plain, corrected) = (hashed("random = 200"), hashed("random = 200\ncorrect = true"));
    assert!(plain < 0.95 * full, "{plain} of {full}");
    assert!((corrected - full).abs() < 0.3 * (full - plain), "{corrected} for {full}");
}

/// What drawn labels do to the set, the options they go with, and that samples with fewer labels do not notice.
#[test]
fn samples_draw_labels_where_asked() {
    for (name, negatives) in [
        ("sparse-cpu:uniform", "count = 60"),
        ("sparse-cpu:frequency", "count = 60"),
        ("lsh-cpu", "count = 40\nhashed = { lsh = { family = \"simhash\", bits = 4, tables = 8 } }"),
    ] {
        let run = |labels: &str, threads| {
            let options = format!("shared = true\ncorrect = true\n{labels}\n{negatives}");
            train_on(&problem(), name, &options, threads, STEPS)
        };
        let (all, drawn) = (run("", 2), run("labels = 1", 2));
        assert_eq!(run("labels = 6", 2).losses, all.losses, "{name}: no row has more labels");
        assert_eq!(run("labels = 1", 1).losses, drawn.losses, "{name}: whatever the number of threads");
        assert_ne!(run("labels = 2", 2).losses, drawn.losses, "{name}");
        let (all, drawn) = (active(&all), active(&drawn));
        assert!(drawn.labels < 0.7 * all.labels, "{name}: {} of {}", drawn.labels, all.labels);
    }
    let bounded = |labels: &str| {
        active(&train("sparse-cpu:uniform", &format!("shared = true\ncount = 200\ncount-per-label = 1.0\n{labels}")))
    };
    let (all, drawn) = (bounded(""), bounded("labels = 1"));
    assert!((drawn.selected - all.selected).abs() < 0.1 * all.selected, "{} for {}", drawn.selected, all.selected);
    assert!(refusal("sparse-cpu:uniform", "labels = 1").contains("shared"));
}

/// Batches of 16 random rows, of the few there are; and these rows' labels.
fn random_batches(problem: &Problem, count: usize) -> (Vec<Batch>, LabelLists) {
    let few = problem.batches(4);
    let rows: Vec<_> = few.iter().flat_map(|batch| (0..batch.len()).map(move |b| (batch, b))).collect();
    let mut rng = Pcg64Mcg::seed_from_u64(1);
    let mut draw = || {
        let mut batch = Batch::default();
        for row in sample(&mut rng, rows.len(), 16) {
            let (from, b) = rows[row];
            let Input::Sparse { indices, values } = from.input(b) else { unreachable!("sparse rows") };
            batch.push_sparse(indices, values, from.labels(b));
        }
        batch
    };
    let batches = (0..count).map(|_| draw()).collect();
    (batches, label_lists(rows.iter().map(|(from, b)| from.labels(*b).iter().copied())))
}

/// The loss over sets whose labels are drawn, against that over all neurons, of a network that has learnt: most of its
/// probability is at the labels.
#[test]
fn drawn_labels_estimate_the_full_loss() {
    let problem = problem();
    let (batches, rows) = random_batches(&problem, 600);
    let rows = Arc::new(rows);
    let trained = |start: &Parameters, name: &str, options: &str| {
        let settings = settings(&problem, options, rows.clone());
        let mut engine = (find(name).unwrap().build)(&settings).unwrap();
        engine.load(start).unwrap();
        batches.iter().for_each(|batch| engine.step(batch).unwrap());
        (engine.finish().unwrap().loss, engine.parameters().unwrap())
    };
    let (_, start) = trained(&initial(&problem), "sparse-cpu:all", "");
    let loss = |name: &str, options: &str| trained(&start, name, &format!("optimiser = \"sgd\"\n{options}")).0;
    let full = loss("sparse-cpu:all", "");
    for drawn in [1, 2] {
        let estimate =
            |rest: &str| loss("sparse-cpu:uniform", &format!("shared = true\ncount = 200\nlabels = {drawn}\n{rest}"));
        let (plain, corrected) = (estimate(""), estimate("correct = true"));
        assert!(plain < 0.8 * full, "{drawn} drawn: {plain} of {full}");
        // Low rather than high: the logarithm of an estimate.
        assert!((corrected - full).abs() < 0.12 * full, "{drawn} drawn: {corrected} for {full}");
    }
}

/// Gradients below a threshold are rounded at random: to nothing, mostly, but in the mean to what they were.
#[test]
fn small_gradients_are_thinned_without_bias() {
    let (problem, start) = (problem(), initial(&problem()));
    let batch = &problem.batches(1)[0];
    let step = |products: &str, backward: usize, seed: u64, threads: usize| {
        let options = format!(
            "shared = true\noptimiser = \"sgd\"\nproducts = \"{products}\"\n\
             backward = {backward}"
        );
        let settings = EngineSettings { seed, threads, ..settings(&problem, &options, Arc::default()) };
        let mut engine = (find("sparse-cpu:all").unwrap().build)(&settings).unwrap();
        engine.load(&start).unwrap();
        engine.step(batch).unwrap();
        let stats = engine.finish().unwrap();
        (engine.parameters().unwrap(), stats.active.unwrap(), stats.flops)
    };
    for products in ["f32", "bf16"] {
        let (whole, all, flops) = step(products, 0, 0, 2);
        assert_eq!((all.mean, all.backward), (600.0, None));
        let (none, ..) = step(products, 1_000_000_000, 0, 2);
        assert!(distance(&none, &whole, &start) < 5e-3, "sums over all pairs are the products");

        let (one, active, fewer) = step(products, 50, 0, 2);
        assert_eq!(step(products, 50, 0, 1).0, one, "whatever the number of threads");
        let backward = active.backward.unwrap();
        assert!(backward > active.labels && backward < 100.0, "{backward} of 600 neurons a sample");
        assert!(active.mean == 600.0 && fewer < 0.5 * flops, "all forward, few backward");
        let rows = |layer: &slidebench::network::Layer| {
            layer.weights.chunks_exact(layer.inputs).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let unmoved = rows(&one.layers[1]).iter().zip(rows(&start.layers[1])).filter(|(a, b)| *a == b).count();
        assert!((10..100).contains(&unmoved), "{unmoved} neurons stay as they were");

        // How far one run's weights, and the mean of many runs' weights, are from the whole gradient's.
        let flat = |parameters: &Parameters| -> Vec<f64> {
            let values = parameters.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.bias));
            values.map(|&value| f64::from(value)).collect()
        };
        let off = |a: &[f64]| a.iter().zip(flat(&whole)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let mut mean = vec![0.0; flat(&start).len()];
        for seed in 0..200 {
            let run = flat(&step(products, 50, seed, 2).0);
            mean.iter_mut().zip(run).for_each(|(mean, value)| *mean += value / 200.0);
        }
        let (of_one, of_mean, way) = (off(&flat(&one)), off(&mean), off(&flat(&start)));
        assert!(of_one > 0.1 * way && of_mean < 0.1 * of_one, "{of_one} and {of_mean} of {way}");
    }
    assert!(refusal("sparse-cpu:uniform", "backward = 50").contains("shared"));
    assert!(refusal("sparse-cpu:top-k", "shared = true").contains("top-k"));
    let dense = "shared = true\noutput-rows = \"dense\"\nbackward = 50";
    assert!(refusal("sparse-cpu:uniform", dense).contains("lazy"));
}

/// Though batches differ in size, and though a softmax that has learnt spreads little over what is no label.
#[test]
fn the_backward_pass_keeps_to_its_number_of_neurons() {
    let problem = problem();
    let batches = problem.batches(4);
    for wanted in [30, 100] {
        let mut engine = problem.engine("sparse-cpu:all", &format!("shared = true\nbackward = {wanted}"), 2);
        engine.load(&initial(&problem)).unwrap();
        for round in 0..60 {
            batches.iter().for_each(|batch| engine.step(batch).unwrap());
            let stats = engine.finish().unwrap();
            let visited = stats.active.unwrap().backward.unwrap();
            let near = (visited / wanted as f64 - 1.0).abs() < 0.2;
            assert!(near, "{visited} neurons for {wanted} in round {round}, at a loss of {}", stats.loss);
        }
    }
}

// Precision.

#[test]
fn lower_precision_stays_near_and_saves_memory() {
    let start = initial(&problem());
    let exact = train("sparse-cpu:uniform", "count = 100\nshared = true");
    let bf16 = train("sparse-cpu:uniform", "count = 100\nshared = true\nproducts = \"bf16\"");
    assert_ne!(exact.losses, bf16.losses);
    for (exact, bf16) in exact.losses.iter().zip(&bf16.losses) {
        assert!((exact - bf16).abs() < 1e-2 * exact, "{bf16} for {exact}");
    }
    for sets in ["count = 100\nshared = true", "count = 100"] {
        let exact = train("sparse-cpu:uniform", sets);
        let packed = train("sparse-cpu:uniform", &format!("{sets}\nprecision = \"packed-moments\""));
        let distance = distance(&packed.parameters, &exact.parameters, &start);
        assert!(distance > 0.0 && distance < 3e-2, "{sets}: {distance}");
    }
    assert!(refusal("sparse-cpu:all", "momentum = 1.0").contains("momentum"));
    assert!(refusal("sparse-cpu:all", "counts = 1").contains("counts"));
}

/// What stores weights or moments in bf16, and the bytes a weight takes with its moments.
const PRECISIONS: [(&str, u64); 3] = [("packed-moments", 8), ("bf16-weights", 10), ("packed", 6)];

fn with_precision(options: &str, precision: &str) -> String {
    format!("precision = \"{precision}\"\n{options}")
}

/// The loss of the last of many rounds over a few batches: long enough for what rounding loses to show.
fn loss_learnt(options: &str) -> f64 {
    let problem = problem();
    let mut engine = problem.engine("sparse-cpu:all", options, 2);
    engine.load(&initial(&problem)).unwrap();
    let batches = problem.batches(4);
    for batch in batches.iter().cycle().take(79 * batches.len()) {
        engine.step(batch).unwrap();
    }
    engine.finish().unwrap();
    batches.iter().for_each(|batch| engine.step(batch).unwrap());
    engine.finish().unwrap().loss
}

#[test]
fn every_precision_learns_as_f32_does() {
    let exact = loss_learnt("");
    assert!(exact < 1.5, "{exact}");
    for (precision, _) in PRECISIONS {
        let loss = loss_learnt(&with_precision("", precision));
        assert!(loss != exact && (loss - exact).abs() < 0.02 * exact, "{precision}: {loss} for {exact}");
    }
}

#[test]
fn a_precision_takes_the_bytes_it_names() {
    let problem = problem();
    let weights: u64 = initial(&problem).layers.iter().map(|layer| layer.weights.len() as u64).sum();
    let memory = |options: &str| train("sparse-cpu:uniform", &format!("count = 100\n{options}")).engine.memory();
    let exact = memory("").host_bytes;
    for (precision, bytes) in PRECISIONS {
        assert_eq!(exact - memory(&with_precision("", precision)).host_bytes, (12 - bytes) * weights, "{precision}");
        assert!(refusal("sparse-cpu:all", &with_precision("optimiser = \"sgd\"", precision)).contains(precision));
    }
}

const ROW_WISE: &str = "input-state = \"row-wise\"";

/// A state of one value a row in place of two a weight, which learns all the same, from sparse and from dense sums.
#[test]
fn row_wise_state_learns_and_saves_the_moments_of_the_first_layer() {
    let problem = problem();
    let first = initial(&problem).layers[0].weights.len() as u64;
    let memory = |options: &str| train("sparse-cpu:uniform", &format!("count = 100\n{options}")).engine.memory();
    for (precision, moments) in [("f32", 8), ("packed", 4), ("bf16-weights", 8)] {
        let plain = with_precision("", precision);
        let row_wise = with_precision(ROW_WISE, precision);
        let saved = memory(&plain).host_bytes - memory(&row_wise).host_bytes;
        assert!(saved > moments * first * 9 / 10 && saved <= moments * first, "{precision}: {saved}");
        let (loss, by_adam) = (loss_learnt(&row_wise), loss_learnt(&plain));
        assert!(loss != by_adam && loss < 1.1 * by_adam, "{precision}: {loss}, by Adam {by_adam}");
    }
    for optimiser in ["sgd", "adagrad"] {
        assert!(refusal("sparse-cpu:all", &format!("optimiser = \"{optimiser}\"\n{ROW_WISE}")).contains("row-wise"));
    }
}

#[test]
fn row_wise_state_gives_the_same_bits_on_any_number_of_threads() {
    for input_rows in [Rows::Dense, Rows::Lazy] {
        let problem = Problem { input_rows, ..self::problem() };
        for precision in ["f32", "packed"] {
            let options = with_precision(&format!("count = 60\nshared = true\n{ROW_WISE}"), precision);
            let run = |threads| train_on(&problem, "sparse-cpu:uniform", &options, threads, STEPS);
            let (one, three) = (run(1), run(3));
            assert_eq!((one.losses, one.parameters), (three.losses, three.parameters), "{input_rows:?} {options}");
        }
    }
}

#[test]
fn every_precision_gives_the_same_bits_on_any_number_of_threads() {
    let problem = Problem { input_rows: Rows::Dense, ..problem() };
    for sets in ["count = 60", "count = 60\nshared = true\noutput-rows = \"dense\""] {
        for (precision, _) in PRECISIONS {
            let options = with_precision(sets, precision);
            let run = |threads| train_on(&problem, "sparse-cpu:uniform", &options, threads, STEPS);
            let (one, three) = (run(1), run(3));
            assert_eq!((one.losses, one.parameters), (three.losses, three.parameters), "{options}");
        }
    }
}

/// `parameters` in the nearest bf16.
fn to_bf16(mut parameters: Parameters) -> Parameters {
    for w in parameters.layers.iter_mut().flat_map(|layer| &mut layer.weights) {
        *w = half::bf16::from_f32(*w).to_f32();
    }
    parameters
}

/// Whoever reads weights, in whatever way, sees in bf16 ones what they stand for: from the same parameters, first
/// losses, active sets and predictions are those of f32 bit for bit, and each weight comes to lie on a neighbour, among
/// the bf16, of where f32 takes it.
#[test]
fn weights_in_bf16_are_read_as_what_they_stand_for() {
    let sparse = problem();
    let dense = Problem { dense_input: true, ..problem() };
    let deep = Problem { shape: Shape { inputs: 60, hidden: vec![32, 200], labels: 600 }, ..problem() };
    let mips = "[hashed.lsh]\nfamily = \"mips\"\nbits = 4\ntables = 8\nrebuild = { policy = \"on-change\", every = 1 }";
    let incremental = "[hashed.lsh]\nfamily = \"simhash\"\nbits = 4\ntables = 8\nincremental = true";
    let hidden = "count = 100\n[hidden]\nselection = \"top-k\"\ncount = 40";
    for (problem, name, options) in [
        (&sparse, "sparse-cpu:all", ""),
        (&dense, "sparse-cpu:all", "sums = \"atomic\""),
        (&dense, "sparse-cpu:uniform", "count = 100\nshared = true"),
        (&sparse, "sparse-cpu:uniform", "count = 100\nshared = true\nproducts = \"bf16\"\nrecall-every = 1"),
        (&sparse, "sparse-cpu:top-k", "count = 50"),
        (&sparse, "lsh-cpu", mips),
        (&sparse, "lsh-cpu", incremental),
        (&deep, "sparse-cpu:uniform", hidden),
    ] {
        let start = to_bf16(initial(problem));
        let run = |precision: &str| {
            let mut engine = problem.engine(name, &with_precision(options, precision), 1);
            engine.load(&start).unwrap();
            assert_eq!(engine.parameters().unwrap(), start, "{name} {precision}");
            let batch = &problem.batches(1)[0];
            let top = engine.predict(batch, 5).unwrap();
            engine.step(batch).unwrap();
            let stats = engine.finish().unwrap();
            ((top, stats.loss, stats.active), engine.parameters().unwrap())
        };
        let (seen, exact) = run("f32");
        for precision in ["bf16-weights", "packed"] {
            let (same, rounded) = run(precision);
            assert_eq!(same, seen, "{name} {options} {precision}");
            assert_ne!(rounded, exact);
            assert_eq!(rounded, to_bf16(rounded.clone()));
            for (a, b) in rounded.layers.iter().zip(&exact.layers) {
                for (a, b) in a.weights.iter().zip(&b.weights) {
                    assert!((a - b).abs() <= b.abs() / 128.0 + 1e-6, "{name} {options} {precision}: {a} for {b}");
                }
            }
        }
    }
}

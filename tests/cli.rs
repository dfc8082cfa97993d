//! The command line, from outside.

use slidebench::record::{Row, read_dir};
use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// 600 rows in batches of 32: 19 steps an epoch.
const TINY: &str = r#"
name = "tiny"
question = "Does it run at all?"
network = { hidden = [8] }
training = { batch = 32, learning-rate = 1e-2 }
run = { seeds = [1], evaluations = { every-steps = 5 }, early-evaluations = false, eval-sample = 64 }
data = [{ source = "synthetic:amazon-670k@0.001?train=600&test=100", steps = 10 }]
engine = [{ name = "dense-cpu" }, { name = "lsh-cpu" }]
search = { learning-rates = [1e-3, 1e-2], epochs = 0.5, validation = 100 }
"#;

fn command(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slidebench"));
    command.args(arguments).current_dir(folder).env("SLIDEBENCH_CACHE", folder.path().join("cache"));
    command
}

fn slidebench(folder: &TempDir, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn desk(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), toml).unwrap();
    folder
}

fn rows(folder: &TempDir) -> Vec<Row> {
    read_dir(&folder.path().join("results")).unwrap().rows().cloned().collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn list_shows_experiments_with_their_question_and_engines() {
    let output = slidebench(&desk(TINY), &["list"]);
    assert!(stdout(&output).contains("not recorded") && stdout(&output).contains("SLIDE, MLSys 2020"));
    assert_eq!(output.status.code(), Some(0));
    for expected in ["default", "which way gets to a given accuracy first", "dense-gpu", "lsh-cpu", "reference"] {
        assert!(stdout(&output).replace("\n      ", " ").contains(expected), "{expected}");
    }
}

#[test]
fn help_teaches_by_example() {
    let folder = desk(TINY);
    for verb in
        [&["--help"][..], &["run", "--help"], &["data", "--help"], &["devices", "--help"], &["export", "--help"]]
    {
        let output = slidebench(&folder, verb);
        assert_eq!(output.status.code(), Some(0), "{verb:?}");
        assert!(stdout(&output).contains("Examples:\n  slidebench "), "{verb:?}");
    }
}

#[test]
fn what_is_unknown_is_answered_with_what_is_known() {
    let folder = desk(TINY);
    for (arguments, expected) in [
        (&["run", "defualt"][..], "did you mean default?"),
        (&["run", "tiny.toml", "--engines", "lsh-cup"], "did you mean lsh-cpu? There are: "),
        (&["run", "tiny.toml", "--data", "mobby"], "`mobby`"),
        (&["run", "no.toml"], "no.toml: "),
        (&["run", "tiny.toml", "--seconds=-1"], "a positive number is wanted"),
        (&["run", "tiny.toml", "--scale", "huge"], "smoke, quick, paper"),
        (&["data", "stats", "mobby"], "`mobby`"),
        (&["rum"], "run"),
    ] {
        let output = slidebench(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
    assert!(!folder.path().join("results").exists(), "nothing ran");
}

#[test]
fn a_mistake_in_a_file_names_its_line() {
    let folder = desk(&TINY.replace("batch = 32", "btach = 32"));
    let output = slidebench(&folder, &["run", "tiny.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("tiny.toml:5: unknown field `btach`"), "{}", stderr(&output));
    assert!(stderr(&output).contains("did you mean `batch`?"));
}

#[test]
fn a_run_leaves_records_and_a_report_and_is_not_repeated() {
    let folder = desk(TINY);
    let output =
        slidebench(&folder, &["run", "tiny.toml", "--engines", "dense-gpu,dense-cpu,lsh-cpu", "--label", "desk"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let first = rows(&folder);
    for engine in ["dense-cpu", "lsh-cpu"] {
        let of: Vec<&Row> = first.iter().filter(|row| row.engine == engine && row.inference == "dense").collect();
        assert_eq!(of.iter().map(|row| row.step).collect::<Vec<_>>(), [0, 5, 10, 10], "{engine}");
        assert!(of.iter().all(|row| row.status == "ok" && row.p1.is_some() && row.experiment == "tiny"));
        let (last, before) = (of[3], of[2]);
        assert_eq!((last.evaluation.as_str(), last.train_s), ("full", before.train_s), "evaluation is off the clock");
        assert!(last.total_s.unwrap() >= last.train_s.unwrap() + last.setup_s.unwrap());
    }
    let gpu: Vec<&Row> = first.iter().filter(|row| row.engine == "dense-gpu").collect();
    assert!(!gpu.is_empty() && gpu.iter().all(|row| row.status == "ok" || !row.reason.is_empty()), "{gpu:#?}");
    assert!(gpu.iter().all(|row| !row.software), "no software adapter unless asked for");
    let machine = std::fs::read_dir(folder.path().join("results")).unwrap().next().unwrap().unwrap().path();
    assert!(machine.to_str().unwrap().ends_with("-desk") && machine.join("machine.toml").exists());
    // The experiment as it was run, the engines of the command line included, lies beside and runs again.
    let kept = std::fs::read_to_string(machine.join("tiny.toml")).unwrap();
    assert!(kept.contains("name = \"lsh-cpu\"") && kept.contains("question = "), "{kept}");
    std::fs::write(folder.path().join("kept.toml"), kept).unwrap();
    let kept = slidebench(&folder, &["run", "kept.toml", "--results", "elsewhere", "--reports", "elsewhere"]);
    assert_eq!(kept.status.code(), Some(0), "{}", stderr(&kept));

    let again = slidebench(&folder, &["run", "tiny.toml", "--label", "desk"]);
    assert_eq!(again.status.code(), Some(0));
    assert!(stderr(&again).contains("lsh-cpu  seed 1: already in the records"), "{}", stderr(&again));
    assert_eq!(rows(&folder), first);

    let fresh =
        slidebench(&folder, &["run", "tiny.toml", "--label", "desk", "--fresh", "--quiet", "--engines", "dense-cpu"]);
    assert_eq!(fresh.status.code(), Some(0));
    assert!(!stderr(&fresh).contains("seed"), "{}", stderr(&fresh));
    assert_eq!(rows(&folder).len(), first.len() + 4);
}

#[test]
fn a_failing_engine_is_a_row_and_exit_code_1_and_the_others_run() {
    let folder = desk(&TINY.replace("{ name = \"lsh-cpu\" }", "{ name = \"lsh-cpu\", options = { nonsense = 1 } }"));
    let output = slidebench(&folder, &["run", "tiny.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let rows = rows(&folder);
    let failed: Vec<&Row> = rows.iter().filter(|row| row.status == "failed").collect();
    assert_eq!(failed.len(), 1);
    assert!(failed[0].engine == "lsh-cpu" && failed[0].reason.contains("nonsense"), "{}", failed[0].reason);
    assert!(rows.iter().any(|row| row.engine == "dense-cpu" && row.evaluation == "full"));
}

#[test]
fn data_that_cannot_be_read_is_a_row_for_each_engine() {
    let folder = desk(TINY);
    let output = slidebench(&folder, &["run", "tiny.toml", "--data", "xmc:nowhere.txt,nowhere.txt"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let rows = rows(&folder);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.status == "failed" && row.reason.contains("nowhere.txt")));
}

#[test]
fn a_search_prints_rates_to_keep_and_trains_with_them() {
    let folder = desk(TINY);
    let output = slidebench(&folder, &["run", "tiny.toml", "--search", "--engines", "dense-cpu"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let rows = rows(&folder);
    // Tries of half a pass: all their evaluations count, the end once.
    let judged = |rate: f32| {
        let tries = rows.iter().filter(|row| row.stage == "search" && row.learning_rate == rate);
        let p1: BTreeMap<u64, f64> = tries.map(|row| (row.step, row.p1.unwrap())).collect();
        p1.values().sum::<f64>() / p1.len() as f64
    };
    let trained = rows.iter().find(|row| row.stage == "train").unwrap();
    assert_eq!(judged(trained.learning_rate), judged(1e-3).max(judged(1e-2)));
    assert!(stdout(&output).contains(&format!("learning-rates = {{ \"dense-cpu\" = {:e} }}", trained.learning_rate)));
}

#[test]
fn data_stats_prints_the_row_of_table_1() {
    let output = slidebench(&desk(TINY), &["data", "stats", "synthetic:amazon-670k@0.001?train=600&test=100"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("labels, L") && stdout(&output).contains("670"), "{}", stdout(&output));
}

/// A run that would take hours, once it has recorded some rows.
fn long_run(folder: &TempDir) -> Child {
    let arguments = ["run", "tiny.toml", "--engines", "dense-cpu", "--label", "desk"];
    let mut child = command(folder, &arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
        let results = folder.path().join("results");
        if results.exists() && read_dir(&results).is_ok_and(|records| records.rows().count() >= 5) {
            return child;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    panic!("no rows within a minute");
}

fn endless() -> TempDir {
    desk(&TINY.replace("steps = 10", "epochs = 1e9"))
}

#[test]
fn kill_9_leaves_every_finished_row_readable_and_the_run_can_be_repeated() {
    let folder = endless();
    let mut child = long_run(&folder);
    child.kill().unwrap();
    child.wait().unwrap();
    let left = rows(&folder);
    assert!(left.len() >= 5);
    assert!(left.iter().enumerate().all(|(i, row)| row.step == 5 * i as u64 && row.p1.is_some()));

    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    let output = slidebench(&folder, &["run", "tiny.toml", "--engines", "dense-cpu", "--label", "desk"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all = rows(&folder);
    assert_eq!(all[..left.len()], left);
    assert_eq!(all.len(), left.len() + 4);
}

#[test]
#[cfg(unix)]
fn ctrl_c_finishes_the_row_and_exits_130() {
    let folder = endless();
    let mut child = long_run(&folder);
    // SAFETY: the child is ours and not yet waited for, so its id is its own.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rows = rows(&folder);
    let last = rows.last().unwrap();
    assert_eq!(last.status, "interrupted");
    assert!(last.reason.starts_with("stopped by the user at step "), "{last:?}");
    // Steps made since the last evaluation are evaluated; if the signal came before the first of them, that evaluation
    // is the row before.
    assert!(rows.iter().any(|row| row.step == last.step && row.p1.is_some()), "{last:?}");
}

/// What the export holds is what the engines see: the first loss is that of untrained weights, the order is a
/// permutation an epoch, arrays fit together.
#[test]
fn an_export_holds_data_order_weights_and_losses() {
    let folder = desk(TINY);
    let source = "synthetic:amazon-670k@0.001?train=600&test=100";
    let arguments =
        ["export", source, "--out", "peer", "--hidden", "8", "--batch", "32", "--check", "3", "--epochs", "2"];
    let output = slidebench(&folder, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let read = |name: &str| std::fs::read(folder.path().join("peer").join(name)).unwrap();

    let data = read("data.safetensors");
    let data = safetensors::SafeTensors::deserialize(&data).unwrap();
    let u32s = |name: &str| -> Vec<u32> {
        data.tensor(name).unwrap().data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let mut order = u32s("order");
    let rows = data.tensor("train.offsets").unwrap().shape()[0] - 1;
    assert_eq!(data.tensor("order").unwrap().shape(), [2, rows]);
    assert_ne!(order[..rows], order[rows..], "every epoch has its own order");
    order[..rows].sort_unstable();
    assert!(order[..rows].iter().copied().eq(0..rows as u32));
    let last = &data.tensor("train.offsets").unwrap().data()[rows * 8..];
    assert_eq!(u64::from_le_bytes(last.try_into().unwrap()) as usize, u32s("train.indices").len());
    assert_eq!(data.tensor("test.label_offsets").unwrap().shape(), [101]);

    let meta: serde_json::Value = serde_json::from_slice(&read("meta.json")).unwrap();
    let labels = meta["shape"]["labels"].as_u64().unwrap() as f64;
    let losses: Vec<f64> = meta["check"]["losses"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
    assert_eq!(losses.len(), 3);
    assert!((losses[0] / labels.ln() - 1.0).abs() < 0.05, "{losses:?} for {labels} labels");
    assert!(meta["columns"].as_array().unwrap().iter().any(|column| column == "train_s"));

    let weights = read("parameters.safetensors");
    let weights = safetensors::SafeTensors::deserialize(&weights).unwrap();
    assert_eq!(weights.tensor("layer1.weight").unwrap().shape(), [labels as usize, 8]);
    assert!(folder.path().join("peer/machine.toml").exists());

    let wrong = slidebench(&folder, &["export", source, "--out", "peer", "--init", "zero"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("glorot"), "{}", stderr(&wrong));
}

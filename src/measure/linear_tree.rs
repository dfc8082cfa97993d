//! What a practitioner would otherwise use: trees of linear classifiers (Parabel, Prabhu et al. 2018).
//!
//! The program `omikuji` trains them. It is run as it is, on files in the form of the Extreme Classification Repository:
//! the crate behind it asks for versions of other crates that cannot be linked beside this program's. Its seconds
//! include reading the file and writing the model.

use super::{Bench, Cost, Error, cost_of};
use crate::data::{DataError, Dataset, Features, OpenOptions, Source, Split, open};
use crate::record::Observation;
use serde::Deserialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Name or path of the program.
    program: PathBuf,
    sources: Vec<String>,
    trees: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { program: "omikuji".into(), sources: vec!["moby".into(), "webster".into()], trees: 3 }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    for source in &options.sources {
        bench.case(source)?;
        let like = Observation { case: source.clone(), threads: bench.threads, ..Observation::default() };
        let found =
            Command::new(&options.program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if let Err(error) = found {
            let reason = format!(
                "the program {} cannot be run ({error}); `cargo install omikuji --version 0.5.1 --features cli` \
                 makes it",
                options.program.display()
            );
            let (quantity, status) = ("P@1".into(), "skipped".into());
            bench.record(Observation { quantity, status, reason, ..like })?;
            continue;
        }
        let parsed: Source = source.parse().map_err(|error: DataError| Error::Settings(error.to_string()))?;
        let data = open(&parsed, &OpenOptions::default()).map_err(|error| Error::Failed(error.to_string()))?;
        let folder = Folder::new()?;
        let path = |name: &str| folder.0.join(name);
        write_rows(&data, &data.train, &path("train.txt"))?;
        write_rows(&data, &data.test, &path("test.txt"))?;
        let threads = bench.threads.to_string();
        for repeat in 0..bench.repeats {
            let like = Observation { repeat, ..like.clone() };
            // A model that is there already would be added to.
            let model = path(&format!("model-{repeat}"));
            let mut train = Command::new(&options.program);
            train.arg("train").args(["--n_threads", &threads, "--n_trees", &options.trees.to_string(), "--model_path"]);
            let cost = child(bench, train.arg(&model).arg(path("train.txt")))?;
            bench.value(&like, "training", "s", cost.seconds)?;
            bench.value(&like, "training", "CPU s", cost.cpu_seconds)?;
            let mut test = Command::new(&options.program);
            test.arg("test").args(["--n_threads", &threads, "--out_path"]).arg(path("answers.txt"));
            let cost = child(bench, test.arg(&model).arg(path("test.txt")))?;
            bench.value(&like, "inference", "s", cost.seconds)?;
            bench.value(&like, "P@1", "", first_right(&data.test, &fs::read_to_string(path("answers.txt"))?)?)?;
        }
    }
    Ok(())
}

/// A folder of our own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let unique = format!("slidebench-linear-tree-{}-{}", std::process::id(), crate::record::now().replace(':', ""));
        let folder = std::env::temp_dir().join(unique);
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write_rows(data: &Dataset, split: &Split, path: &Path) -> Result<(), Error> {
    let Features::Sparse(features) = &split.features else {
        return Err(Error::Settings(format!("{}: linear trees are tried on sparse features only", data.name)));
    };
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "{} {} {}", split.rows(), data.inputs, data.labels)?;
    for row in 0..split.rows() {
        let labels: Vec<String> = split.labels.row(row).iter().map(u32::to_string).collect();
        write!(out, "{}", labels.join(","))?;
        let (indices, values) = features.row(row);
        for (index, value) in indices.iter().zip(values) {
            write!(out, " {index}:{value}")?;
        }
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

/// Runs a program to its end; the CPU seconds are its own.
fn child(bench: &mut Bench<'_>, command: &mut Command) -> Result<Cost, Error> {
    let before = children_seconds();
    let mut output = None;
    let cost = cost_of(|| output = Some(command.stdin(Stdio::null()).output()));
    // It hears Ctrl-C too, and fails for it.
    bench.case(&format!("{}", command.get_program().display()))?;
    let output = output.expect("it was run")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().next_back().unwrap_or("nothing");
        return Err(Error::Failed(format!("{command:?} ended with {}: {last}", output.status)));
    }
    let cpu_seconds = before.zip(children_seconds()).map_or(cost.seconds, |(before, after)| after - before);
    Ok(Cost { cpu_seconds, ..cost })
}

/// CPU seconds of all child processes that have ended.
fn children_seconds() -> Option<f64> {
    #[cfg(unix)]
    {
        // SAFETY: all zeros is a valid `rusage`, and the call fills the one it is pointed to.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: see above.
        let done = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage) } == 0;
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
        done.then(|| seconds(usage.ru_utime) + seconds(usage.ru_stime))
    }
    #[cfg(not(unix))]
    None
}

/// P@1 of answers, a line a row: `label score`, best first, tabs between. Rows without labels do not count.
fn first_right(split: &Split, answers: &str) -> Result<f64, Error> {
    let lines: Vec<&str> = answers.lines().collect();
    if lines.len() != split.rows() {
        return Err(Error::Failed(format!("{} answers to {} rows", lines.len(), split.rows())));
    }
    let (mut right, mut rows) = (0, 0);
    for (row, line) in lines.into_iter().enumerate() {
        let truth = split.labels.row(row);
        let best = line.split(['\t', ' ']).next().and_then(|label| label.parse::<u32>().ok());
        rows += usize::from(!truth.is_empty());
        right += usize::from(best.is_some_and(|best| truth.contains(&best)));
    }
    Ok(f64::from(right as u32) / rows.max(1) as f64)
}

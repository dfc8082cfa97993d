//! `slidebench run`, and `cargo bench` through it.

use super::console::{Console, Reading};
use super::{End, Usage, devices, finish, measure, report, stop};
use crate::data::{self, Source};
use crate::engine;
use crate::experiment::{self, CATALOGUE, Contestant, Data, Experiment, Scale, nearest};
use crate::harness::{Found, Harness, Options, SystemClock, Tally, registered};
use crate::record::{Machine, Row, Writer, read_file};
use clap::Parser;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  slidebench run --scale smoke
  slidebench run default --engines lsh-cpu,sparse-cpu:uniform --data moby --seeds 1,2,3
  slidebench run paper --scale quick           every table and figure of the papers
  slidebench run default --search              find learning rates first, the same budget for each engine
  slidebench run default --data synthetic:amazon-670k --seconds 60 --threads 8
  slidebench run my-own.toml --results mine --reports mine/report")]
pub(super) struct Arguments {
    /// Experiments: names `slidebench list` shows, `paper` for all of them, or paths of TOML files
    #[arg(default_value = "default")]
    experiments: Vec<String>,
    /// How large
    #[arg(long, value_enum, default_value_t)]
    scale: Scale,
    /// Only these engines, comma-separated; an engine the experiment does not name runs with its defaults
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    engines: Vec<String>,
    /// Only this data set of the experiment, or another one in place of it (repeatable)
    #[arg(long, value_name = "SOURCE")]
    data: Vec<String>,
    /// Instead of the experiment's seeds, comma-separated
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,
    /// Instead of the experiment's number of epochs
    #[arg(long, value_parser = positive)]
    epochs: Option<f64>,
    /// A limit on the training clock of every run, seconds
    #[arg(long, value_parser = positive)]
    seconds: Option<f64>,
    /// Host threads of every engine [default: all]
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,
    /// Search learning rates first (the experiment's `[search]` table) and train with the best
    #[arg(long)]
    search: bool,
    /// Let a software adapter stand in for a GPU: for tests; its rows are marked
    #[arg(long)]
    allow_software: bool,
    /// Name of this machine in the records [default: made of CPU, cores and GPU]
    #[arg(long)]
    label: Option<String>,
    /// Where records go
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: PathBuf,
    /// Where the report goes
    #[arg(long, default_value = "reports", value_name = "FOLDER")]
    reports: PathBuf,
    /// Repeat runs that the records show finished
    #[arg(long)]
    fresh: bool,
    /// Say nothing but the result
    #[arg(long, short)]
    quiet: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a positive number is wanted".into()),
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let experiments: Vec<Experiment> =
        names(&arguments.experiments).iter().map(|name| settle(name, arguments)).collect::<Result<_, _>>()?;
    let runs = |experiment: &Experiment| {
        let tries = experiment.search.as_ref().filter(|_| arguments.search).map_or(0, |s| s.learning_rates.len());
        experiment.data.len() * experiment.engines.len() * (experiment.run.seeds.len() + tries)
    };
    let console = &mut Console::new(arguments.quiet, experiments.iter().map(runs).sum());
    if cfg!(debug_assertions) {
        console.say("warning: this is a debug build; its timings mean nothing. Build with --release.");
    }
    let mut machine = devices::machine(arguments.label.as_deref());
    machine.flags = flags();
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    for experiment in experiments {
        let path = match experiment.measure.clone() {
            Some(what) => {
                let place = (arguments.results.as_path(), arguments.fresh);
                measure::conduct(&experiment, &what, arguments.scale, place, &machine, console, &mut tally)?
            }
            None => conduct(experiment, arguments, &machine, console, &mut tally)?,
        };
        println!("records: {}", path.display());
        rows.extend(read_file(&path)?.rows);
        if tally.interrupted {
            break;
        }
    }
    println!("\n{}", crate::report::table(&rows));
    let summary = report::render(std::slice::from_ref(&arguments.results), &arguments.reports)?;
    println!("report: {}", summary.page.display());
    Ok(match tally {
        Tally { interrupted: true, .. } => End::Interrupted,
        Tally { failed: 1.., .. } => End::RunFailed,
        _ => End::Done,
    })
}

/// The experiments that are meant: `paper` stands for all that ship.
fn names(given: &[String]) -> Vec<String> {
    let shipped = || CATALOGUE.iter().filter_map(|(file, _)| file.strip_suffix(".toml")).map(str::to_owned);
    given.iter().flat_map(|name| if name == "paper" { shipped().collect() } else { vec![name.clone()] }).collect()
}

/// Runs one training experiment; returns where its records are.
fn conduct(
    mut experiment: Experiment,
    arguments: &Arguments,
    machine: &Machine,
    console: &mut Console,
    tally: &mut Tally,
) -> anyhow::Result<PathBuf> {
    let mut writer = Writer::create(&arguments.results, machine, &experiment.id(arguments.scale))?;
    writer.describe(&as_run(&experiment, arguments))?;
    let path = writer.path().to_owned();
    let earlier = earlier(&path, arguments, machine, console)?;
    let options = Options {
        scale: arguments.scale,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        seconds: arguments.seconds,
        allow_software: arguments.allow_software,
        identity: serde_json::to_string(&(&machine.label, &machine.build, &machine.flags))?,
    };
    let clock = SystemClock::default();
    let mut sink = |row: &Row| writer.append(row).map_err(io::Error::other);
    for index in 0..experiment.data.len() {
        let entry = experiment.data[index].clone();
        let opened = open(&entry, arguments.quiet);
        let mut harness = |experiment: &Experiment, work: &mut dyn FnMut(&mut Harness<'_>) -> io::Result<Tally>| {
            work(&mut Harness {
                experiment,
                options: options.clone(),
                build: &registered,
                clock: &clock,
                interrupt: stop::flag(),
                earlier: &earlier,
                sink: &mut sink,
                observer: &mut *console,
            })
        };
        let one = match &opened {
            Err(error) => {
                // A shipped experiment may name files that cannot ship; one that the user named must be there.
                let named =
                    !arguments.data.is_empty() || arguments.experiments.iter().any(|name| name.ends_with(".toml"));
                let absent = !named && error.downcast_ref().is_some_and(data::DataError::is_missing_file);
                harness(&experiment, &mut |harness| harness.without_data(&entry, &format!("{error:#}"), absent))?
            }
            Ok(data) => {
                let mut searched = Tally::default();
                if arguments.search {
                    let search = experiment.search.clone().expect("settled before");
                    let mut found = Found::new();
                    searched = harness(&experiment, &mut |harness| {
                        let (rates, tally) = harness.search(&search, &entry, data)?;
                        found = rates;
                        Ok(tally)
                    })?;
                    experiment.data[index]
                        .learning_rates
                        .extend(found.iter().map(|(name, best)| (name.clone(), best.0)));
                    print_found(&entry, &found);
                }
                let entry = experiment.data[index].clone();
                if !searched.interrupted {
                    searched += harness(&experiment, &mut |harness| harness.run(&entry, data))?;
                }
                searched
            }
        };
        *tally += one;
        if tally.interrupted {
            break;
        }
    }
    if arguments.search {
        // With the rates found.
        writer.describe(&as_run(&experiment, arguments))?;
    }
    Ok(path)
}

/// The experiment with what the command line adds, under its name in records.
fn as_run(experiment: &Experiment, arguments: &Arguments) -> Experiment {
    let mut experiment = experiment.as_run(arguments.scale);
    for data in &mut experiment.data {
        data.seconds = [data.seconds, arguments.seconds].into_iter().flatten().reduce(f64::min);
    }
    experiment
}

/// Rows that runs of this program on this machine left in the same file.
fn earlier(
    path: &std::path::Path,
    arguments: &Arguments,
    machine: &Machine,
    console: &Console,
) -> anyhow::Result<Vec<Row>> {
    if arguments.fresh {
        return Ok(vec![]);
    }
    let rows = read_file(path)?.rows;
    if machine.build.revision.ends_with('+') {
        if !rows.is_empty() {
            console.say("note: the program has uncommitted changes, so that every run is repeated");
        }
        return Ok(vec![]);
    }
    Ok(rows)
}

fn open(entry: &Data, quiet: bool) -> anyhow::Result<data::Dataset> {
    let source: Source = entry.source.parse()?;
    let options = data::OpenOptions { progress: Arc::new(Reading::new(quiet)), ..data::OpenOptions::default() };
    Ok(data::open(&source, &options)?)
}

/// The rates found, as they can be pasted into the experiment's file.
fn print_found(entry: &Data, found: &Found) {
    println!("# Found on {}, judged by training rows held out:", entry.source);
    let rates: Vec<String> = found.iter().map(|(engine, (rate, _))| format!("{engine:?} = {rate:e}")).collect();
    println!("learning-rates = {{ {} }}", rates.join(", "));
    for (engine, (rate, p1)) in found {
        println!("# {engine}: P@1 {p1:.4} with {rate}");
    }
}

/// An experiment as its file and the command line say, everything checked that can be before anything runs.
fn settle(name: &str, arguments: &Arguments) -> anyhow::Result<Experiment> {
    let usage = |error: &dyn std::fmt::Display| Usage(error.to_string());
    let mut experiment = experiment::load(name, arguments.scale).map_err(|error| usage(&error))?;
    if let Some(measure) = &experiment.measure {
        if crate::measure::find(&measure.what).is_none() {
            return Err(Usage(format!("{name}: there is no measurement {:?}", measure.what)).into());
        }
        return Ok(experiment);
    }
    choose_engines(&mut experiment, &arguments.engines)?;
    choose_data(&mut experiment, &arguments.data);
    for data in &mut experiment.data {
        data.source.parse::<Source>().map_err(|error| usage(&error))?;
        if arguments.epochs.is_some() {
            data.epochs = arguments.epochs;
            data.epochs_of.clear();
        }
    }
    if !arguments.seeds.is_empty() {
        experiment.run.seeds = arguments.seeds.clone();
    }
    if let Some(threads) = arguments.threads {
        experiment.run.threads = Some(threads.get());
        experiment.engines.iter_mut().for_each(|engine| engine.threads = None);
    }
    if arguments.search && experiment.search.is_none() {
        let example = "[search]\nlearning-rates = [1e-3, 3e-3]";
        return Err(Usage(format!("{name} has no [search] table; add, for example:\n{example}")).into());
    }
    for contestant in &experiment.engines {
        known_engine(&contestant.name)?;
    }
    Ok(experiment)
}

fn known_engine(name: &str) -> Result<(), Usage> {
    if engine::find(name).is_some() {
        return Ok(());
    }
    let known = || engine::REGISTRY.iter().map(|entry| entry.name);
    let hint = nearest(name, known()).map_or(String::new(), |name| format!("did you mean {name}? "));
    let known: Vec<&str> = known().collect();
    Err(Usage(format!("there is no engine {name:?}. {hint}There are: {}", known.join(", "))))
}

/// Keeps the engines that are wanted, by label or name; one the experiment does not name joins with its defaults.
fn choose_engines(experiment: &mut Experiment, wanted: &[String]) -> Result<(), Usage> {
    if wanted.is_empty() {
        return Ok(());
    }
    let there = std::mem::take(&mut experiment.engines);
    for name in wanted {
        let matching: Vec<_> = there.iter().filter(|engine| engine.label() == name || engine.name == *name).collect();
        if matching.is_empty() {
            known_engine(name)?;
            experiment.engines.push(Contestant { name: name.clone(), ..Contestant::default() });
        }
        experiment.engines.extend(matching.into_iter().cloned());
    }
    // Named twice, or by label and by name.
    let mut seen = std::collections::HashSet::new();
    experiment.engines.retain(|engine| seen.insert(engine.label().to_owned()));
    Ok(())
}

/// Keeps the data sets that are wanted; one the experiment does not name takes the limits of the experiment's first.
fn choose_data(experiment: &mut Experiment, wanted: &[String]) {
    if wanted.is_empty() {
        return;
    }
    let there = std::mem::take(&mut experiment.data);
    for source in wanted {
        let known = there.iter().find(|data| data.source == *source);
        let entry = known.cloned().unwrap_or_else(|| Data {
            source: source.clone(),
            learning_rates: Default::default(),
            epochs_of: Default::default(),
            ..there[0].clone()
        });
        if !experiment.data.contains(&entry) {
            experiment.data.push(entry);
        }
    }
}

/// What was set in the environment that may change speed.
fn flags() -> Vec<String> {
    let ours = std::env::vars().filter(|(name, _)| name.starts_with("SLIDEBENCH_") || name == "RAYON_NUM_THREADS");
    let mut flags: Vec<String> =
        ours.filter(|(name, _)| name != "SLIDEBENCH_CACHE").map(|(name, value)| format!("{name}={value}")).collect();
    flags.sort();
    flags
}

/// Runs the default experiment as `cargo bench` does: `slidebench run`, with what cargo adds to the arguments.
#[derive(Debug, Parser)]
#[command(
    bin_name = "cargo bench --bench paper --",
    after_help = "\
`cargo bench` runs two programs with the same arguments: this one, and `kernels`, which
times single kernels with criterion. To choose one:
  cargo bench --bench paper -- --data webster --seeds 1
  cargo bench --bench kernels -- row_dots"
)]
struct Bench {
    #[command(flatten)]
    run: Arguments,
    /// Added by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Entry point of `benches/paper.rs`.
pub fn bench() -> ExitCode {
    let mut arguments = Bench::parse();
    // `cargo bench -- simhash` gives criterion's filter to this program too.
    let known = |name: &String| {
        name.ends_with(".toml")
            || name == "paper"
            || CATALOGUE.iter().any(|(file, _)| file.strip_suffix(".toml") == Some(name))
    };
    arguments.run.experiments.retain(known);
    if arguments.run.experiments.is_empty() {
        eprintln!("no experiment of this name to run here; `cargo bench -- --help` explains");
        return ExitCode::SUCCESS;
    }
    if !arguments.bench {
        // `cargo test --benches` builds and starts benchmarks to see that they still work.
        eprintln!("not run by `cargo bench`: checking the experiments only");
        let names = names(&arguments.run.experiments);
        let mut names = names.iter();
        return finish(names.try_for_each(|name| settle(name, &arguments.run).map(drop)).map(|()| End::Done));
    }
    finish(run(&arguments.run))
}

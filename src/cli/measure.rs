//! The part of `slidebench run` that measures parts instead of training.

use super::console::Console;
use crate::experiment::{Experiment, Measure, Scale};
use crate::harness::Tally;
use crate::measure::{self, Bench, Error};
use crate::record::{Machine, Observation, Writer, now, read_file};
use std::io;
use std::path::{Path, PathBuf};

/// Runs a measurement; returns where its records are.
pub(super) fn conduct(
    experiment: &Experiment,
    what: &Measure,
    scale: Scale,
    (results, fresh): (&Path, bool),
    machine: &Machine,
    console: &mut Console,
    tally: &mut Tally,
) -> anyhow::Result<PathBuf> {
    let mut writer = Writer::<Observation>::create(results, machine, &experiment.id(scale))?;
    writer.describe(&experiment.as_run(scale))?;
    let path = writer.path().to_owned();
    let threads = experiment.run.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let set = serde_json::to_string(&(what, threads, scale, &machine.label, &machine.build, &machine.flags))?;
    let identity = Observation {
        experiment: experiment.id(scale),
        settings: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(set.as_bytes())),
        ..Observation::default()
    };
    let known = !fresh && !machine.build.revision.ends_with('+');
    let complete = |seen: &Observation| seen.settings == identity.settings && seen.status == "complete";
    if known && read_file(&path)?.observations.iter().any(complete) {
        console.say(&format!("{}: measured before, not repeated", experiment.name));
        tally.resumed += 1;
        return Ok(path);
    }
    let name = experiment.name.clone();
    let mut sink = |line: &Observation| writer.append(line).map_err(io::Error::other);
    let mut observer = |case: &str| console.say(&format!("{name}: {case}"));
    let mut bench = Bench {
        options: what.options.clone(),
        repeats: what.repeats,
        threads,
        identity: identity.clone(),
        interrupt: super::stop::flag(),
        sink: &mut sink,
        observer: &mut observer,
    };
    match measure::run(&what.what, &mut bench) {
        Ok(()) => tally.finished += 1,
        Err(Error::Interrupted) => tally.interrupted = true,
        Err(Error::Sink(error)) => return Err(error.into()),
        Err(error) => {
            tally.failed += 1;
            let (status, reason) = ("failed".into(), error.to_string());
            console.say(&format!("{}: {reason}", experiment.name));
            writer.append(&Observation { status, reason, time: now(), ..identity })?;
        }
    }
    Ok(path)
}

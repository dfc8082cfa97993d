//! `slidebench list`: what there is to run, what of it was run, and what that cost.

use super::{End, devices};
use crate::engine::REGISTRY;
use crate::experiment::{CATALOGUE, Experiment, Scale, parse};
use crate::record::{File, Paper, Place, Row, read_dir};
use anyhow::Context;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the records are that tell what was run
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    let records = if arguments.results.exists() { read_dir(&arguments.results)?.files } else { Vec::new() };
    let here = devices::machine(None).label;
    let mut experiments: Vec<Experiment> = Vec::new();
    for (file, text) in CATALOGUE {
        experiments.push(parse(text, file, Scale::Quick).context("a shipped experiment is damaged")?);
    }
    experiments.sort_by_key(|experiment| Place::of(&experiment.name));
    let mut out = std::io::stdout().lock();
    writeln!(out, "Experiments (slidebench run NAME; `run paper` runs all):")?;
    for paper in Paper::ALL {
        let ours = |experiment: &&Experiment| Place::of(&experiment.name).paper == paper;
        for (i, experiment) in experiments.iter().filter(ours).enumerate() {
            if i == 0 {
                writeln!(out, "\n{}", paper.title())?;
            }
            writeln!(out, "\n  {}", experiment.name)?;
            for line in wrap(&experiment.question, 92) {
                writeln!(out, "      {line}")?;
            }
            let engines: Vec<&str> = experiment.engines.iter().map(|engine| engine.label()).collect();
            let data: Vec<&str> = experiment.data.iter().map(|data| data.source.as_str()).collect();
            let what = match &experiment.measure {
                Some(measure) => format!("measures {}", measure.what),
                None => format!("{} on {}", engines.join(", "), data.join(", ")),
            };
            for line in wrap(&what, 92) {
                writeln!(out, "      {line}")?;
            }
            for line in status(experiment, &records, &here) {
                writeln!(out, "      {line}")?;
            }
        }
    }
    writeln!(out, "\nEngines (--engines NAME,NAME):\n")?;
    let width = REGISTRY.iter().map(|engine| engine.name.len()).max().unwrap_or(0);
    for engine in REGISTRY {
        writeln!(out, "  {:width$}  {}", engine.name, engine.summary)?;
    }
    Ok(End::Done)
}

/// What the records say of an experiment: on this machine scale by scale, else where.
fn status(experiment: &Experiment, records: &[File], here: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut elsewhere: Vec<&str> = Vec::new();
    for scale in [Scale::Quick, Scale::Smoke, Scale::Paper] {
        let id = experiment.id(scale);
        let mut newest: Option<(&str, f64)> = None;
        for file in records {
            let label = file.machine.as_ref().map_or("", |machine| machine.label.as_str());
            let Some((time, seconds)) = cost(file, &id) else { continue };
            if label != here {
                elsewhere.extend((!elsewhere.contains(&label)).then_some(label));
            } else if newest.is_none_or(|(known, _)| known <= time) {
                newest = Some((time, seconds));
            }
        }
        if let Some((time, seconds)) = newest {
            let day = time.get(..10).unwrap_or("on an unknown day");
            lines.push(format!("recorded here: scale {}, {day}, {}", scale.name(), duration(seconds)));
        }
    }
    match (lines.is_empty(), elsewhere.is_empty()) {
        (true, true) => lines.push("not recorded".into()),
        (true, false) => lines.push(format!("not recorded here, but on {}", elsewhere.join(", "))),
        _ => {}
    }
    lines
}

/// When an experiment's records in a file end, and the seconds they took: of every run from set-up to its last row; of
/// a measurement from its first value to its last. None where the file holds nothing of it.
fn cost<'a>(file: &'a File, id: &str) -> Option<(&'a str, f64)> {
    let mut runs: BTreeMap<(&str, &str, &str, u64, u32), f64> = BTreeMap::new();
    let rows = file.rows.iter().filter(|row| row.experiment == id && row.p1.is_some());
    let mut last = None;
    for row in rows {
        let Row { dataset, engine, stage, seed, learning_rate, .. } = row;
        let run = runs.entry((dataset, engine, stage, *seed, learning_rate.to_bits())).or_default();
        *run = run.max(row.total_s.unwrap_or_default());
        last = last.max(Some(row.time.as_str()));
    }
    if let Some(last) = last {
        return Some((last, runs.values().sum()));
    }
    let complete = file.observations.iter().rev().find(|one| one.experiment == id && one.status == "complete")?;
    let first = file.observations.iter().find(|one| one.settings == complete.settings)?;
    let seconds = seconds_of(&complete.time).zip(seconds_of(&first.time)).map_or(0.0, |(end, start)| end - start);
    Some((&complete.time, seconds.max(0.0)))
}

/// Seconds of an RFC 3339 time, UTC, from the start of its month: enough to subtract within a run.
fn seconds_of(time: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| time.get(range)?.parse::<f64>().ok();
    Some(((number(8..10)? * 24.0 + number(11..13)?) * 60.0 + number(14..16)?) * 60.0 + number(17..19)?)
}

/// `8 s`, `6 min 12 s`, `1 h 30 min`.
fn duration(seconds: f64) -> String {
    match seconds.round() as u64 {
        0 => "under a second".into(),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Breaks a text into lines of at most `width` characters at its spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Machine, Observation};

    #[test]
    fn wraps_at_spaces() {
        assert_eq!(wrap("one two  three\nfour", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
    }

    #[test]
    fn the_status_tells_machine_day_and_cost() {
        let experiment = crate::experiment::load("default", Scale::Quick).unwrap();
        let row = |engine: &str, seconds: f64, day: u8| Row {
            experiment: "default".into(),
            engine: engine.into(),
            p1: Some(0.5),
            total_s: Some(seconds),
            time: format!("2026-11-{day}T10:00:00Z"),
            ..Row::default()
        };
        let file = |label: &str, rows: Vec<Row>| File {
            machine: Some(Machine { label: label.into(), ..Machine::default() }),
            rows,
            ..File::default()
        };
        let rows = vec![row("a", 20.0, 21), row("a", 50.0, 22), row("b", 60.0, 22)];
        let files = [file("here", rows), file("there", vec![row("a", 1.0, 23)])];
        assert_eq!(status(&experiment, &files, "here"), ["recorded here: scale quick, 2026-11-22, 1 min 50 s"]);
        assert_eq!(status(&experiment, &files, "nowhere"), ["not recorded here, but on here, there"]);
        assert_eq!(status(&experiment, &[], "here"), ["not recorded"]);
        let line = |time: &str, status: &str| Observation {
            experiment: "default".into(),
            time: time.into(),
            status: status.into(),
            ..Observation::default()
        };
        let observations = vec![line("2026-11-22T10:00:00Z", "ok"), line("2026-11-22T11:02:03Z", "complete")];
        let measured = File { observations, ..file("here", vec![]) };
        assert_eq!(status(&experiment, &[measured], "here"), ["recorded here: scale quick, 2026-11-22, 1 h 2 min"]);
    }
}

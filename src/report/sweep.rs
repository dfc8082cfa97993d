//! Which number a study varies, and the lines over it: labels, threads, batch, or whatever else a data set's name or an
//! engine's options say.

use super::runs::{Contestant, Panel, Study};
use super::statistics::Spread;
use super::style::Style;
use std::collections::{BTreeMap, BTreeSet};

/// Values over the number that varies.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The data set, or nothing where it is the data that vary.
    pub title: String,
    /// What varies: `threads`, `labels`.
    pub x_name: String,
    /// One an engine.
    pub lines: Vec<Line>,
}

/// An engine over the number that varies.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub style: Style,
    /// Ascending.
    pub points: Vec<(f64, Spread)>,
}

/// The sweeps of a study by `value`: one a data set where contestants differ by a number, else one over the data sets
/// where those do. Empty where nothing varies.
pub fn sweeps(study: &Study, value: &dyn Fn(&Contestant) -> Option<Spread>) -> Vec<Sweep> {
    let within: Vec<Sweep> = study.panels.iter().filter_map(|panel| over_settings(panel, value)).collect();
    if within.is_empty() { over_data(study, value).into_iter().collect() } else { within }
}

/// The settings of a contestant by name: threads, batch, and its options as `hashed lsh bits`.
fn settings(contestant: &Contestant) -> BTreeMap<String, String> {
    fn walk(prefix: &str, value: &serde_json::Value, found: &mut BTreeMap<String, String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    walk(format!("{prefix} {key}").trim_start(), value, found);
                }
            }
            other => drop(found.insert(prefix.into(), other.to_string())),
        }
    }
    let mut found = BTreeMap::new();
    let row = contestant.runs.first().and_then(|run| run.last());
    if let Some(row) = row {
        walk("", &serde_json::from_str(&row.options).unwrap_or_default(), &mut found);
        found.insert("threads".into(), row.threads.to_string());
        found.insert("batch".into(), row.batch.to_string());
    }
    found
}

fn over_settings(panel: &Panel, value: &dyn Fn(&Contestant) -> Option<Spread>) -> Option<Sweep> {
    let all: Vec<(&Contestant, BTreeMap<String, String>)> =
        panel.contestants.iter().filter(|one| !one.runs.is_empty()).map(|one| (one, settings(one))).collect();
    // How many values of a key one engine was given; threads and batch go before options.
    let names: BTreeSet<&String> = all.iter().flat_map(|(_, settings)| settings.keys()).collect();
    let varied = |key: &str| {
        let mut engines: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for (contestant, settings) in &all {
            let number = settings.get(key).and_then(|text| text.parse::<f64>().ok());
            engines.entry(&contestant.engine).or_default().extend(number.map(f64::to_bits));
        }
        engines.values().map(BTreeSet::len).max().unwrap_or_default()
    };
    let rank = |key: &String| (varied(key), key == "threads" || key == "batch");
    let x_name = names.into_iter().max_by_key(|key| rank(key)).filter(|key| varied(key) > 1)?.clone();
    type Settings<'a> = BTreeMap<&'a String, &'a String>;
    let mut groups: BTreeMap<(&str, Settings<'_>), Vec<(&Contestant, f64)>> = BTreeMap::new();
    for (contestant, settings) in &all {
        let rest = settings.iter().filter(|(key, _)| **key != x_name).collect();
        let Some(x) = settings.get(&x_name).and_then(|text| text.parse().ok()) else { continue };
        groups.entry((&contestant.engine, rest)).or_default().push((contestant, x));
    }
    let lines = groups.into_values().map(|members| {
        let (first, _) = members[0];
        let mut points: Vec<(f64, Spread)> =
            members.iter().filter_map(|&(contestant, x)| Some((x, value(contestant)?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let names: Vec<&str> = members.iter().map(|(contestant, _)| contestant.name.as_str()).collect();
        Line { name: common(&names, &x_name), style: first.style, points }
    });
    let mut lines: Vec<Line> = lines.filter(|line| !line.points.is_empty()).collect();
    lines.sort_by_key(|line| all.iter().position(|(contestant, _)| contestant.name.starts_with(&line.name)));
    (!lines.is_empty()).then(|| Sweep { title: panel.dataset.clone(), x_name, lines })
}

/// What several names begin with, without the number that tells them apart: `lsh-cpu` of `lsh-cpu, 2 threads` and
/// `lsh-cpu, 4 threads`.
fn common(names: &[&str], x_name: &str) -> String {
    let [first, rest @ ..] = names else { return String::new() };
    if rest.is_empty() {
        return (*first).into();
    }
    let shared = |name: &&str| name.chars().zip(first.chars()).take_while(|(a, b)| a == b).count();
    let length = rest.iter().map(shared).min().unwrap_or_default();
    let start: String = first.chars().take(length).collect();
    let blank = |c: char| !c.is_alphanumeric();
    let cut = start.trim_end_matches(|c: char| c.is_ascii_digit() || blank(c));
    let cut = cut.strip_suffix(x_name.trim_end_matches('s')).unwrap_or(cut).trim_end_matches(blank);
    if cut.is_empty() { (*first).into() } else { cut.into() }
}

/// Numbers that a data set's name gives: `synthetic:amazon-670k@0.1?features=20` has `scale` 0.1 and `features` 20.
fn numbers(dataset: &str) -> BTreeMap<String, f64> {
    let (source, query) = dataset.split_once('?').unwrap_or((dataset, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let scale = source.split_once('@').map(|(_, scale)| ("scale", scale));
    let number = |(key, text): (&str, &str)| Some((key.to_string(), text.parse().ok()?));
    pairs.chain(scale).filter(|(key, _)| !["train", "test", "seed"].contains(key)).filter_map(number).collect()
}

fn over_data(study: &Study, value: &dyn Fn(&Contestant) -> Option<Spread>) -> Option<Sweep> {
    let labels = |panel: &Panel| panel.contestants.iter().find_map(Contestant::labels);
    let mut found: Vec<BTreeMap<String, f64>> = study.panels.iter().map(|panel| numbers(&panel.dataset)).collect();
    for (numbers, panel) in found.iter_mut().zip(&study.panels) {
        numbers.extend(labels(panel).map(|labels| ("labels".to_string(), labels)));
    }
    let names: BTreeSet<&String> = found.iter().flat_map(BTreeMap::keys).collect();
    let varied =
        |key: &str| found.iter().filter_map(|n| n.get(key)).map(|x| x.to_bits()).collect::<BTreeSet<_>>().len();
    let rank = |key: &String| (varied(key), key == "labels");
    let x_name = names.into_iter().max_by_key(|key| rank(key)).filter(|key| varied(key) > 1)?.clone();
    let mut lines: Vec<Line> = Vec::new();
    for (panel, numbers) in study.panels.iter().zip(&found) {
        let Some(&x) = numbers.get(&x_name) else { continue };
        for contestant in &panel.contestants {
            let Some(spread) = value(contestant) else { continue };
            let at = lines.iter().position(|line| line.name == contestant.name).unwrap_or_else(|| {
                lines.push(Line { name: contestant.name.clone(), style: contestant.style, points: Vec::new() });
                lines.len() - 1
            });
            lines[at].points.push((x, spread));
        }
    }
    lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    let x_name = if x_name == "features" { "non-zeros a row".into() } else { x_name };
    (!lines.is_empty()).then_some(Sweep { title: String::new(), x_name, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_the_number_that_varies() {
        for (names, x, line) in [
            (&["lsh-cpu, 1 thread", "lsh-cpu, 2 threads"][..], "threads", "lsh-cpu"),
            (&["lsh-cpu, 16 threads", "lsh-cpu, 1 thread"], "threads", "lsh-cpu"),
            (&["lsh-cpu:batch-64", "lsh-cpu:batch-128"], "batch", "lsh-cpu"),
            (&["dense-cpu:bf16"], "threads", "dense-cpu:bf16"),
            (&["64 a", "128 a"], "batch", "64 a"),
        ] {
            assert_eq!(common(names, x), line);
        }
    }

    #[test]
    fn names_of_data_hold_numbers() {
        let found = numbers("synthetic:amazon-670k@0.1?train=100&features=20");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("features".to_string(), 20.0), ("scale".to_string(), 0.1)]);
        assert!(numbers("moby").is_empty());
    }
}

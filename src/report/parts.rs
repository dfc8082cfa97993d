//! Measurements of parts, put in order: cases, the x they were measured at, and their repeats.

use super::runs;
use super::statistics::Spread;
use crate::record::{Observation, Place, Provenance, Records};
use std::path::PathBuf;

/// What one measurement saw on one machine: the newest settings that came to their end, or the newest at all.
#[derive(Clone, Debug)]
pub struct Part {
    pub experiment: String,
    /// The machine's label; the folder's name where there is no `machine.toml`.
    pub label: String,
    /// The experiment as it was run, where the records tell.
    pub provenance: Option<Provenance>,
    pub file: PathBuf,
    pub seen: Vec<Observation>,
}

impl Part {
    /// A heading.
    pub fn title(&self) -> String {
        super::runs::title(&self.experiment, self.provenance.as_ref())
    }

    /// What x is, where there is one.
    pub fn x_name(&self) -> Option<&str> {
        self.seen.iter().map(|one| one.x_name.as_str()).find(|name| !name.is_empty())
    }

    /// The cases in the order they were measured.
    pub fn cases(&self) -> Vec<&str> {
        let mut cases: Vec<&str> = Vec::new();
        for one in self.seen.iter().filter(|one| !one.case.is_empty()) {
            if !cases.contains(&one.case.as_str()) {
                cases.push(&one.case);
            }
        }
        cases
    }

    /// The quantities with their units, in the order they were measured.
    pub fn quantities(&self) -> Vec<(&str, &str)> {
        let mut quantities: Vec<(&str, &str)> = Vec::new();
        for one in self.seen.iter().filter(|one| !one.quantity.is_empty()) {
            if !quantities.contains(&(&one.quantity, &one.unit)) {
                quantities.push((&one.quantity, &one.unit));
            }
        }
        quantities
    }

    /// A quantity of a case over x, ascending: median and range over repeats. One entry without x where there is none.
    pub fn series(&self, case: &str, quantity: &str, unit: &str) -> Vec<(Option<f64>, Spread)> {
        let ours = || self.seen.iter().filter(|o| o.case == case && o.quantity == quantity && o.unit == unit);
        let mut xs: Vec<Option<f64>> = ours().map(|one| one.x).collect();
        xs.sort_by(|a, b| a.unwrap_or(f64::NAN).total_cmp(&b.unwrap_or(f64::NAN)));
        xs.dedup();
        let spread = |x| Spread::of(ours().filter(|one| one.x == x).filter_map(|one| one.value));
        xs.into_iter().filter_map(|x| Some((x, spread(x)?))).collect()
    }

    /// A quantity of a case that was measured at one x only.
    pub fn value(&self, case: &str, quantity: &str, unit: &str) -> Option<Spread> {
        match self.series(case, quantity, unit).as_slice() {
            [(_, spread)] => Some(*spread),
            _ => None,
        }
    }
}

/// Orders all measurements. Of one experiment on one machine, the one that finished last counts; where none did, the
/// one that was measured last.
pub fn parts(records: &Records) -> Vec<Part> {
    let mut parts: Vec<((bool, String), Part)> = Vec::new();
    for file in records.files.iter().filter(|file| !file.observations.is_empty()) {
        let complete = file.observations.iter().rev().find(|one| one.status == "complete");
        let Some(newest) = complete.or(file.observations.last()) else { continue };
        let rank = (complete.is_some(), newest.time.clone());
        let part = Part {
            experiment: newest.experiment.clone(),
            label: runs::label(file),
            provenance: file.provenance.clone(),
            file: file.path.clone(),
            seen: file.observations.iter().filter(|one| one.settings == newest.settings).cloned().collect(),
        };
        let same = |(_, other): &(_, Part)| other.experiment == part.experiment && other.label == part.label;
        match parts.iter().position(same) {
            Some(at) if rank >= parts[at].0 => parts[at] = (rank, part),
            Some(_) => {}
            None => parts.push((rank, part)),
        }
    }
    let mut parts: Vec<Part> = parts.into_iter().map(|(_, part)| part).collect();
    let machines = runs::Machines::of(records);
    parts.sort_by_key(|part| (Place::of(&part.experiment), machines.rank(&part.label), part.label.clone()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::File;

    fn seen(settings: &str, case: &str, x: Option<f64>, value: f64, status: &str) -> Observation {
        Observation {
            experiment: "e".into(),
            settings: settings.into(),
            case: case.into(),
            x,
            quantity: "time".into(),
            unit: "s".into(),
            value: Some(value),
            status: status.into(),
            ..Observation::default()
        }
    }

    #[test]
    fn the_newest_finished_measurement_counts_and_repeats_become_a_spread() {
        let file =
            |path: &str, observations: Vec<Observation>| File { path: path.into(), observations, ..File::default() };
        let finished = file(
            "2026-a/e.csv",
            vec![
                seen("1", "old", None, 9.0, "ok"),
                seen("1", "", None, 0.0, "complete"),
                seen("2", "b", Some(2.0), 3.0, "ok"),
                seen("2", "a", Some(2.0), 1.0, "ok"),
                seen("2", "a", Some(2.0), 3.0, "ok"),
                seen("2", "a", Some(1.0), 7.0, "ok"),
                seen("2", "", None, 0.0, "complete"),
                seen("3", "torn", None, 9.0, "ok"),
            ],
        );
        let parts = parts(&Records { files: vec![finished], warnings: vec![] });
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].cases(), ["b", "a"]);
        let series = parts[0].series("a", "time", "s");
        assert_eq!(series.iter().map(|(x, s)| (x.unwrap(), s.median)).collect::<Vec<_>>(), [(1.0, 7.0), (2.0, 2.0)]);
        assert_eq!((series[1].1.min, series[1].1.max), (1.0, 3.0));
        assert_eq!(parts[0].value("b", "time", "s").unwrap().median, 3.0);
        assert!(parts[0].value("a", "time", "s").is_none(), "more than one x");
    }
}

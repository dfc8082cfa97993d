//! Records put in order: which machine, experiment and data set, which contestant, which run.

use super::statistics::{Point, Reached, Spread, crossing, curve};
use super::style::Style;
use super::verdict::below;
use crate::record::{File, Machine, Place, Provenance, Records, Row};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What one experiment measured on one machine.
#[derive(Clone, Debug)]
pub struct Study {
    pub experiment: String,
    /// The machine's label; the folder's name where there is no `machine.toml`.
    pub label: String,
    pub machine: Option<Machine>,
    /// The experiment as it was run, where the records tell.
    pub provenance: Option<Provenance>,
    /// One a data set, in the order they were run.
    pub panels: Vec<Panel>,
    pub files: Vec<PathBuf>,
}

/// One data set of a study: everything that may share a curve's axes.
#[derive(Clone, Debug)]
pub struct Panel {
    pub dataset: String,
    pub contestants: Vec<Contestant>,
}

/// One engine with one set of options on one data set.
#[derive(Clone, Debug)]
pub struct Contestant {
    /// As named in curves and tables; says `(software)` for a software GPU adapter, and what differs where the same
    /// engine competes more than once.
    pub name: String,
    /// The registry's name of the engine, where the records tell; else its label.
    pub engine: String,
    pub style: Style,
    /// Which of the contestants with the same style this is, from 0: chooses the dash pattern.
    pub variant: usize,
    pub software: bool,
    /// One a seed, of those that produced evaluations.
    pub runs: Vec<Run>,
    /// Rows that say why something did not run or end.
    pub troubles: Vec<Row>,
    /// Evaluations of a learning-rate search.
    pub search: Vec<Row>,
}

/// One training run: one seed from the initial parameters to the end.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub seed: u64,
    /// What the run was set to, as a hash.
    pub settings: String,
    /// Evaluations on the sample, in time order.
    pub sample: Vec<Row>,
    /// The evaluation of the whole test set, at the end.
    pub full: Option<Row>,
    /// The same through the engine's own selection, where it was measured.
    pub hashed: Option<Row>,
}

/// What a curve is drawn over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    TrainSeconds,
    CpuSeconds,
    Steps,
}

impl Axis {
    /// Its value in a row.
    pub fn of(self, row: &Row) -> Option<f64> {
        match self {
            Axis::TrainSeconds => row.train_s,
            Axis::CpuSeconds => row.cpu_s,
            Axis::Steps => Some(row.step as f64),
        }
    }
}

/// The heading of an experiment: its own, or made of its name.
pub fn title(experiment: &str, provenance: Option<&Provenance>) -> String {
    let given = provenance.and_then(|provenance| provenance.title.clone());
    given.unwrap_or_else(|| Place::of(experiment).title())
}

/// A data set's name as it is shown: of a pair of files, the folder they lie in.
fn shown(source: &str) -> String {
    let folder = source.strip_prefix("xmc:").and_then(|files| {
        let first = files.split(',').next()?;
        Path::new(first).parent()?.file_name()?.to_str()
    });
    folder.unwrap_or(source).into()
}

impl Study {
    /// A heading.
    pub fn title(&self) -> String {
        title(&self.experiment, self.provenance.as_ref())
    }

    /// Whether a figure of this kind is asked for; those of accuracy and of the time of an epoch where none is named.
    pub fn renders(&self, kind: &str) -> bool {
        const UNLESS_ASKED: [&str; 5] =
            ["time-accuracy", "iteration-accuracy", "cpu-accuracy", "epoch-seconds", "phases"];
        let asked = self.provenance.as_ref().map_or(&[][..], |provenance| &provenance.renders);
        if asked.is_empty() { UNLESS_ASKED.contains(&kind) } else { asked.iter().any(|one| one == kind) }
    }

    /// Whether it asks about accuracy, or about the cost of steps alone.
    pub fn is_about_accuracy(&self) -> bool {
        ["time-accuracy", "iteration-accuracy", "cpu-accuracy"].into_iter().any(|kind| self.renders(kind))
    }
}

impl Run {
    fn of(row: &Row) -> Self {
        Self { seed: row.seed, settings: row.settings.clone(), ..Self::default() }
    }

    /// P@1 over an axis, ascending.
    pub fn points(&self, axis: Axis) -> Vec<(f64, f64)> {
        let mut points: Vec<(f64, f64)> = self.sample.iter().filter_map(|row| Some((axis.of(row)?, row.p1?))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }

    /// A clock's seconds a step.
    pub fn a_step(&self, clock: Axis) -> Option<f64> {
        let row = self.last()?;
        Some(clock.of(row)? / row.step as f64).filter(|seconds| seconds.is_finite())
    }

    /// The last thing recorded of the training itself.
    pub fn last(&self) -> Option<&Row> {
        self.sample.last().into_iter().chain(&self.full).max_by_key(|row| row.step)
    }
}

impl Contestant {
    /// Whether it may stand in verdicts and ratios.
    pub fn counts(&self) -> bool {
        !self.software && !self.runs.is_empty()
    }

    /// Median P@1 over the axis, with its range over seeds.
    pub fn curve(&self, axis: Axis) -> Vec<Point> {
        curve(&self.runs.iter().map(|run| run.points(axis)).collect::<Vec<_>>())
    }

    /// What each run needed to reach a P@1 on the sample.
    pub fn reached(&self, axis: Axis, target: f64) -> Reached {
        Reached { runs: self.runs.iter().map(|run| crossing(&run.points(axis), target)).collect() }
    }

    /// P@1 on the sample at the end of training.
    pub fn end(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.points(Axis::Steps).last().map(|&(_, p1)| p1)))
    }

    /// A figure of each run's last row.
    pub fn last(&self, figure: impl Fn(&Row) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.last().and_then(&figure)))
    }

    /// A figure of each run's evaluation of the whole test set.
    pub fn full(&self, figure: impl Fn(&Row) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.full.as_ref().and_then(&figure)))
    }

    /// A clock's seconds a step.
    pub fn a_step(&self, clock: Axis) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|run| run.a_step(clock)))
    }

    /// L, the output neurons there are.
    pub fn labels(&self) -> Option<f64> {
        Some(self.last(|row| Some(row.labels? as f64))?.median)
    }

    /// Median over seeds of what rows count, over iterations.
    pub fn course(&self, figure: impl Fn(&Row) -> Option<f64>) -> Vec<Point> {
        let run = |run: &Run| run.sample.iter().filter_map(|row| Some((row.step as f64, figure(row)?))).collect();
        curve(&self.runs.iter().map(run).collect::<Vec<_>>())
    }

    /// Whether CPU seconds leave its work out.
    pub fn on_gpu(&self) -> bool {
        matches!(self.style, Style::DenseGpu | Style::LshGpu)
    }

    /// Whether it computes every neuron.
    pub fn is_dense(&self) -> bool {
        matches!(self.style, Style::DenseCpu | Style::DenseGpu)
    }

    /// Whether it is a sampled softmax: some of the neurons, none of them found by hashing or by computing all.
    pub fn is_sampled(&self) -> bool {
        const UNHASHED: [&str; 3] = ["sparse-cpu:best", "sparse-cpu:uniform", "sparse-cpu:frequency"];
        self.style == Style::Sampled || UNHASHED.contains(&self.engine.as_str())
    }

    /// Seconds of the training clock an epoch.
    pub fn epoch_seconds(&self) -> Option<Spread> {
        self.last(|row| Some(row.train_s? / row.epoch).filter(|seconds| seconds.is_finite()))
    }
}

impl Panel {
    /// The contestant of that name, if it may be compared.
    pub fn find(&self, name: &str) -> Option<&Contestant> {
        self.contestants.iter().find(|contestant| contestant.name == name && contestant.counts())
    }

    /// The dense contestant that is hardest to beat: the first at the P@1 at which the best of them ends, less
    /// [`SLACK`](super::verdict::SLACK).
    pub fn best_dense(&self) -> Option<&Contestant> {
        let dense = || self.contestants.iter().filter(|contestant| contestant.counts() && contestant.is_dense());
        let end = dense().filter_map(Contestant::end).map(|end| end.median).fold(f64::NAN, f64::max);
        let seconds = |contestant: &Contestant| {
            contestant.reached(Axis::TrainSeconds, below(end)).median().unwrap_or(f64::INFINITY)
        };
        dense().min_by(|a, b| seconds(a).total_cmp(&seconds(b)))
    }
}

/// Orders all records. Where a machine ran an engine of an experiment on a data set more than once, the file with the
/// latest evaluation of it counts.
pub fn studies(records: &Records) -> Vec<Study> {
    let mut studies: Vec<Study> = Vec::new();
    // Rows with an evaluation go before rows without, then the later ones, then the later files.
    let mut newest: BTreeMap<Key, (bool, &str, usize)> = BTreeMap::new();
    for (at, file) in records.files.iter().enumerate() {
        let label = label(file);
        for row in &file.rows {
            let this = (row.p1.is_some(), row.time.as_str(), at);
            let known = newest.entry(key(&label, row)).or_insert(this);
            *known = this.max(*known);
        }
    }
    for (at, file) in records.files.iter().enumerate() {
        let label = label(file);
        let counts = |row: &&Row| newest.get(&key(&label, row)).is_some_and(|&(.., newest)| newest == at);
        for row in file.rows.iter().filter(counts) {
            let study = match studies.iter().position(|s| s.experiment == row.experiment && s.label == label) {
                Some(known) => &mut studies[known],
                None => {
                    studies.push(Study {
                        experiment: row.experiment.clone(),
                        label: label.clone(),
                        machine: None,
                        provenance: None,
                        panels: Vec::new(),
                        files: Vec::new(),
                    });
                    studies.last_mut().expect("just pushed")
                }
            };
            if !study.files.contains(&file.path) {
                study.files.push(file.path.clone());
                study.machine = file.machine.clone().or(study.machine.take());
                study.provenance = file.provenance.clone().or(study.provenance.take());
            }
            study.panel(row).add(row);
        }
    }
    for study in &mut studies {
        for panel in &mut study.panels {
            panel.know_engines(study.provenance.as_ref());
            panel.name_contestants();
        }
    }
    // The experiment that answers the suite's question comes first, from the machine that asked it last.
    let machines = Machines::of(records);
    studies.sort_by_key(|study| (Place::of(&study.experiment), machines.rank(&study.label), study.label.clone()));
    studies
}

/// The machines that records come from.
pub struct Machines(BTreeMap<String, Standing>);

/// When a machine last ran the experiment that answers the suite's question (RFC 3339; empty: never), and how many records
/// it has.
type Standing = (String, usize);

impl Machines {
    pub fn of(records: &Records) -> Self {
        let mut machines: BTreeMap<String, Standing> = BTreeMap::new();
        for file in &records.files {
            let (last, count) = machines.entry(label(file)).or_default();
            let answers = file.rows.iter().filter(|row| row.experiment == "default");
            let newest = answers.map(|row| &row.time).max().cloned().unwrap_or_default();
            *last = newest.max(std::mem::take(last));
            *count += 1;
        }
        Self(machines)
    }

    /// Ascends from the machine that leads: the one whose answer to the suite's question is the newest, be it of one that
    /// has run nothing else; of those without an answer the one with most records.
    pub fn rank(&self, label: &str) -> Reverse<Standing> {
        Reverse(self.0.get(label).cloned().unwrap_or_default())
    }
}

/// The machine's label; the folder's name where there is no `machine.toml`.
pub fn label(file: &File) -> String {
    let folder = || file.path.parent().and_then(|f| f.file_name()).map(|f| f.to_string_lossy().into_owned());
    file.machine.as_ref().map(|machine| machine.label.clone()).or_else(folder).unwrap_or_default()
}

/// Machine, experiment, data set, engine, and whether that is a software adapter.
type Key = (String, String, String, String, bool);

fn key(label: &str, row: &Row) -> Key {
    (label.into(), row.experiment.clone(), row.dataset.clone(), row.engine.clone(), row.software)
}

impl Study {
    /// The panel of a row's data. Data of other content under the same name gets a panel of its own.
    fn panel(&mut self, row: &Row) -> &mut Panel {
        let dataset = shown(&row.dataset);
        let same = |panel: &Panel| {
            panel.dataset == dataset
                && panel.rows().all(|known| {
                    known.fingerprint == row.fingerprint || known.fingerprint.is_empty() || row.fingerprint.is_empty()
                })
        };
        let at = self.panels.iter().position(same).unwrap_or_else(|| {
            self.panels.push(Panel { dataset: dataset.clone(), contestants: Vec::new() });
            self.panels.len() - 1
        });
        &mut self.panels[at]
    }
}

impl Panel {
    /// One row of every run and trouble: enough to tell what was run.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.contestants.iter().filter_map(Contestant::any)
    }

    fn add(&mut self, row: &Row) {
        let at = self.contestants.iter().position(|contestant| contestant.takes(row)).unwrap_or_else(|| {
            self.contestants.push(Contestant {
                name: row.engine.clone(),
                engine: row.engine.clone(),
                style: Style::of(&row.engine, row.software),
                variant: 0,
                software: row.software,
                runs: Vec::new(),
                troubles: Vec::new(),
                search: Vec::new(),
            });
            self.contestants.len() - 1
        });
        self.contestants[at].add(row);
    }

    /// Tells engines by the experiment's own words. A label that says nothing of the engine takes the engine's colour.
    fn know_engines(&mut self, asked: Option<&Provenance>) {
        for contestant in &mut self.contestants {
            if let Some(asked) = asked {
                contestant.engine = asked.engine(&contestant.name).to_owned();
            }
            if matches!(contestant.style, Style::Other(_)) {
                contestant.style = Style::of(&contestant.engine, contestant.software);
            }
        }
    }

    /// Gives every contestant a name of its own: what differs is added where the same engine competes twice.
    fn name_contestants(&mut self) {
        let firsts: Vec<Row> = self.contestants.iter().map(|c| c.any().cloned().unwrap_or_default()).collect();
        for (at, contestant) in self.contestants.iter_mut().enumerate() {
            let row = &firsts[at];
            let rivals = || firsts.iter().filter(|other| other.engine == row.engine && other.software == row.software);
            let mut name = row.engine.clone();
            let mut tell = |differs: bool, what: String| {
                if differs {
                    name = format!("{name}, {what}");
                }
            };
            tell(rivals().any(|other| other.batch != row.batch), format!("batch {}", row.batch));
            let threads = if row.threads == 1 { "1 thread".into() } else { format!("{} threads", row.threads) };
            tell(rivals().any(|other| other.threads != row.threads), threads);
            tell(rivals().any(|other| other.options != row.options), options(&row.options));
            tell(
                rivals().any(|other| other.learning_rate != row.learning_rate),
                format!("learning rate {}", row.learning_rate),
            );
            contestant.name = if row.software { format!("{name} (software)") } else { name };
        }
        let mut seen: BTreeMap<Style, usize> = BTreeMap::new();
        for contestant in &mut self.contestants {
            let count = seen.entry(contestant.style).or_default();
            contestant.variant = *count;
            *count += 1;
        }
        // The order of legends and tables: the paper's, then the rest as they ran.
        self.contestants.sort_by_key(|contestant| match contestant.style {
            Style::Lsh => 0,
            Style::DenseGpu => 1,
            Style::DenseCpu => 2,
            Style::Software => 4,
            _ => 3,
        });
    }
}

/// Options as compact JSON, made readable: `{"tables":20}` becomes `tables 20`.
fn options(json: &str) -> String {
    let plain = json.replace(['{', '}', '"'], "").replace(':', " ").replace(',', ", ");
    if plain.is_empty() { "defaults".into() } else { plain }
}

impl Contestant {
    fn any(&self) -> Option<&Row> {
        let run = self.runs.first().and_then(|run| run.sample.first().or(run.full.as_ref()));
        run.or(self.troubles.first()).or(self.search.first())
    }

    /// Whether a row belongs to this contestant. Rows of a search and rows of trouble may lack settings, so they go
    /// to the first contestant of their engine.
    fn takes(&self, row: &Row) -> bool {
        let Some(known) = self.any() else { return false };
        let same = known.engine == row.engine && known.software == row.software;
        let settled = |row: &Row| row.p1.is_some() && row.stage != "search";
        let settings = |row: &Row| (row.options.clone(), row.batch, row.threads, row.learning_rate.to_bits());
        same && (!settled(known) || !settled(row) || settings(known) == settings(row))
    }

    fn add(&mut self, row: &Row) {
        if row.stage == "search" {
            self.search.push(row.clone());
            return;
        }
        if row.status != "ok" {
            self.troubles.push(row.clone());
        }
        if row.p1.is_none() {
            return;
        }
        if self.is_superseded_by(row) {
            self.runs.clear();
        }
        let at = self.runs.iter().position(|run| run.seed == row.seed).unwrap_or_else(|| {
            self.runs.push(Run::of(row));
            self.runs.len() - 1
        });
        let run = &mut self.runs[at];
        match (row.inference.as_str(), row.evaluation.as_str()) {
            ("hashed", _) => run.hashed = Some(row.clone()),
            (_, "full") => run.full = Some(row.clone()),
            _ => {
                // A step that goes back means that an interrupted run was started again.
                if run.sample.last().is_some_and(|last| last.step >= row.step) {
                    *run = Run::of(row);
                }
                run.sample.push(row.clone());
            }
        }
    }

    /// Whether anything that was set (settings without a column of their own too: hidden width, epochs, program) differs
    /// from what the runs so far were set to. Those are then another experiment's: a curve never mixes the two.
    fn is_superseded_by(&self, row: &Row) -> bool {
        self.runs.iter().any(|run| run.settings != row.settings)
    }

    /// Why it did not run or end, each reason once.
    pub fn reasons(&self) -> BTreeSet<(&str, &str)> {
        self.troubles.iter().map(|row| (row.status.as_str(), row.reason.as_str())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn files_are_shown_by_their_folder() {
        assert_eq!(
            shown("xmc:data/arxiv-authors/train.txt.zst,data/arxiv-authors/test.txt.zst?weighting=tf-idf"),
            "arxiv-authors"
        );
        assert_eq!(shown("xmc:train.txt,test.txt"), "xmc:train.txt,test.txt");
        assert_eq!(shown("synthetic:amazon-670k@0.1?test=9"), "synthetic:amazon-670k@0.1?test=9");
    }
}

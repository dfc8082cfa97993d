//! Which figures there are, each with its panels, its words and its numbers.

use super::bars::{Bar, Bars};
use super::plot::{Form, Plot, Series, Values};
use super::published;
use super::runs::{Axis, Contestant, Panel, Study};
use super::statistics::{Point, Spread};
use super::style::{PHASES, Style};
use super::svg::{Anchor, Drawing};
use super::sweep::sweeps;

/// One figure: panels that stand side by side.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Its file name, without ending.
    pub name: String,
    pub title: String,
    /// What to know when reading it.
    pub caption: String,
    pub panels: Vec<PanelDrawing>,
    /// What is drawn, as CSV.
    pub csv: String,
}

/// A panel with its text alternative; `linear` is the same with a linear x axis, where the
/// figure's is one of logarithmic time.
#[derive(Clone, Debug)]
pub struct PanelDrawing {
    pub words: String,
    pub drawing: Drawing,
    pub linear: Option<Drawing>,
}

impl Figure {
    /// All panels in one file, three a row at most, under the figure's title.
    pub fn svg(&self) -> String {
        const GAP: f64 = 12.0;
        let columns = match self.panels.len() {
            4 => 2,
            n => n.clamp(1, 3),
        };
        let (mut x, mut y, mut tallest, mut width) = (GAP, 40.0, 0.0f64, 0.0f64);
        let mut whole = Drawing::default();
        for (i, panel) in self.panels.iter().enumerate() {
            if i > 0 && i % columns == 0 {
                (x, y, tallest) = (GAP, y + tallest + GAP, 0.0);
            }
            whole.place((x, y), &panel.drawing);
            x += panel.drawing.width + GAP;
            tallest = tallest.max(panel.drawing.height);
            width = width.max(x);
        }
        (whole.width, whole.height) = (width.max(300.0), y + tallest + GAP);
        let middle = whole.width / 2.0;
        whole.text("heading", (middle, 25.0), Anchor::Middle, &self.title);
        whole.file(&self.title, &self.words())
    }

    /// The figure in words.
    pub fn words(&self) -> String {
        self.panels.iter().map(|panel| panel.words.as_str()).collect::<Vec<_>>().join(" ")
    }
}

/// The figures of a study that its experiment asks for. `prefix` starts their names.
pub fn of(study: &Study, prefix: &str) -> Vec<Figure> {
    type Draw = fn(&Study, &str) -> Option<Figure>;
    let kinds: [(&str, Draw); 9] = [
        ("time-accuracy", |study, name| accuracy(study, Axis::TrainSeconds, name, "Accuracy against training time")),
        ("iteration-accuracy", |study, name| accuracy(study, Axis::Steps, name, "Accuracy against iterations")),
        ("cpu-accuracy", |study, name| accuracy(study, Axis::CpuSeconds, name, "Accuracy against CPU time")),
        ("sweep", sweep),
        ("recall", recall),
        ("active", active),
        ("epoch-seconds", epoch_seconds),
        ("step-time", step_time),
        ("phases", phases),
    ];
    let asked = kinds.into_iter().filter(|(kind, _)| study.renders(kind));
    asked.filter_map(|(kind, draw)| draw(study, &format!("{prefix}-{kind}"))).collect()
}

/// The label of an axis.
fn axis_label(axis: Axis) -> &'static str {
    match axis {
        Axis::TrainSeconds => "Training time (s)",
        Axis::CpuSeconds => "CPU time (s)",
        Axis::Steps => "Iterations",
    }
}

const ACCURACY: [&str; 7] = ["dataset", "series", "source", "x", "p_at_1", "min", "max"];

fn accuracy(study: &Study, axis: Axis, name: &str, title: &str) -> Option<Figure> {
    let mut csv = csv_of(&ACCURACY);
    let mut panels = Vec::new();
    let mut behind = Vec::new();
    for panel in &study.panels {
        let mut series = curves(panel, |contestant| contestant.curve(axis));
        if series.is_empty() {
            continue;
        }
        let mut batches: Vec<usize> = panel.rows().map(|row| row.batch).collect();
        batches.sort_unstable();
        batches.dedup();
        let figure = published::figure_for(&study.experiment, &panel.dataset, axis, &batches);
        behind.extend(figure);
        series.extend(figure.into_iter().flat_map(published_series));
        panels.push(plot(panel.dataset.clone(), axis, series, &mut csv));
    }
    let mut caption =
        "Lines are medians over seeds, bands the range; a dot marks where training ended. P@1 on a fixed \
                       sample of the test set."
            .to_string();
    match axis {
        Axis::TrainSeconds => caption += " The clock runs while training; evaluation stops it.",
        Axis::Steps => {}
        Axis::CpuSeconds => caption += " CPU seconds of the process over all threads; a GPU's own work is not in them.",
    }
    let beside = published::regenerated(&study.experiment, axis).filter(|(.., figure)| !behind.contains(figure));
    for (dataset, _, figure) in beside.filter(|_| !panels.is_empty()).collect::<Vec<_>>() {
        behind.push(figure);
        panels.push(plot(format!("{dataset}, as published"), axis, bare(figure).collect(), &mut csv));
    }
    if !behind.is_empty() {
        caption += " Dashed: the paper's curves, read off its figure, on the paper's machine and data.";
    }
    figure(name, format!("{title} · {}", study.label), caption, panels, csv)
}

/// A curve a contestant.
fn curves(panel: &Panel, points: impl Fn(&Contestant) -> Vec<Point>) -> Vec<Series> {
    let series = panel.contestants.iter().map(|contestant| Series {
        name: contestant.name.clone(),
        style: contestant.style,
        variant: contestant.variant,
        form: Form::Curve,
        points: points(contestant),
    });
    series.filter(|series| !series.points.is_empty()).collect()
}

/// Draws a panel of accuracy and adds its numbers to the figure's.
fn plot(title: String, axis: Axis, series: Vec<Series>, csv: &mut csv::Writer<Vec<u8>>) -> PanelDrawing {
    write_points(csv, &title, &series);
    let (x_label, y_label) = (axis_label(axis).into(), "Accuracy (P@1)".into());
    let plot = Plot { title, x_label, y_label, y: Values::Share, series };
    let linear = (axis != Axis::Steps).then(|| plot.draw(false));
    PanelDrawing { words: plot.describe(), drawing: plot.draw(true), linear }
}

pub(super) fn write_points(csv: &mut csv::Writer<Vec<u8>>, title: &str, series: &[Series]) {
    for series in series {
        let source = if series.form == Form::Published { "published" } else { "measured" };
        for Point { x, median, min, max } in &series.points {
            let numbers = [x, median, min, max].map(cell);
            let texts = [title, &series.name, source];
            write(csv, texts.into_iter().chain(numbers.iter().map(String::as_str)));
        }
    }
}

/// The curves of a figure of the paper.
fn published_series(figure: &'static str) -> impl Iterator<Item = Series> {
    published::figure(figure).map(|curve| Series {
        name: format!("{}, as published", curve.series),
        style: Style::of(&curve.series, false),
        variant: 0,
        form: Form::Published,
        points: curve.drawn(),
    })
}

/// The same, in a panel that holds nothing else.
fn bare(figure: &'static str) -> impl Iterator<Item = Series> {
    published_series(figure).map(|series| Series { name: series.name.replace(", as published", ""), ..series })
}

/// What a panel of `course` shows.
fn course(
    study: &Study,
    name: &str,
    (title, y_label, y): (&str, &str, Values),
    caption: &str,
    count: fn(&crate::record::Row) -> Option<f64>,
) -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "series", "source", "x", "value", "min", "max"]);
    let mut panels = Vec::new();
    for panel in &study.panels {
        let series = curves(panel, |contestant| contestant.course(count));
        if series.is_empty() {
            continue;
        }
        write_points(&mut csv, &panel.dataset, &series);
        let (title, x_label, y_label) = (panel.dataset.clone(), "Iterations".into(), y_label.into());
        let plot = Plot { title, x_label, y_label, y, series };
        panels.push(PanelDrawing { words: plot.describe(), drawing: plot.draw(false), linear: None });
    }
    figure(name, format!("{title} · {}", study.label), caption.into(), panels, csv)
}

fn recall(study: &Study, name: &str) -> Option<Figure> {
    let caption = "The share of the true top neurons, by inner product, that were active since the evaluation before: \
                   median over seeds, bands the range.";
    course(study, name, ("Recall of the true top neurons", "Recall", Values::Share), caption, |row| row.recall)
}

fn active(study: &Study, name: &str) -> Option<Figure> {
    let caption = "Output neurons that computed for a sample, true labels and random fill included, mean since the \
                   evaluation before: median over seeds, bands the range.";
    course(study, name, ("Active neurons", "Active neurons a sample", Values::Amount), caption, |row| row.active_mean)
}

/// The clocks of a step, with what their axes are called. A GPU's work is in no CPU seconds.
const CLOCKS: [(Axis, &str); 2] = [(Axis::TrainSeconds, "Seconds a step"), (Axis::CpuSeconds, "CPU seconds a step")];

fn a_step(contestant: &Contestant, clock: Axis) -> Option<Spread> {
    if clock == Axis::CpuSeconds && contestant.on_gpu() { None } else { contestant.a_step(clock) }
}

fn sweep(study: &Study, name: &str) -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "series", "source", "x", "value", "min", "max"]);
    let mut panels = Vec::new();
    let mut over = String::new();
    let mut draw = |title: String, x_label: String, y_label: &str, series: Vec<Series>| {
        write_points(&mut csv, &format!("{title}, {y_label}"), &series);
        let plot = Plot { title, x_label, y_label: y_label.into(), y: Values::Amount, series };
        panels.push(PanelDrawing { words: plot.describe(), drawing: plot.draw(plot.is_wide()), linear: None });
    };
    for (clock, y_label) in CLOCKS {
        for sweep in sweeps(study, &|contestant| a_step(contestant, clock)) {
            let mut seen = std::collections::BTreeMap::new();
            let series = sweep.lines.into_iter().map(|line| {
                let count: &mut usize = seen.entry(line.style).or_default();
                *count += 1;
                let point = |(x, Spread { median, min, max, .. })| Point { x, median, min, max };
                Series {
                    name: line.name,
                    style: line.style,
                    variant: *count - 1,
                    form: Form::Marked,
                    points: line.points.into_iter().map(point).collect(),
                }
            });
            let series = series.collect();
            let title = if sweep.title.is_empty() { "all data sets".into() } else { sweep.title };
            let x_label = sweep.x_name[..1].to_uppercase() + &sweep.x_name[1..];
            over = sweep.x_name;
            draw(title, x_label, y_label, series);
        }
    }
    let mut caption = format!(
        "The cost of a training step over {over}, rebuilds of hash tables included, evaluation excluded: medians over \
         seeds, with the range."
    );
    if study.experiment.starts_with("slide20-fig9") && over == "threads" {
        for dataset in ["Delicious-200K", "Amazon-670K"] {
            let series = published::over_cores(dataset).into_iter().map(|(series, points)| Series {
                name: series.into(),
                style: Style::of(series, false),
                variant: 0,
                form: Form::Published,
                points: points.into_iter().map(|(x, y)| Point { x, median: y, min: y, max: y }).collect(),
            });
            draw(format!("{dataset}, as published"), "Cores".into(), "Seconds to convergence", series.collect());
        }
        caption += " Dashed: SLIDE's figure 9, seconds to convergence on the paper's machine.";
    }
    figure(name, format!("The cost of a step over {over} · {}", study.label), caption, panels, csv)
}

fn step_time(study: &Study, name: &str) -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "engine", "clock", "seconds_a_step", "min", "max"]);
    let mut panels = Vec::new();
    for Panel { dataset, contestants } in &study.panels {
        for (clock, x_label) in CLOCKS {
            let mut drawn = Vec::new();
            for contestant in contestants {
                let Some(total) = a_step(contestant, clock) else { continue };
                let numbers = [total.median, total.min, total.max].map(cell);
                let [median, min, max] = &numbers;
                write(&mut csv, [dataset.as_str(), &contestant.name, x_label, median, min, max]);
                let (name, style) = (contestant.name.clone(), contestant.style);
                drawn.push(Bar { name, style, total, parts: Vec::new() });
            }
            panels.extend(bar_panel(dataset, x_label, drawn));
        }
    }
    let caption =
        "A training step, rebuilds of hash tables included, evaluation excluded: median over seeds, whiskers \
                   the range. CPU seconds are those of the process over all threads."
            .into();
    figure(name, format!("What a step costs · {}", study.label), caption, panels, csv)
}

/// A panel of bars, if there is one.
pub(super) fn bar_panel(title: &str, x_label: &str, bars: Vec<Bar>) -> Option<PanelDrawing> {
    let drawn = Bars { title: title.into(), x_label: x_label.into(), bars };
    let panel = |drawn: &Bars| PanelDrawing { words: drawn.describe(), drawing: drawn.draw(), linear: None };
    (!drawn.bars.is_empty()).then(|| panel(&drawn))
}

/// SLIDE's figure 5, redrawn from the readings, to compare shapes with.
pub fn as_published() -> Option<Figure> {
    let mut csv = csv_of(&ACCURACY);
    let shown = [Axis::TrainSeconds, Axis::Steps].map(|axis| published::regenerated("slide20-fig5", axis));
    let shown = shown.into_iter().flatten();
    let panels = shown.map(|(dataset, axis, figure)| plot((*dataset).into(), *axis, bare(figure).collect(), &mut csv));
    let panels = panels.collect();
    let caption = "Chen et al., MLSys 2020, figure 5, read off the paper (about ±2.5 % on a log time axis, ±0.002 on \
                   P@1): SLIDE on 44 Xeon cores, TensorFlow on the same cores and on a V100. Other data and another \
                   machine than above; only the shapes compare."
        .to_string();
    figure("as-published", "SLIDE's figure 5, as published".into(), caption, panels, csv)
}

fn epoch_seconds(study: &Study, name: &str) -> Option<Figure> {
    let bar = |contestant: &Contestant| Some((contestant.epoch_seconds()?, Vec::new()));
    let caption = "Training seconds an epoch, evaluation excluded: median over seeds, whiskers the range.".into();
    bars(study, name, "Seconds an epoch", "Seconds an epoch", caption, bar)
}

fn phases(study: &Study, name: &str) -> Option<Figure> {
    let bar = |contestant: &Contestant| {
        let total = contestant.epoch_seconds()?;
        let mut parts: Vec<(&'static str, f64)> = PHASES[..6]
            .iter()
            .map(|&(phase, ..)| {
                let part = contestant.last(|row| {
                    let seconds = match phase {
                        "upload" => row.upload_s,
                        "select" => row.select_s,
                        "forward" => row.forward_s,
                        "backward" => row.backward_s,
                        "update" => row.update_s,
                        _ => row.rebuild_s,
                    };
                    Some(seconds? / row.epoch).filter(|seconds| seconds.is_finite())
                });
                (phase, part.map_or(0.0, |part| part.median))
            })
            .collect();
        let known: f64 = parts.iter().map(|part| part.1).sum();
        parts.push(("other", (total.median - known).max(0.0)));
        (known > 0.0).then_some((total, parts))
    };
    let caption =
        "Where the training clock goes, medians over seeds. What an engine does not tell apart, the feeding of \
                   batches included, is “other”."
            .into();
    bars(study, name, "Where the time goes", "Seconds an epoch", caption, bar)
}

fn bars(
    study: &Study,
    name: &str,
    title: &str,
    x_label: &str,
    caption: String,
    bar: impl Fn(&Contestant) -> Option<(Spread, Vec<(&'static str, f64)>)>,
) -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "engine", "part", "seconds_an_epoch", "min", "max"]);
    let mut panels = Vec::new();
    for Panel { dataset, contestants } in &study.panels {
        let mut drawn = Vec::new();
        for contestant in contestants {
            let Some((total, parts)) = bar(contestant) else { continue };
            let numbers = [total.median, total.min, total.max].map(cell);
            let [median, min, max] = &numbers;
            write(&mut csv, [dataset.as_str(), &contestant.name, "total", median, min, max]);
            for (part, seconds) in &parts {
                write(&mut csv, [dataset.as_str(), &contestant.name, part, &cell(*seconds), "", ""]);
            }
            drawn.push(Bar { name: contestant.name.clone(), style: contestant.style, total, parts });
        }
        panels.extend(bar_panel(dataset, x_label, drawn));
    }
    figure(name, format!("{title} · {}", study.label), caption, panels, csv)
}

pub(super) fn figure(
    name: &str,
    title: String,
    caption: String,
    panels: Vec<PanelDrawing>,
    csv: csv::Writer<Vec<u8>>,
) -> Option<Figure> {
    let csv = String::from_utf8(csv.into_inner().ok()?).ok()?;
    (!panels.is_empty()).then(|| Figure { name: name.into(), title, caption, panels, csv })
}

/// A number for a CSV file: seven significant digits, more than any clock here has.
pub(super) fn cell(value: impl std::borrow::Borrow<f64>) -> String {
    let value = *value.borrow();
    format!("{value:.6e}").parse::<f64>().unwrap_or(value).to_string()
}

pub(super) fn csv_of(columns: &[&str]) -> csv::Writer<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    write(&mut csv, columns.iter().copied());
    csv
}

pub(super) fn write<'a>(csv: &mut csv::Writer<Vec<u8>>, cells: impl IntoIterator<Item = &'a str>) {
    csv.write_record(cells).expect("writing to memory cannot fail, and all rows of a figure are of one length");
}

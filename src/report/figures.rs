//! Which figures there are, each with its panels, its words and its numbers.

use super::bars::{Bar, Bars};
use super::plot::{Plot, Series};
use super::published;
use super::runs::{Axis, Contestant, Panel, Study};
use super::statistics::{Point, Spread};
use super::style::{PHASES, Style};
use super::svg::{Anchor, Drawing};

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

/// A panel with its text alternative; `linear` is the same with a linear x axis, where the figure's is logarithmic.
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

/// The figures of a study. `prefix` starts their names.
pub fn of(study: &Study, prefix: &str) -> Vec<Figure> {
    let curves = [
        (Axis::TrainSeconds, "time-accuracy", "Accuracy against training time"),
        (Axis::Steps, "iteration-accuracy", "Accuracy against iterations"),
        (Axis::CpuSeconds, "cpu-accuracy", "Accuracy against CPU time"),
    ];
    let mut figures: Vec<Figure> = curves
        .into_iter()
        .filter_map(|(axis, kind, title)| accuracy(study, axis, &format!("{prefix}-{kind}"), title))
        .collect();
    figures.extend(epoch_seconds(study, &format!("{prefix}-epoch-seconds")));
    figures.extend(phases(study, &format!("{prefix}-phases")));
    figures
}

/// The label of an axis.
fn axis_label(axis: Axis) -> &'static str {
    match axis {
        Axis::TrainSeconds => "Training time (s)",
        Axis::CpuSeconds => "CPU time (s)",
        Axis::Steps => "Iterations",
    }
}

fn accuracy(study: &Study, axis: Axis, name: &str, title: &str) -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "series", "source", "x", "p_at_1", "min", "max"]);
    let mut panels = Vec::new();
    let mut published = false;
    for panel in &study.panels {
        let mut series: Vec<Series> = panel
            .contestants
            .iter()
            .map(|contestant| Series {
                name: contestant.name.clone(),
                style: contestant.style,
                variant: contestant.variant,
                published: false,
                points: contestant.curve(axis),
            })
            .filter(|series| !series.points.is_empty())
            .collect();
        if series.is_empty() {
            continue;
        }
        let figure = published::figure_for(&panel.dataset, axis);
        published |= figure.is_some();
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
    if published {
        caption += " Dashed: the paper's curves, read off its figure, on the paper's machine and data.";
    }
    figure(name, format!("{title} · {}", study.label), caption, panels, csv)
}

/// Draws a panel of curves and adds its numbers to the figure's.
fn plot(title: String, axis: Axis, series: Vec<Series>, csv: &mut csv::Writer<Vec<u8>>) -> PanelDrawing {
    for series in &series {
        let source = if series.published { "published" } else { "measured" };
        for Point { x, median, min, max } in &series.points {
            let numbers = [x, median, min, max].map(cell);
            let texts = [title.as_str(), &series.name, source];
            write(csv, texts.into_iter().chain(numbers.iter().map(String::as_str)));
        }
    }
    let plot = Plot { title, x_label: axis_label(axis).into(), y_label: "Accuracy (P@1)".into(), series };
    PanelDrawing { words: plot.describe(), drawing: plot.draw(true), linear: Some(plot.draw(false)) }
}

/// The curves of a figure of the paper.
fn published_series(figure: &'static str) -> impl Iterator<Item = Series> {
    published::figure(figure).map(|curve| Series {
        name: format!("{}, as published", curve.series),
        style: Style::of(&curve.series, false),
        variant: 0,
        published: true,
        points: curve.drawn(),
    })
}

/// SLIDE's figure 5, redrawn from the readings, to compare shapes with.
pub fn as_published() -> Option<Figure> {
    let mut csv = csv_of(&["dataset", "series", "source", "x", "p_at_1", "min", "max"]);
    let panels = [
        ("Delicious-200K", "fig5_delicious_time", Axis::TrainSeconds),
        ("Delicious-200K", "fig5_delicious_iter", Axis::Steps),
        ("Amazon-670K", "fig5_amazon_time", Axis::TrainSeconds),
        ("Amazon-670K", "fig5_amazon_iter", Axis::Steps),
    ]
    .into_iter()
    .map(|(dataset, figure, axis)| {
        let series = published_series(figure)
            .map(|series| Series { name: series.name.replace(", as published", ""), ..series })
            .collect();
        plot(dataset.into(), axis, series, &mut csv)
    })
    .collect();
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
        if !drawn.is_empty() {
            let bars = Bars { title: dataset.clone(), x_label: x_label.into(), bars: drawn };
            panels.push(PanelDrawing { words: bars.describe(), drawing: bars.draw(), linear: None });
        }
    }
    figure(name, format!("{title} · {}", study.label), caption, panels, csv)
}

fn figure(
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
fn cell(value: impl std::borrow::Borrow<f64>) -> String {
    let value = *value.borrow();
    format!("{value:.6e}").parse::<f64>().unwrap_or(value).to_string()
}

fn csv_of(columns: &[&str]) -> csv::Writer<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    write(&mut csv, columns.iter().copied());
    csv
}

fn write<'a>(csv: &mut csv::Writer<Vec<u8>>, cells: impl IntoIterator<Item = &'a str>) {
    csv.write_record(cells).expect("writing to memory cannot fail, and all rows of a figure are of one length");
}

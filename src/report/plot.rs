//! Curves of accuracy, in the style of SLIDE's figures: small panels, thin lines without markers, the data set as
//! title, the legend inside.

use super::axis::Span;
use super::canvas::{AXIS, Canvas, GRID, Mark, Ticked, face, pixels, units};
use super::statistics::{Point, number, share};
use super::style::Style;
use super::svg::{Anchor, DASHES, Drawing, shorten, text_width};
use plotters::chart::ChartBuilder;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::IntoDrawingArea;

/// One panel of curves.
#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub style: Style,
    /// Dash pattern among curves of the same colour.
    pub variant: usize,
    /// Read off the paper's figure: dashed, thinner, behind ours.
    pub published: bool,
    pub points: Vec<Point>,
}

impl Series {
    /// A piece of the line and its name.
    fn key(&self, drawing: &mut Drawing, (x, y): (f64, f64)) {
        drawing.line(&self.line_class(), (x, y), (x + 22.0, y));
        drawing.text("small", (x + 28.0, y + 4.0), Anchor::Start, &shorten(&self.name, WIDTH - 50.0));
    }

    /// Points to draw; a logarithmic axis has no place for what lies at 0.
    fn visible(&self, log: bool) -> impl DoubleEndedIterator<Item = &Point> {
        self.points.iter().filter(move |p| p.x.is_finite() && p.median.is_finite() && (!log || p.x > 0.0))
    }

    fn median(&self, log: bool) -> Vec<(f64, f64)> {
        self.visible(log).map(|point| (point.x, point.median)).collect()
    }

    /// The band from minimum to maximum, the line of medians, and a dot where it ends.
    fn marks(&self, log: bool) -> Vec<Mark> {
        let class = self.style.class();
        let mut marks = Vec::new();
        if self.visible(log).any(|point| point.max > point.min) {
            let upper = self.visible(log).map(|point| (point.x, point.max));
            let lower = self.visible(log).rev().map(|point| (point.x, point.min));
            marks.push(Mark::area(format!("band f-{class}"), upper.chain(lower).collect()));
        }
        marks.push(Mark::line(self.line_class(), self.median(log)));
        if let (Some(end), false) = (self.visible(log).last(), self.published) {
            let tip = format!("{}: {} at {}", self.name, share(end.median), number(end.x));
            marks.push(Mark::dot(format!("f-{class}"), (end.x, end.median), tip));
        }
        marks
    }

    fn line_class(&self) -> String {
        let pattern = if self.published { "published".into() } else { format!("v{}", self.variant % DASHES.len()) };
        format!("line s-{} {pattern}", self.style.class())
    }
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;
const IN_MEMORY: &str = "drawing into memory does not fail";

impl Plot {
    /// Draws the panel with its x axis logarithmic or linear. A logarithmic axis leaves out what lies at 0.
    pub fn draw(&self, log: bool) -> Drawing {
        let mut drawing = Drawing::new(WIDTH, HEIGHT);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        drawing.text("title", ((LEFT + right) / 2.0, 17.0), Anchor::Middle, &self.title);
        let points = || self.series.iter().flat_map(|series| series.visible(log));
        let range = |low: fn(&Point) -> f64, high: fn(&Point) -> f64| {
            points().fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), p| (from.min(low(p)), to.max(high(p))))
        };
        let (x_from, x_to) = range(|p| p.x, |p| p.x);
        let (y_from, y_to) = range(|p| p.min, |p| p.max);
        if !x_from.is_finite() {
            let middle = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
            drawing.text("small", middle, Anchor::Middle, "nothing was measured here");
            return drawing;
        }
        let x = Span::new(log, (if log { x_from } else { x_from.min(0.0) }, x_to));
        let pad = ((y_to - y_from) * 0.05).max(0.004);
        let y = Span::new(false, ((y_from - pad).max(0.0), (y_to + pad).min(1.0)));
        let lines = if log {
            self.chart::<LogCoord<f64>>(&mut drawing, (x.from..x.to).log_scale(), x, y)
        } else {
            self.chart::<RangedCoordf64>(&mut drawing, x.from..x.to, x, y)
        };
        self.legend(&mut drawing, &lines);
        drawing
    }

    /// Draws axes and curves; gives back where the curves run.
    fn chart<X>(&self, drawing: &mut Drawing, scale: impl Into<X>, x: Span, y: Span) -> Vec<Vec<(f64, f64)>>
    where
        X: Ranged<ValueType = f64>,
    {
        let ticks = x.ticks_along(6, WIDTH - LEFT - RIGHT);
        let area = Canvas(drawing).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(pixels(TOP))
            .margin_right(pixels(RIGHT))
            .margin_left(pixels(4.0))
            .margin_bottom(pixels(6.0))
            .x_label_area_size(pixels(BOTTOM - 6.0))
            .y_label_area_size(pixels(LEFT - 4.0))
            .build_cartesian_2d(
                Ticked::<X>::new(scale, &ticks),
                Ticked::<RangedCoordf64>::new(y.from..y.to, &y.ticks(5)),
            )
            .expect(IN_MEMORY);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .set_all_tick_mark_size(pixels(4.0))
            .label_style(face("tick"))
            .axis_desc_style(face("label"))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .draw()
            .expect(IN_MEMORY);
        // Published curves behind ours, and of ours the first of the legend on top.
        for published in [true, false] {
            for series in self.series.iter().rev().filter(|series| series.published == published) {
                chart.draw_series(series.marks(x.log)).expect(IN_MEMORY);
            }
        }
        let place = |at: (f64, f64)| units(chart.backend_coord(&at));
        let lines = self.series.iter().map(|series| series.median(x.log).into_iter().map(place).collect()).collect();
        let minor: Vec<(f64, f64)> =
            ticks.iter().filter(|tick| tick.text.is_empty()).map(|tick| place((tick.value, y.from))).collect();
        drop(chart);
        drop(area);
        minor.into_iter().for_each(|(x, y)| drawing.line("axis", (x, y), (x, y + 2.5)));
        lines
    }

    /// Inside, at the lower right as in the paper or in another corner without curves; below where there is none.
    fn legend(&self, drawing: &mut Drawing, lines: &[Vec<(f64, f64)>]) {
        let series: Vec<&Series> = self.series.iter().filter(|series| !series.points.is_empty()).collect();
        let entry = |series: &Series| text_width(&series.name) * 0.95 + 40.0;
        let width = series.iter().map(|series| entry(series)).fold(0.0, f64::max);
        let height = series.len() as f64 * 16.0 + 6.0;
        let (right, bottom) = (WIDTH - RIGHT - 4.0, HEIGHT - BOTTOM - 5.0);
        let corners = [
            (right - width, bottom - height),
            (LEFT + 6.0, TOP + 2.0),
            (LEFT + 6.0, bottom - height),
            (right - width, TOP + 2.0),
        ];
        let free = |&(left, top): &(f64, f64)| {
            let steps = lines.iter().flat_map(|line| line.windows(2));
            left > LEFT
                && !steps
                    .flat_map(|pair| (0..=8).map(move |i| (pair[0], pair[1], f64::from(i) / 8.0)))
                    .map(|(a, b, t)| (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t))
                    .any(|(x, y)| (left..=left + width).contains(&x) && (top..=top + height).contains(&y))
        };
        if let Some((left, top)) = corners.into_iter().find(free) {
            drawing.rect("veil", left, top, width, height, "");
            for (i, series) in series.iter().enumerate() {
                series.key(drawing, (left + 6.0, top + 11.0 + i as f64 * 16.0));
            }
            return;
        }
        let (mut x, mut y) = (14.0, HEIGHT + 4.0);
        for series in series {
            if x > 14.0 && x + entry(series) > WIDTH {
                (x, y) = (14.0, y + 18.0);
            }
            series.key(drawing, (x, y));
            x += entry(series) + 6.0;
        }
        drawing.height = y + 12.0;
    }

    /// The curves in words, with numbers.
    pub fn describe(&self) -> String {
        let mut words = format!("{}: {} against {}.", self.title, self.y_label, self.x_label.to_lowercase());
        for series in &self.series {
            let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
            let best = series.points.iter().map(|point| point.median).fold(f64::NEG_INFINITY, f64::max);
            let half = series.points.iter().find(|point| point.median >= best / 2.0).unwrap_or(last);
            words += &format!(
                " {}: {} at {}, {} at {}, ends with {} at {}",
                series.name,
                share(first.median),
                number(first.x),
                share(half.median),
                number(half.x),
                share(last.median),
                number(last.x),
            );
            let range = if last.max > last.min {
                format!(" ({} to {} over the runs).", share(last.min), share(last.max))
            } else {
                ".".into()
            };
            words += &range;
        }
        words
    }
}

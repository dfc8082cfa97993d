//! Curves, in the style of SLIDE's figures: small panels, thin lines without markers, the data set as title, the legend
//! inside. What was measured at few places (a sweep, a measurement of parts) has a dot at each.

use super::axis::{Span, Tick};
use super::canvas::{AXIS, Canvas, GRID, Mark, Ticked, face, pixels, units};
use super::statistics::{Point, exact, number, share};
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
    pub y: Values,
    pub series: Vec<Series>,
}

/// What the y axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// From 0 to 1, written with three decimals, drawn over the range there is.
    Share,
    /// Anything: from 0, or logarithmic where the values span [`WIDE`].
    Amount,
}

/// Values whose largest is this many times their smallest want a logarithmic axis.
pub const WIDE: f64 = 20.0;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line with the band of its range, and a dot where it ends.
    Curve,
    /// Read off the paper's figure: dashed, thinner, behind ours.
    Published,
    /// A dot at each point, with its range, and a line through them.
    Marked,
    /// A line alone: a formula.
    Line,
    /// Dots alone, explained by the line of the same colour.
    Dots,
}

/// One curve.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub style: Style,
    /// Dash pattern among curves of the same colour.
    pub variant: usize,
    pub form: Form,
    pub points: Vec<Point>,
}

impl Series {
    fn has_dots(&self) -> bool {
        matches!(self.form, Form::Marked | Form::Dots)
    }

    /// A piece of the line and its name.
    fn key(&self, drawing: &mut Drawing, (x, y): (f64, f64)) {
        drawing.line(&self.line_class(), (x, y), (x + 22.0, y));
        if self.has_dots() {
            drawing.dot(&format!("f-{}", self.style.class()), (x + 11.0, y), "");
        }
        drawing.text("small", (x + 28.0, y + 4.0), Anchor::Start, &shorten(&self.name, WIDTH - 50.0));
    }

    /// The band from minimum to maximum, the line of medians, and dots; `points` are what the axes have a place for.
    fn marks(&self, points: &[Point], up: impl Fn(f64) -> f64, values: Values) -> Vec<Mark> {
        let class = self.style.class();
        let ranged = |point: &&Point| point.max > point.min;
        let mut marks = Vec::new();
        if self.form == Form::Curve && points.iter().any(|point| ranged(&point)) {
            let upper = points.iter().map(|point| (point.x, up(point.max)));
            let lower = points.iter().rev().map(|point| (point.x, up(point.min)));
            marks.push(Mark::area(format!("band f-{class}"), upper.chain(lower).collect()));
        }
        if self.form != Form::Dots {
            let line = points.iter().map(|point| (point.x, up(point.median)));
            marks.push(Mark::line(self.line_class(), line.collect()));
        }
        if self.has_dots() {
            for point in points.iter().filter(ranged) {
                let ends = vec![(point.x, up(point.min)), (point.x, up(point.max))];
                marks.push(Mark::line(format!("range s-{class}"), ends));
            }
        }
        let dotted = match self.form {
            Form::Curve => points.last().map_or(&[][..], std::slice::from_ref),
            Form::Marked | Form::Dots => points,
            Form::Published | Form::Line => &[],
        };
        for point in dotted {
            let tip = format!("{}: {} at {}", self.name, values.text(point.median), exact(point.x));
            marks.push(Mark::dot(format!("f-{class}"), (point.x, up(point.median)), tip));
        }
        marks
    }

    fn line_class(&self) -> String {
        let published = self.form == Form::Published;
        let pattern = if published { "published".into() } else { format!("v{}", self.variant % DASHES.len()) };
        format!("line s-{} {pattern}", self.style.class())
    }
}

impl Values {
    fn text(self, value: f64) -> String {
        match self {
            Values::Share => share(value),
            Values::Amount => number(value),
        }
    }

    /// The span of an axis over values from one to another.
    fn span(self, (from, to): (f64, f64)) -> Span {
        match self {
            Values::Share => {
                let pad = ((to - from) * 0.05).max(0.004);
                Span::new(false, ((from - pad).max(0.0), (to + pad).min(1.0)))
            }
            Values::Amount if from > 0.0 && to / from >= WIDE => Span::new(true, (from / 1.25, to * 1.25)),
            Values::Amount => {
                let pad = (to - from.min(0.0)) * 0.05;
                Span::new(false, (from.min(0.0), if to > 0.0 { to + pad } else { 1.0 }))
            }
        }
    }
}

/// Where the chart begins: right of the longest text of the y axis, and of the axis' name.
fn left(heights: &[Tick]) -> f64 {
    heights.iter().map(|tick| text_width(&tick.text) * 11.0 / 12.0 + 31.0).fold(LEFT, f64::max)
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
/// At least.
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
        drawing.title(&self.title, (LEFT + right) / 2.0);
        let drawn = |point: &&Point| point.x.is_finite() && point.median.is_finite() && (!log || point.x > 0.0);
        let visible: Vec<Vec<Point>> =
            self.series.iter().map(|series| series.points.iter().filter(drawn).copied().collect()).collect();
        let range = |low: fn(&Point) -> f64, high: fn(&Point) -> f64| {
            let points = visible.iter().flatten();
            points.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), p| (from.min(low(p)), to.max(high(p))))
        };
        let (x_from, x_to) = range(|p| p.x, |p| p.x);
        if !x_from.is_finite() {
            let middle = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
            drawing.text("small", middle, Anchor::Middle, "nothing was measured here");
            return drawing;
        }
        let settings = self.settings();
        let x = match settings.is_empty() {
            true => Span::new(log, (if log { x_from } else { x_from.min(0.0) }, x_to)),
            false => Span::new(log, (x_from, x_to)).with_room(),
        };
        let y = self.y.span(range(|p| p.min, |p| p.max));
        let lines = if log {
            self.chart::<LogCoord<f64>>(&mut drawing, (x.from..x.to).log_scale(), (x, y), &settings, &visible)
        } else {
            self.chart::<RangedCoordf64>(&mut drawing, x.from..x.to, (x, y), &settings, &visible)
        };
        let mut heights = y.ticks(5);
        heights.retain(|tick| !tick.text.is_empty());
        self.legend(&mut drawing, left(&heights), &lines);
        drawing
    }

    /// Whether the values of x span so much that small ones need a logarithmic axis to be told apart.
    pub fn is_wide(&self) -> bool {
        let xs = || self.series.iter().flat_map(|series| &series.points).map(|point| point.x);
        let (from, to) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
        from > 0.0 && to / from >= WIDE
    }

    /// The values of x where those were set, and are few enough to stand on the axis.
    fn settings(&self) -> Vec<f64> {
        let mut xs: Vec<f64> = self.series.iter().flat_map(|series| &series.points).map(|point| point.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let measured_there = self.series.iter().all(|series| series.form != Form::Curve);
        if measured_there && xs.len() <= 9 { xs } else { Vec::new() }
    }

    /// Draws axes and curves; gives back where the curves run.
    fn chart<X>(
        &self,
        drawing: &mut Drawing,
        scale: impl Into<X>,
        (x, y): (Span, Span),
        settings: &[f64],
        visible: &[Vec<Point>],
    ) -> Vec<Vec<(f64, f64)>>
    where
        X: Ranged<ValueType = f64>,
    {
        // The chart's own y axis is linear, in logarithms where that is wanted.
        let up = |value: f64| if y.log { value.max(y.from).log10() } else { value };
        let mut heights = y.ticks(5);
        heights.iter_mut().for_each(|tick| tick.value = up(tick.value));
        let left = left(&heights);
        let width = WIDTH - left - RIGHT;
        let ticks = if settings.is_empty() { x.ticks_along(6, width) } else { x.ticks_at(settings, width) };
        let area = Canvas(drawing).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(pixels(TOP))
            .margin_right(pixels(RIGHT))
            .margin_left(pixels(4.0))
            .margin_bottom(pixels(6.0))
            .x_label_area_size(pixels(BOTTOM - 6.0))
            .y_label_area_size(pixels(left - 4.0))
            .build_cartesian_2d(
                Ticked::<X>::new(scale, &ticks),
                Ticked::<RangedCoordf64>::new(up(y.from)..up(y.to), &heights),
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
            let layer = self.series.iter().zip(visible).rev();
            for (series, points) in layer.filter(|(series, _)| (series.form == Form::Published) == published) {
                chart.draw_series(series.marks(points, up, self.y)).expect(IN_MEMORY);
            }
        }
        let place = |at: (f64, f64)| units(chart.backend_coord(&at));
        let line = |points: &Vec<Point>| points.iter().map(|point| place((point.x, up(point.median)))).collect();
        let lines = visible.iter().map(line).collect();
        let minor: Vec<(f64, f64)> =
            ticks.iter().filter(|tick| tick.text.is_empty()).map(|tick| place((tick.value, up(y.from)))).collect();
        drop(chart);
        drop(area);
        minor.into_iter().for_each(|(x, y)| drawing.line("axis", (x, y), (x, y + 2.5)));
        lines
    }

    /// Inside, at the lower right as in the paper or in another corner without curves; below where there is none.
    fn legend(&self, drawing: &mut Drawing, chart: f64, lines: &[Vec<(f64, f64)>]) {
        let named = |series: &&Series| !series.points.is_empty() && series.form != Form::Dots;
        let series: Vec<&Series> = self.series.iter().filter(named).collect();
        let entry = |series: &Series| (text_width(&series.name) * 0.95 + 40.0).min(WIDTH - 14.0);
        let width = series.iter().map(|series| entry(series)).fold(0.0, f64::max);
        let height = series.len() as f64 * 16.0 + 6.0;
        let (right, bottom) = (WIDTH - RIGHT - 4.0, HEIGHT - BOTTOM - 5.0);
        let corners = [
            (right - width, bottom - height),
            (chart + 6.0, TOP + 2.0),
            (chart + 6.0, bottom - height),
            (right - width, TOP + 2.0),
        ];
        let free = |&(left, top): &(f64, f64)| {
            let steps = lines.iter().flat_map(|line| line.windows(2));
            let inside = |(x, y): (f64, f64)| {
                (left - 4.0..=left + width + 4.0).contains(&x) && (top - 4.0..=top + height + 4.0).contains(&y)
            };
            left > chart
                && top > TOP
                && !steps
                    .flat_map(|pair| (0..=16).map(move |i| (pair[0], pair[1], f64::from(i) / 16.0)))
                    .map(|(a, b, t)| (a.0 + (b.0 - a.0) * t, a.1 + (b.1 - a.1) * t))
                    .chain(lines.iter().flatten().copied())
                    .any(inside)
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
        let text = |value: f64| self.y.text(value);
        for series in &self.series {
            let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { continue };
            if series.points.len() <= 8 && series.form != Form::Curve {
                let at = |point: &Point| format!("{} at {}", text(point.median), exact(point.x));
                let all: Vec<String> = series.points.iter().map(at).collect();
                words += &format!(" {}: {}.", series.name, all.join(", "));
                continue;
            }
            let best = series.points.iter().map(|point| point.median).fold(f64::NEG_INFINITY, f64::max);
            let half = series.points.iter().find(|point| point.median >= best / 2.0).unwrap_or(last);
            words += &format!(
                " {}: {} at {}, {} at {}, ends with {} at {}",
                series.name,
                text(first.median),
                number(first.x),
                text(half.median),
                number(half.x),
                text(last.median),
                number(last.x),
            );
            let range = if last.max > last.min {
                format!(" ({} to {} over the runs).", text(last.min), text(last.max))
            } else {
                ".".into()
            };
            words += &range;
        }
        words
    }
}

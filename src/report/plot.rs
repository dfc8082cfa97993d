//! Curves of accuracy, in the style of SLIDE's figures: small panels, thin lines without markers, the data set as
//! title, the legend inside.

use super::axis::Scale;
use super::statistics::{Point, number, share};
use super::style::Style;
use super::svg::{Anchor, DASHES, Drawing, text_width};

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

impl Plot {
    /// Draws the panel with its x axis logarithmic or linear. A logarithmic axis leaves out what lies at 0.
    pub fn draw(&self, log: bool) -> Drawing {
        let mut drawing = Drawing::new(WIDTH, HEIGHT);
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        drawing.text("title", ((LEFT + right) / 2.0, 17.0), Anchor::Middle, &self.title);
        let visible = |point: &&Point| point.x.is_finite() && point.median.is_finite() && (!log || point.x > 0.0);
        let points = || self.series.iter().flat_map(|series| series.points.iter().filter(visible));
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
        let x_from = if log { x_from } else { x_from.min(0.0) };
        let pad = ((y_to - y_from) * 0.05).max(0.004);
        let x = Scale::new(log, (x_from, x_to), (LEFT, right - 6.0));
        let y = Scale::new(false, ((y_from - pad).max(0.0), (y_to + pad).min(1.0)), (bottom, TOP));
        self.axes(&mut drawing, x, y);
        // Published curves behind ours, and of ours the first of the legend on top.
        for published in [true, false] {
            for series in self.series.iter().rev().filter(|series| series.published == published) {
                let points: Vec<&Point> = series.points.iter().filter(visible).collect();
                draw_series(&mut drawing, series, &points, x, y);
            }
        }
        self.legend(&mut drawing, x, y, log);
        drawing
    }

    fn axes(&self, drawing: &mut Drawing, x: Scale, y: Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for tick in y.ticks(5) {
            let at = y.at(tick.value);
            drawing.line("grid", (LEFT, at), (right, at));
            drawing.text("tick", (LEFT - 6.0, at + 4.0), Anchor::End, &tick.text);
        }
        let mut free = f64::NEG_INFINITY;
        for tick in x.ticks(6) {
            let at = x.at(tick.value);
            let long = if tick.text.is_empty() { 3.0 } else { 5.0 };
            drawing.line("axis", (at, bottom), (at, bottom + long));
            let half = text_width(&tick.text) / 2.0;
            if !tick.text.is_empty() && at - half > free && at + half < WIDTH {
                drawing.text("tick", (at, bottom + 17.0), Anchor::Middle, &tick.text);
                free = at + half + 4.0;
            }
        }
        drawing.polyline("axis", &[(LEFT, TOP), (LEFT, bottom), (right, bottom)]);
        drawing.text("label", ((LEFT + right) / 2.0, HEIGHT - 8.0), Anchor::Middle, &self.x_label);
        drawing.text_upwards("label", (13.0, (TOP + bottom) / 2.0), &self.y_label);
    }

    /// Inside, at the lower right as in the paper; in the corner with the fewest points where that one is taken.
    fn legend(&self, drawing: &mut Drawing, x: Scale, y: Scale, log: bool) {
        let series: Vec<&Series> = self.series.iter().filter(|series| !series.points.is_empty()).collect();
        if series.is_empty() {
            return;
        }
        let width = series.iter().map(|series| text_width(&series.name)).fold(0.0, f64::max) + 40.0;
        let width = width.min(WIDTH - LEFT - RIGHT - 20.0);
        let height = series.len() as f64 * 16.0 + 6.0;
        let (right, bottom) = (WIDTH - RIGHT - 4.0, HEIGHT - BOTTOM - 5.0);
        let corners = [
            (right - width, bottom - height),
            (LEFT + 6.0, TOP + 2.0),
            (LEFT + 6.0, bottom - height),
            (right - width, TOP + 2.0),
        ];
        let covered = |&(left, top): &(f64, f64)| {
            let inside = |px: f64, py: f64| (left..=left + width).contains(&px) && (top..=top + height).contains(&py);
            series
                .iter()
                .flat_map(|series| series.points.windows(2))
                .flat_map(|pair| (0..8).map(move |i| (pair[0], pair[1], f64::from(i) / 8.0)))
                .filter(|(a, b, _)| !log || (a.x > 0.0 && b.x > 0.0))
                .filter(|(a, b, t)| {
                    let between = |from: f64, to: f64| from + (to - from) * t;
                    inside(between(x.at(a.x), x.at(b.x)), between(y.at(a.median), y.at(b.median)))
                })
                .count()
        };
        let mut best = corners[0];
        for corner in &corners[1..] {
            if covered(corner) < covered(&best) {
                best = *corner;
            }
        }
        let (left, top) = best;
        drawing.rect("veil", left, top, width, height, "");
        for (i, series) in series.iter().enumerate() {
            let middle = top + 11.0 + i as f64 * 16.0;
            drawing.line(&series.line_class(), (left + 6.0, middle), (left + 28.0, middle));
            drawing.text("small", (left + 34.0, middle + 4.0), Anchor::Start, &series.name);
        }
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

fn draw_series(drawing: &mut Drawing, series: &Series, points: &[&Point], x: Scale, y: Scale) {
    let class = series.style.class();
    if points.iter().any(|point| point.max > point.min) {
        let upper = points.iter().map(|point| (x.at(point.x), y.at(point.max)));
        let lower = points.iter().rev().map(|point| (x.at(point.x), y.at(point.min)));
        drawing.area(&format!("band f-{class}"), &upper.chain(lower).collect::<Vec<_>>());
    }
    let line: Vec<(f64, f64)> = points.iter().map(|point| (x.at(point.x), y.at(point.median))).collect();
    drawing.polyline(&series.line_class(), &line);
    if let (Some(&end), Some(point), false) = (line.last(), points.last(), series.published) {
        let tip = format!("{}: {} at {}", series.name, share(point.median), number(point.x));
        drawing.dot(&format!("f-{class}"), end, &tip);
    }
}

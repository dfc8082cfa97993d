//! The surface that `plotters` draws on: it writes SVG elements that have classes instead of colours, so that a figure
//! follows the page's theme.
//!
//! Charts, coordinates, axes and grid are plotters' own; what is drawn into them are [`Mark`]s, which carry their class
//! and the words that show when pointed at. Plotters counts whole pixels: a pixel is a tenth of a unit here.

use super::axis::Tick;
use super::svg::{Anchor, Drawing, text_width};
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::element::{Drawable, PointCollection};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{FontFamily, FontTransform, IntoFont, RGBColor, TextStyle};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind};
use std::convert::Infallible;
use std::ops::Range;

/// What plotters is told to draw grid lines with: the class `grid`.
pub const GRID: RGBColor = RGBColor(1, 1, 1);
/// Axes and their ticks: the class `axis`.
pub const AXIS: RGBColor = RGBColor(2, 2, 2);

type Outcome = Result<(), DrawingErrorKind<Infallible>>;

/// Units as plotters' pixels.
pub fn pixels(units: f64) -> i32 {
    (units * 10.0).round() as i32
}

/// Plotters' pixels as units.
pub fn units((x, y): BackendCoord) -> (f64, f64) {
    (f64::from(x) / 10.0, f64::from(y) / 10.0)
}

/// Text of a class, which also sets its size.
pub fn face(class: &'static str) -> TextStyle<'static> {
    (FontFamily::Name(class), 10.0 * size(class)).into_font().into()
}

fn size(class: &str) -> f64 {
    match class {
        "tick" | "small" => 11.0,
        "title" => 13.0,
        _ => 12.0,
    }
}

/// A drawing as a backend of plotters.
pub struct Canvas<'a>(pub &'a mut Drawing);

impl Canvas<'_> {
    fn class(colour: BackendColor) -> &'static str {
        if colour.rgb == (GRID.0, GRID.1, GRID.2) { "grid" } else { "axis" }
    }
}

impl DrawingBackend for Canvas<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (pixels(self.0.width) as u32, pixels(self.0.height) as u32)
    }

    fn ensure_prepared(&mut self) -> Outcome {
        Ok(())
    }

    fn present(&mut self) -> Outcome {
        Ok(())
    }

    /// Nothing that is drawn here is made of pixels.
    fn draw_pixel(&mut self, _: BackendCoord, _: BackendColor) -> Outcome {
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Outcome {
        self.0.line(Self::class(style.color()), units(from), units(to));
        Ok(())
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Outcome {
        if style.color().alpha > 0.0 {
            self.0.polyline(Self::class(style.color()), &path.into_iter().map(units).collect::<Vec<_>>());
        }
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, at: BackendCoord) -> Outcome {
        let family = style.family();
        let class = family.as_str();
        let anchor = match style.anchor().h_pos {
            HPos::Left => Anchor::Start,
            HPos::Center => Anchor::Middle,
            HPos::Right => Anchor::End,
        };
        // From the given side of the text to its baseline.
        let down = size(class)
            * match style.anchor().v_pos {
                VPos::Top => 0.8,
                VPos::Center => 0.35,
                VPos::Bottom => -0.25,
            };
        let (x, y) = units(at);
        match style.transform() {
            FontTransform::Rotate270 => self.0.text_upwards(class, (x + down, y), text),
            _ => self.0.text(class, (x, y + down), anchor, text),
        }
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = size(style.family().as_str());
        Ok((pixels(text_width(text) * size / 12.0) as u32, pixels(size) as u32))
    }
}

/// A coordinate of plotters with our ticks, which choose round numbers inside a decade too.
pub struct Ticked<R> {
    scale: R,
    ticks: Vec<Tick>,
}

impl<R> Ticked<R> {
    pub fn new(scale: impl Into<R>, ticks: &[Tick]) -> Self {
        Self { scale: scale.into(), ticks: ticks.iter().filter(|tick| !tick.text.is_empty()).cloned().collect() }
    }
}

impl<R: Ranged<ValueType = f64>> Ranged for Ticked<R> {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.scale.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Of the finer lines that plotters asks for there are none.
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.iter().map(|tick| tick.value).collect() }
    }

    fn range(&self) -> Range<f64> {
        self.scale.range()
    }
}

impl<R> ValueFormatter<f64> for Ticked<R> {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|tick| tick.value == *value).map_or_else(String::new, |tick| tick.text.clone())
    }
}

/// Something in a chart, in the chart's coordinates.
#[derive(Clone, Debug)]
pub struct Mark {
    shape: Shape,
    class: String,
    tip: String,
    points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Line,
    Area,
    Bar,
    Dot,
}

impl Mark {
    /// A line through points.
    pub fn line(class: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { shape: Shape::Line, class: class.into(), tip: String::new(), points }
    }

    /// The area between a lower and an upper line, given as one way round.
    pub fn area(class: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { shape: Shape::Area, ..Self::line(class, points) }
    }

    /// A rectangle between two corners.
    pub fn bar(class: impl Into<String>, corners: [(f64, f64); 2], tip: String) -> Self {
        Self { shape: Shape::Bar, tip, ..Self::line(class, corners.into()) }
    }

    pub fn dot(class: impl Into<String>, at: (f64, f64), tip: String) -> Self {
        Self { shape: Shape::Dot, tip, ..Self::line(class, vec![at]) }
    }
}

impl<'a> PointCollection<'a, (f64, f64)> for &'a Mark {
    type Point = &'a (f64, f64);
    type IntoIter = &'a [(f64, f64)];

    fn point_iter(self) -> &'a [(f64, f64)] {
        &self.points
    }
}

impl Drawable<Canvas<'_>> for Mark {
    fn draw<I: Iterator<Item = BackendCoord>>(&self, at: I, canvas: &mut Canvas<'_>, _: (u32, u32)) -> Outcome {
        let at: Vec<(f64, f64)> = at.map(units).collect();
        let (drawing, class) = (&mut *canvas.0, self.class.as_str());
        match (self.shape, at.as_slice()) {
            (Shape::Line, points) => drawing.polyline(class, points),
            (Shape::Area, points) => drawing.area(class, points),
            (Shape::Bar, &[(x0, y0), (x1, y1)]) => {
                drawing.rect(class, x0.min(x1), y0.min(y1), (x1 - x0).abs(), (y1 - y0).abs(), &self.tip);
            }
            (Shape::Dot, &[centre]) => drawing.dot(class, centre, &self.tip),
            _ => unreachable!("a bar has two corners and a dot has one point"),
        }
        Ok(())
    }
}

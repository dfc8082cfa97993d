//! Bars: one a contestant, lying, so that names are read level; in one colour, or stacked from phases.

use super::axis::{Span, Tick};
use super::canvas::{AXIS, Canvas, GRID, Mark, Ticked, face, pixels, units};
use super::statistics::{Spread, number};
use super::style::{PHASES, Style};
use super::svg::{Anchor, Drawing, shorten, text_width};
use plotters::chart::ChartBuilder;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::IntoDrawingArea;

/// One panel of bars.
#[derive(Clone, Debug)]
pub struct Bars {
    pub title: String,
    pub x_label: String,
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    pub name: String,
    pub style: Style,
    pub total: Spread,
    /// Parts of the total by phase; empty for a bar in the engine's colour.
    pub parts: Vec<(&'static str, f64)>,
}

const WIDTH: f64 = 420.0;
const RIGHT: f64 = 56.0;
const TOP: f64 = 30.0;
const ROW: f64 = 30.0;
const BOTTOM: f64 = 42.0;

impl Bar {
    /// The bar and its whisker, or its parts one after another; a row is 1 high.
    fn marks(&self, row: f64, stacked: bool) -> Vec<Mark> {
        let (top, middle, bottom) = (row + 0.17, row + 0.5, row + 0.83);
        let Spread { median, min, max, .. } = self.total;
        let mut marks = Vec::new();
        if self.parts.is_empty() {
            let tip = format!("{}: {}", self.name, self.total.text(number));
            marks.push(Mark::bar(format!("f-{}", self.style.class()), [(0.0, top), (median, bottom)], tip));
        }
        let mut from = 0.0;
        for &(phase, part) in &self.parts {
            let tip = format!("{}, {phase}: {}", self.name, number(part));
            marks.push(Mark::bar(format!("p-{phase}"), [(from, top), (from + part, bottom)], tip));
            from += part;
        }
        if max > min && !stacked {
            marks.push(Mark::line("whisker", vec![(min, middle), (max, middle)]));
            for edge in [min, max] {
                marks.push(Mark::line("whisker", vec![(edge, middle - 0.13), (edge, middle + 0.13)]));
            }
        }
        marks
    }
}

impl Bars {
    pub fn draw(&self) -> Drawing {
        const IN_MEMORY: &str = "drawing into memory does not fail";
        let stacked = self.stacked();
        let legend = if stacked { self.legend() } else { Drawing::default() };
        let count = self.bars.len() as f64;
        let bottom = TOP + ROW * count + 4.0;
        let mut drawing = Drawing::new(WIDTH, bottom + BOTTOM);
        let names: Vec<String> = self.bars.iter().map(|bar| shorten(&bar.name, 190.0)).collect();
        let left = names.iter().map(|name| text_width(name)).fold(40.0, f64::max) * 1.04 + 16.0;
        // Room for the numbers that stand at the ends of the bars.
        let numbers = self.bars.iter().map(|bar| text_width(&number(bar.total.median)) + 14.0);
        let margin = numbers.fold(RIGHT, f64::max);
        let right = WIDTH - margin;
        let most = self.bars.iter().map(|bar| bar.total.max).fold(0.0, f64::max);
        let x = Span::new(false, (0.0, if most > 0.0 { most } else { 1.0 }));
        let row = |(i, name): (usize, &String)| Tick { value: i as f64 + 0.5, text: name.clone() };
        let rows: Vec<Tick> = names.iter().enumerate().map(row).collect();
        drawing.title(&self.title, (left + right) / 2.0);
        let area = Canvas(&mut drawing).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(pixels(TOP))
            .margin_right(pixels(margin))
            .margin_bottom(pixels(6.0))
            .x_label_area_size(pixels(BOTTOM - 6.0))
            .y_label_area_size(pixels(left))
            .build_cartesian_2d(
                Ticked::<RangedCoordf64>::new(x.from..x.to, &x.ticks_along(5, right - left)),
                Ticked::<RangedCoordf64>::new(count..0.0, &rows),
            )
            .expect(IN_MEMORY);
        chart
            .configure_mesh()
            .disable_y_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(AXIS)
            .set_all_tick_mark_size(pixels(4.0))
            .x_label_style(face("tick"))
            .y_label_style(face("label"))
            .axis_desc_style(face("label"))
            .x_desc(&self.x_label)
            .draw()
            .expect(IN_MEMORY);
        let rows = || self.bars.iter().enumerate().map(|(i, bar)| (i as f64, bar));
        chart.draw_series(rows().flat_map(|(row, bar)| bar.marks(row, stacked))).expect(IN_MEMORY);
        let ends: Vec<(f64, f64)> = rows()
            .map(|(row, bar)| if stacked { (bar.total.median, row) } else { (bar.total.max, row) })
            .map(|(end, row)| units(chart.backend_coord(&(end, row + 0.5))))
            .collect();
        drop(chart);
        drop(area);
        for ((x, y), bar) in ends.into_iter().zip(&self.bars) {
            drawing.text("tick", (x + 6.0, y + 4.0), Anchor::Start, &number(bar.total.median));
        }
        drawing.place((0.0, drawing.height), &legend);
        drawing.height += legend.height;
        drawing
    }

    fn stacked(&self) -> bool {
        self.bars.iter().any(|bar| !bar.parts.is_empty())
    }

    /// The phases that occur, in order, as many a line as fit.
    fn legend(&self) -> Drawing {
        let mut legend = Drawing::new(WIDTH, 0.0);
        let (mut x, mut y) = (14.0, 0.0);
        for (phase, ..) in PHASES {
            if !self.bars.iter().any(|bar| bar.parts.iter().any(|part| part.0 == phase && part.1 > 0.0)) {
                continue;
            }
            let width = text_width(phase) + 30.0;
            if x + width > WIDTH {
                (x, y) = (14.0, y + 18.0);
            }
            legend.rect(&format!("p-{phase}"), x, y + 3.0, 11.0, 11.0, "");
            legend.text("small", (x + 16.0, y + 12.5), Anchor::Start, phase);
            x += width;
        }
        legend.height = y + 22.0;
        legend
    }

    /// The bars in words, with numbers.
    pub fn describe(&self) -> String {
        let mut words = format!("{}: {}.", self.title, self.x_label.to_lowercase());
        for bar in &self.bars {
            words += &format!(" {}: {}", bar.name, bar.total.text(number));
            let parts: Vec<String> = bar
                .parts
                .iter()
                .filter(|part| part.1 > 0.0)
                .map(|(name, part)| format!("{name} {}", number(*part)))
                .collect();
            words += &if parts.is_empty() { ".".into() } else { format!(", of which {}.", parts.join(", ")) };
        }
        words
    }
}

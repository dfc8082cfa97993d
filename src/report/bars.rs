//! Bars: one a contestant, lying, so that names are read level; in one colour, or stacked from phases.

use super::axis::Scale;
use super::statistics::{Spread, number};
use super::style::{PHASES, Style};
use super::svg::{Anchor, Drawing, text_width};

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

impl Bars {
    pub fn draw(&self) -> Drawing {
        let stacked = self.bars.iter().any(|bar| !bar.parts.is_empty());
        let legend = if stacked { self.legend() } else { Drawing::default() };
        let bottom = TOP + ROW * self.bars.len() as f64 + 4.0;
        let mut drawing = Drawing::new(WIDTH, bottom + 42.0 + legend.height);
        let left = self.bars.iter().map(|bar| text_width(&bar.name)).fold(40.0, f64::max).min(190.0) + 14.0;
        let right = WIDTH - RIGHT;
        let most = self.bars.iter().map(|bar| bar.total.max).fold(0.0, f64::max);
        let x = Scale::new(false, (0.0, if most > 0.0 { most } else { 1.0 }), (left, right));
        drawing.text("title", ((left + right) / 2.0, 17.0), Anchor::Middle, &self.title);
        for tick in x.ticks(5) {
            let at = x.at(tick.value);
            drawing.line("grid", (at, TOP), (at, bottom));
            drawing.text("tick", (at, bottom + 14.0), Anchor::Middle, &tick.text);
        }
        for (i, bar) in self.bars.iter().enumerate() {
            let top = TOP + ROW * i as f64 + 6.0;
            let height = ROW - 10.0;
            let middle = top + height / 2.0;
            drawing.text("label", (left - 8.0, middle + 4.0), Anchor::End, &bar.name);
            let (class, total) = (bar.style.class(), bar.total);
            if bar.parts.is_empty() {
                let tip = format!("{}: {}", bar.name, total.text(number));
                drawing.rect(&format!("f-{class}"), left, top, x.at(total.median) - left, height, &tip);
            }
            let mut from = 0.0;
            for &(phase, part) in &bar.parts {
                let tip = format!("{}, {phase}: {}", bar.name, number(part));
                drawing.rect(&format!("p-{phase}"), x.at(from), top, x.at(from + part) - x.at(from), height, &tip);
                from += part;
            }
            let mut end = x.at(total.median);
            if total.max > total.min && !stacked {
                drawing.line("whisker", (x.at(total.min), middle), (x.at(total.max), middle));
                for edge in [total.min, total.max] {
                    drawing.line("whisker", (x.at(edge), middle - 4.0), (x.at(edge), middle + 4.0));
                }
                end = x.at(total.max);
            }
            drawing.text("tick", (end + 6.0, middle + 4.0), Anchor::Start, &number(total.median));
        }
        drawing.line("axis", (left, TOP), (left, bottom));
        drawing.text("label", ((left + right) / 2.0, bottom + 33.0), Anchor::Middle, &self.x_label);
        drawing.place((0.0, bottom + 42.0), &legend);
        drawing
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

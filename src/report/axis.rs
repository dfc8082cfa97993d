//! Where the ticks of an axis go, and what they say.

use super::statistics::{exact, thousands};
use super::svg::text_width;

/// The values an axis shows.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub log: bool,
    pub from: f64,
    pub to: f64,
}

/// A mark on an axis; minor ones have no text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub text: String,
}

impl Span {
    /// Of data from one value to another; a single value gets room on both sides. A logarithmic one is for positive
    /// values.
    pub fn new(log: bool, (from, to): (f64, f64)) -> Self {
        let (from, to) = match (to > from, log) {
            (true, _) => (from, to),
            (false, true) => (from / 3.0, from * 3.0),
            (false, false) => (from - 0.5, from + 0.5),
        };
        Self { log, from, to }
    }

    /// Marks within the span, about `count` of them with text.
    pub fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.log { self.decades(count) } else { steps(self.from, self.to, count) }
    }

    /// The same, without texts that would touch each other, or stand out at the end, on an axis of this width.
    pub fn ticks_along(&self, count: usize, width: f64) -> Vec<Tick> {
        self.apart(self.ticks(count), width)
    }

    /// Marks at the very values that were set, as far as their texts fit.
    pub fn ticks_at(&self, values: &[f64], width: f64) -> Vec<Tick> {
        self.apart(values.iter().map(|&value| Tick { value, text: exact(value) }).collect(), width)
    }

    fn apart(&self, mut ticks: Vec<Tick>, width: f64) -> Vec<Tick> {
        let scale = |value: f64| if self.log { value.ln() } else { value };
        let place = |value: f64| width * (scale(value) - scale(self.from)) / (scale(self.to) - scale(self.from));
        let mut free = f64::NEG_INFINITY;
        for tick in ticks.iter_mut().filter(|tick| !tick.text.is_empty()) {
            let (at, half) = (place(tick.value), text_width(&tick.text) / 2.0);
            if at - half < free || at + half > width + 14.0 {
                tick.text.clear();
            } else {
                free = at + half + 4.0;
            }
        }
        ticks
    }

    /// The same with room on both sides.
    pub fn with_room(self) -> Self {
        let Self { log, from, to } = self;
        if log {
            let room = (to / from).powf(0.06);
            return Self { log, from: from / room, to: to * room };
        }
        let room = (to - from) * 0.08;
        Self { log, from: from - room, to: to + room }
    }

    fn decades(&self, count: usize) -> Vec<Tick> {
        let (from, to) = (self.from.log10(), self.to.log10());
        let inside = |value: f64| (from - 1e-9..=to + 1e-9).contains(&value.log10());
        let first = from.floor() as i32;
        let decades = first..=to.ceil() as i32;
        let whole = decades.clone().filter(|&decade| inside(10f64.powi(decade))).count();
        if whole == 0 && to - from < 0.5 {
            return steps(self.from, self.to, count);
        }
        let named: &[i32] = match whole {
            0..=1 => &[1, 2, 5],
            2 => &[1, 3],
            _ => &[1],
        };
        // Of very many decades, every second or third is named.
        let skip = whole.div_ceil(count.max(1)).max(1) as i32;
        let mut ticks = Vec::new();
        for decade in decades {
            for digit in 1..10 {
                let value = f64::from(digit) * 10f64.powi(decade);
                if inside(value) {
                    let named = named.contains(&digit) && (decade - first) % skip == 0;
                    ticks.push(Tick { value, text: if named { scientific(digit, decade) } else { String::new() } });
                }
            }
        }
        ticks
    }
}

/// Round steps (1, 2 or 5 times a power of ten), at most `count` of them.
fn steps(from: f64, to: f64, count: usize) -> Vec<Tick> {
    let step = step(to - from, count);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let first = (from / step - 1e-9).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    let text = |value: f64| if decimals == 0 { plain(value) } else { format!("{value:.decimals$}") };
    (first..=last).map(|i| Tick { value: i as f64 * step, text: text(i as f64 * step) }).collect()
}

/// The step between round ticks over a span.
pub fn step(span: f64, count: usize) -> f64 {
    let rough = (span / count.max(1) as f64).max(1e-12);
    let unit = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|digit| digit * unit).into_iter().find(|&step| step >= rough * 0.999).unwrap_or(unit)
}

/// A number with one digit on a logarithmic axis: small ones as powers, `10⁻⁵`, `2·10⁻⁵`.
fn scientific(digit: i32, decade: i32) -> String {
    if decade >= -3 {
        return plain(f64::from(digit) * 10f64.powi(decade));
    }
    let raised =
        |c: char| c.to_digit(10).map_or('⁻', |n| ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][n as usize]);
    let power: String = decade.to_string().chars().map(raised).collect();
    if digit == 1 { format!("10{power}") } else { format!("{digit}·10{power}") }
}

/// A tick's number: `0.01`, `500`, `20,000`.
fn plain(value: f64) -> String {
    if value.abs() >= 1.0 || value == 0.0 {
        thousands(value.round() as i64)
    } else {
        format!("{value:.*}", (-value.log10().floor()).max(0.0) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.text.as_str()).filter(|text| !text.is_empty()).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        let linear = Span::new(false, (0.03, 0.97));
        assert_eq!(texts(&linear.ticks(5)), ["0.2", "0.4", "0.6", "0.8"]);
        let log = Span::new(true, (0.05, 200.0));
        assert_eq!(texts(&log.ticks(6)), ["0.1", "1", "10", "100"]);
        let narrow = Span::new(true, (3.0, 60.0));
        assert_eq!(texts(&narrow.ticks(6)), ["5", "10", "20", "50"]);
        let small = Span::new(true, (1e-6, 2e-3));
        assert_eq!(texts(&small.ticks(6)), ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001"]);
        let tiny = Span::new(true, (21.0, 29.0));
        assert_eq!(texts(&tiny.ticks(4)), ["22", "24", "26", "28"]);
    }

    #[test]
    fn a_single_value_has_an_axis_too() {
        for log in [false, true] {
            let span = Span::new(log, (3.0, 3.0));
            assert!(span.from < 3.0 && span.to > 3.0 && !texts(&span.ticks(5)).is_empty());
        }
    }

    #[test]
    fn texts_that_would_touch_are_left_out() {
        let span = Span::new(false, (0.0, 100_000.0));
        // The last would stand out at the end.
        assert_eq!(texts(&span.ticks_along(5, 1000.0)), ["0", "20,000", "40,000", "60,000", "80,000"]);
        assert_eq!(texts(&span.ticks_along(5, 100.0)), ["0", "40,000"]);
    }
}

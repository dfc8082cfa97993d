//! Axes: from data to places, and where the ticks go.

use super::statistics::thousands;

/// Maps values to places along one side of a plot.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub log: bool,
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

/// A mark on an axis; minor ones have no text.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    pub text: String,
}

impl Scale {
    /// Covers `from..=to` of the data by `start..=end` of the drawing. A logarithmic scale is for positive values.
    pub fn new(log: bool, (from, to): (f64, f64), (start, end): (f64, f64)) -> Self {
        let (from, to) = if log { (from.log10(), to.log10()) } else { (from, to) };
        let (from, to) = if to > from { (from, to) } else { (from - 0.5, to + 0.5) };
        Self { log, from, to, start, end }
    }

    /// Where a value goes.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        self.start + (self.end - self.start) * (value - self.from) / (self.to - self.from)
    }

    /// Marks within the scale, about `count` of them with text.
    pub fn ticks(&self, count: usize) -> Vec<Tick> {
        if self.log { self.decades(count) } else { steps(self.from, self.to, count) }
    }

    fn decades(&self, count: usize) -> Vec<Tick> {
        let inside = |value: f64| (self.from - 1e-9..=self.to + 1e-9).contains(&value.log10());
        let first = self.from.floor() as i32;
        let decades = first..=self.to.ceil() as i32;
        let whole = decades.clone().filter(|&decade| inside(10f64.powi(decade))).count();
        if whole == 0 && self.to - self.from < 0.5 {
            return steps(10f64.powf(self.from), 10f64.powf(self.to), count);
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
                    ticks.push(Tick { value, text: if named { plain(value) } else { String::new() } });
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
        let linear = Scale::new(false, (0.03, 0.97), (0.0, 100.0));
        assert_eq!(texts(&linear.ticks(5)), ["0.2", "0.4", "0.6", "0.8"]);
        let log = Scale::new(true, (0.05, 200.0), (0.0, 100.0));
        assert_eq!(texts(&log.ticks(6)), ["0.1", "1", "10", "100"]);
        let narrow = Scale::new(true, (3.0, 60.0), (0.0, 100.0));
        assert_eq!(texts(&narrow.ticks(6)), ["5", "10", "20", "50"]);
        let tiny = Scale::new(true, (21.0, 29.0), (0.0, 100.0));
        assert_eq!(texts(&tiny.ticks(4)), ["22", "24", "26", "28"]);
        assert!((log.at(0.05) - 0.0).abs() < 1e-9 && (log.at(200.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_single_value_has_a_scale_too() {
        let scale = Scale::new(true, (3.0, 3.0), (0.0, 100.0));
        assert!((scale.at(3.0) - 50.0).abs() < 1e-9);
        assert!(!scale.ticks(5).is_empty());
    }
}

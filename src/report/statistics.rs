//! The few statistics the report needs: medians with their spread, curves over seeds, time to a target, and how
//! numbers are written.

/// Median and range of a few measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub n: usize,
}

impl Spread {
    /// Of all finite values; None if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        Some(Self { median: median(&values), min, max, n: values.len() })
    }

    /// Median, with the range in brackets where there is one, each number written by `text`.
    pub fn text(&self, text: impl Fn(f64) -> String) -> String {
        let (median, min, max) = (text(self.median), text(self.min), text(self.max));
        if self.n < 2 || (min == median && max == median) { median } else { format!("{median} ({min} to {max})") }
    }
}

/// Median of ascending values; the mean of the middle two where their number is even, NaN where there are none.
fn median(ascending: &[f64]) -> f64 {
    let half = ascending.len() / 2;
    match ascending.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => ascending[half],
        _ => (ascending[half - 1] + ascending[half]) / 2.0,
    }
}

/// What a set of runs needed to reach a target: one entry a run, None where it never did.
#[derive(Clone, Debug, PartialEq)]
pub struct Reached {
    pub runs: Vec<Option<f64>>,
}

impl Reached {
    /// The median run's figure, counting a run that never reached the target as endless: None unless more than half
    /// of the runs reached it.
    pub fn median(&self) -> Option<f64> {
        let mut values: Vec<f64> = self.runs.iter().map(|run| run.unwrap_or(f64::INFINITY)).collect();
        values.sort_by(f64::total_cmp);
        Some(median(&values)).filter(|value| value.is_finite())
    }

    /// Median with range; `not reached` where most runs did not; how many did where not all did.
    pub fn text(&self, text: impl Fn(f64) -> String) -> String {
        let reached = self.runs.iter().flatten().count();
        let of = |words: String| {
            if reached == self.runs.len() { words } else { format!("{words}, {reached} of {} runs", self.runs.len()) }
        };
        match self.median() {
            None if reached == 0 => "not reached".into(),
            None => of("not reached".into()),
            Some(middle) => {
                let spread = Spread::of(self.runs.iter().flatten().copied());
                of(spread.map_or_else(String::new, |spread| Spread { median: middle, ..spread }.text(&text)))
            }
        }
    }
}

/// Where a curve first reaches `target`, on a straight line between the two evaluations around it. `points` ascend in
/// x. None if it never does.
pub fn crossing(points: &[(f64, f64)], target: f64) -> Option<f64> {
    let at = points.iter().position(|&(_, y)| y >= target)?;
    if at == 0 {
        return Some(points[0].0);
    }
    let ((x0, y0), (x1, y1)) = (points[at - 1], points[at]);
    Some(x0 + (x1 - x0) * (target - y0) / (y1 - y0))
}

/// One point of a curve over several runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// Median and range over runs as a function of x. Between evaluations a run is a straight line; the curve covers
/// the stretch that all runs cover, and ends at the median of their ends.
pub fn curve(runs: &[Vec<(f64, f64)>]) -> Vec<Point> {
    let runs: Vec<&Vec<(f64, f64)>> = runs.iter().filter(|run| !run.is_empty()).collect();
    let from = runs.iter().map(|run| run[0].0).fold(f64::NEG_INFINITY, f64::max);
    let to = runs.iter().map(|run| run[run.len() - 1].0).fold(f64::INFINITY, f64::min);
    let mut grid: Vec<f64> =
        runs.iter().flat_map(|run| run.iter().map(|&(x, _)| x)).filter(|x| (from..=to).contains(x)).collect();
    grid.sort_by(f64::total_cmp);
    grid.dedup();
    let stride = grid.len().div_ceil(160).max(1);
    let last = grid.len().saturating_sub(1);
    let mut points: Vec<Point> = grid
        .iter()
        .enumerate()
        .filter(|&(i, _)| i % stride == 0 || i == last)
        .filter_map(|(_, &x)| point(x, runs.iter().map(|run| interpolate(run, x))))
        .collect();
    let end = Spread::of(runs.iter().map(|run| run[run.len() - 1].0)).map_or(f64::NAN, |ends| ends.median);
    if points.last().is_none_or(|last| last.x < end) {
        points.extend(point(end, runs.iter().map(|run| run[run.len() - 1].1)));
    }
    points
}

fn point(x: f64, values: impl Iterator<Item = f64>) -> Option<Point> {
    let Spread { median, min, max, .. } = Spread::of(values)?;
    Some(Point { x, median, min, max })
}

/// `run` at `x`, which lies within it.
fn interpolate(run: &[(f64, f64)], x: f64) -> f64 {
    let after = run.partition_point(|&(at, _)| at < x).min(run.len() - 1);
    let (x1, y1) = run[after];
    if after == 0 || x1 <= x {
        return y1;
    }
    let (x0, y0) = run[after - 1];
    y0 + (y1 - y0) * (x - x0) / (x1 - x0)
}

/// Three significant digits, thousands apart: `2.45e-6`, `0.0123`, `1.23`, `12.3`, `12,300`.
pub fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if !value.is_finite() {
        return "–".into();
    }
    let digits = value.abs().log10().floor() as i32;
    if digits >= 2 {
        let unit = 10f64.powi(digits - 2);
        return thousands(((value / unit).round() * unit) as i64);
    }
    if digits < -4 {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.*}", (2 - digits).clamp(0, 9) as usize);
    if text.trim_start_matches(['0', '.', '-']).is_empty() { "0".into() } else { text }
}

/// What was set rather than measured: whole numbers in full, others to four significant digits.
pub fn exact(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return thousands(value as i64);
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// A whole number with its thousands apart.
pub fn thousands(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// A share of hits: three decimals.
pub fn share(value: f64) -> String {
    format!("{value:.3}")
}

/// `8.1×`.
pub fn times(ratio: f64) -> String {
    if ratio >= 99.5 {
        format!("{ratio:.0}×")
    } else if ratio >= 9.95 {
        format!("{ratio:.1}×")
    } else {
        format!("{ratio:.2}×")
    }
}

/// Bytes in binary units.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1000.0 {
            return format!("{} {unit}", number(value));
        }
        value /= 1024.0;
    }
    format!("{} GiB", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ranges() {
        let spread = Spread::of([3.0, 1.0, f64::NAN, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, min: 1.0, max: 3.0, n: 3 });
        assert_eq!(spread.text(number), "2.00 (1.00 to 3.00)");
        assert_eq!(Spread::of([2.0, 1.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn a_target_is_crossed_between_evaluations() {
        let curve = [(1.0, 0.1), (3.0, 0.5), (4.0, 0.4), (5.0, 0.9)];
        assert_eq!(crossing(&curve, 0.3), Some(2.0));
        assert_eq!(crossing(&curve, 0.05), Some(1.0));
        assert_eq!(crossing(&curve, 0.5), Some(3.0));
        assert_eq!(crossing(&curve, 0.95), None);
        assert_eq!(crossing(&[], 0.0), None);
    }

    #[test]
    fn not_reached_needs_more_than_half_of_the_runs() {
        let reached = |runs: &[Option<f64>]| Reached { runs: runs.to_vec() };
        assert_eq!(reached(&[None, None]).text(number), "not reached");
        assert_eq!(reached(&[Some(1.0), None, None]).text(number), "not reached, 1 of 3 runs");
        assert_eq!(reached(&[Some(1.0), Some(2.0), None]).text(number), "2.00 (1.00 to 2.00), 2 of 3 runs");
        assert_eq!(reached(&[Some(1.0), None]).median(), None);
        assert_eq!(reached(&[Some(4.0), Some(1.0), Some(2.0)]).median(), Some(2.0));
        assert_eq!(reached(&[]).median(), None);
    }

    #[test]
    fn curves_cover_what_all_runs_cover() {
        let runs = [vec![(1.0, 0.0), (3.0, 1.0)], vec![(2.0, 0.2), (5.0, 0.8)], vec![]];
        let points = curve(&runs);
        assert_eq!(points.iter().map(|point| point.x).collect::<Vec<_>>(), [2.0, 3.0, 4.0]);
        assert!((points[0].median - 0.35).abs() < 1e-12 && points[0].min == 0.2 && points[0].max == 0.5);
        assert!((points[2].median - 0.9).abs() < 1e-12);
        assert!(curve(&[]).is_empty());
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in
            [(0.0, "0"), (0.01234, "0.0123"), (1.0, "1.00"), (12.34, "12.3"), (999.6, "1,000"), (12_345.0, "12,300")]
        {
            assert_eq!(number(value), text);
        }
        assert_eq!([205_443.0, 2.0, 0.05, 0.123_46, 1234.5].map(exact), ["205,443", "2", "0.05", "0.1235", "1234"]);
        assert_eq!([2.449e-6, 0.000_12].map(number), ["2.45e-6", "0.000120"]);
        assert_eq!(thousands(-1_234_567), "-1,234,567");
        assert_eq!(bytes(3.5 * 1024.0 * 1024.0), "3.50 MiB");
        assert_eq!(times(12.34), "12.3×");
    }
}

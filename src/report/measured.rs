//! Figures of measurements: curves over x where it varies, bars where it does not; a panel a quantity.

use super::bars::Bar;
use super::figures::{Figure, PanelDrawing, bar_panel, cell, csv_of, figure, write};
use super::parts::Part;
use super::plot::{Form, Plot, Series, Values};
use super::statistics::{Point, Spread, exact};
use super::style::{Style, palette};

/// What is measured and what is computed of the same: drawn as points and line of one colour.
const TWINS: [(&str, Form); 2] = [("formula", Form::Line), ("Monte Carlo", Form::Dots)];
/// How far what is measured may be off by chance: drawn as its range, not in a panel of its own.
const ERROR: &str = "standard error";

/// The figure of a measurement; None where there is nothing but reasons.
pub fn of(part: &Part, name: &str) -> Option<Figure> {
    let mut csv = csv_of(&["case", "x_name", "x", "quantity", "unit", "value", "min", "max"]);
    let cases = part.cases();
    let x_name = part.x_name().unwrap_or_default();
    let mut panels = Vec::new();
    let mut twins = Vec::new();
    for (quantity, unit) in part.quantities() {
        for case in &cases {
            for (x, Spread { median, min, max, .. }) in part.series(case, quantity, unit) {
                let numbers = [median, min, max].map(cell);
                let x = x.map(cell).unwrap_or_default();
                let texts = [case, x_name, &x, quantity, unit];
                write(&mut csv, texts.into_iter().chain(numbers.iter().map(String::as_str)));
            }
        }
        if quantity == ERROR {
            continue;
        }
        match TWINS.iter().find(|(name, _)| *name == quantity) {
            Some(&(_, form)) => twins.push((quantity, unit, form)),
            None => panels.extend(panel(part, &cases, quantity, &[(quantity, unit, Form::Marked)])),
        }
    }
    // The formula first, so that its line has the legend's entry.
    twins.sort_by_key(|(.., form)| *form == Form::Dots);
    if let [_] = twins.as_slice() {
        twins[0].2 = Form::Marked;
    }
    panels.extend(panel(part, &cases, "probability", &twins));
    let mut caption = "Medians over repeats, with the range.".to_string();
    if twins.len() == TWINS.len() {
        caption =
            "Lines: the formula. Points: Monte Carlo, through the hash functions that the engines use, with three \
                   standard errors to either side where they are recorded."
                .into();
    }
    figure(name, format!("{} · {}", part.title(), part.label), caption, panels, csv)
}

/// One panel of one quantity, or of a formula with its measurement.
fn panel(part: &Part, cases: &[&str], title: &str, shown: &[(&str, &str, Form)]) -> Option<PanelDrawing> {
    let unit = shown.first()?.1;
    let label = match unit {
        "" | "share" | "probability" => capital(title),
        unit => format!("{} ({unit})", capital(title)),
    };
    let all =
        || shown.iter().flat_map(|(quantity, unit, _)| cases.iter().map(|case| part.series(case, quantity, unit)));
    if !all().any(|points| points.iter().filter(|(x, _)| x.is_some()).count() > 1) {
        return bar_panel(&label, &label, bars(part, cases, shown[0].0, unit));
    }
    let mut series = Vec::new();
    for &(quantity, unit, form) in shown {
        for (i, case) in cases.iter().enumerate() {
            let (style, variant) = looks(case, i);
            let points = part.series(case, quantity, unit).into_iter();
            let points = points.filter_map(|(x, s)| Some(Point { x: x?, median: s.median, min: s.min, max: s.max }));
            let errors = part.series(case, ERROR, unit);
            let error = |x| errors.iter().find(|(at, _)| *at == Some(x)).map_or(0.0, |(_, error)| 3.0 * error.median);
            let widen = |point: Point| match form {
                Form::Dots => Point {
                    min: (point.median - error(point.x)).max(0.0).min(point.min),
                    max: (point.median + error(point.x)).min(1.0).max(point.max),
                    ..point
                },
                _ => point,
            };
            let points: Vec<Point> = points.map(widen).collect();
            if !points.is_empty() {
                series.push(Series { name: (*case).into(), style, variant, form, points });
            }
        }
    }
    let share = |series: &Series| series.points.iter().all(|point| (0.0..=1.0).contains(&point.max));
    let bounded = ["share", "probability"].contains(&unit) && series.iter().all(share);
    let y = if bounded || shown.len() > 1 { Values::Share } else { Values::Amount };
    let plot = Plot { title: label.clone(), x_label: capital(part.x_name()?), y_label: label, y, series };
    Some(PanelDrawing { words: plot.describe(), drawing: plot.draw(plot.is_wide()), linear: None })
}

/// A bar a case; one a case and x where cases were measured at x of their own.
fn bars(part: &Part, cases: &[&str], quantity: &str, unit: &str) -> Vec<Bar> {
    let series = cases.iter().map(|case| part.series(case, quantity, unit));
    let mut xs: Vec<u64> = series.flatten().filter_map(|(x, _)| x.map(f64::to_bits)).collect();
    xs.sort_unstable();
    xs.dedup();
    let mut bars = Vec::new();
    for case in cases {
        // Names stand beside bars, so that one colour does for all that are no engines.
        let style = looks(case, 2).0;
        for (x, total) in part.series(case, quantity, unit) {
            let at = x.filter(|_| xs.len() > 1).map_or_else(String::new, |x| format!(", {}", exact(x)));
            bars.push(Bar { name: format!("{case}{at}"), style, total, parts: Vec::new() });
        }
    }
    bars
}

/// Engines have their colour here too; other cases take turns.
fn looks(case: &str, index: usize) -> (Style, usize) {
    let engine = ["lsh-", "dense-", "sparse-", "slide"].into_iter().any(|name| case.to_lowercase().starts_with(name));
    if engine { (Style::of(case, case.contains("(software)")), index) } else { palette(index) }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

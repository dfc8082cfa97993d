//! SLIDE's published curves, read off the figures of the paper (`results/paper/`, see its README for how), and what
//! they say about each other.

use super::runs::Axis;
use super::statistics::{Point, crossing};
use std::sync::LazyLock;

/// One curve of one figure.
#[derive(Clone, Debug)]
pub struct Curve {
    /// `fig5_amazon_time` and so on: the file's name.
    pub figure: &'static str,
    /// `SLIDE`, `SLIDE-optimized`, `TF-GPU`, `TF-CPU`, `TF-GPU-SSM`.
    pub series: String,
    /// Seconds or iterations, and P@1; ascending.
    pub points: Vec<(f64, f64)>,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../results/paper/", $name, ".csv")))),*]
    };
}

const CURVES: [(&str, &str); 11] = files![
    "fig5_amazon_time",
    "fig5_amazon_iter",
    "fig5_delicious_time",
    "fig5_delicious_iter",
    "fig7_amazon_time",
    "fig7_delicious_time",
    "fig8_b64",
    "fig8_b128",
    "fig8_b256",
    "fig10_amazon",
    "fig10_delicious",
];
const CORES: &str = include_str!("../../results/paper/fig9_convergence_vs_cores.csv");

/// Every published curve.
pub static PUBLISHED: LazyLock<Vec<Curve>> = LazyLock::new(|| {
    let mut curves: Vec<Curve> = Vec::new();
    for (figure, text) in CURVES {
        for [series, x, p1] in cells(text) {
            let point = (x.parse().unwrap_or(f64::NAN), p1.parse().unwrap_or(f64::NAN));
            match curves.iter_mut().find(|curve| curve.figure == figure && curve.series == series) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { figure, series: series.into(), points: vec![point] }),
            }
        }
    }
    curves
});

fn cells<const N: usize>(text: &'static str) -> impl Iterator<Item = [&'static str; N]> {
    text.lines().skip(1).filter_map(|line| line.split(',').collect::<Vec<_>>().try_into().ok())
}

/// The curves of one figure.
pub fn figure(name: &str) -> impl Iterator<Item = &'static Curve> {
    PUBLISHED.iter().filter(move |curve| curve.figure == name)
}

/// A figure of the paper: the data set, what it is drawn over, its file.
type Shown = (&'static str, Axis, &'static str);

const FIGURE_5: &[Shown] = &[
    ("Delicious-200K", Axis::TrainSeconds, "fig5_delicious_time"),
    ("Delicious-200K", Axis::Steps, "fig5_delicious_iter"),
    ("Amazon-670K", Axis::TrainSeconds, "fig5_amazon_time"),
    ("Amazon-670K", Axis::Steps, "fig5_amazon_iter"),
];
const FIGURE_7: &[Shown] = &[
    ("Delicious-200K", Axis::TrainSeconds, "fig7_delicious_time"),
    ("Amazon-670K", Axis::TrainSeconds, "fig7_amazon_time"),
];
const FIGURE_8: &[Shown] = &[
    ("Amazon-670K, batch 64", Axis::TrainSeconds, "fig8_b64"),
    ("Amazon-670K, batch 128", Axis::TrainSeconds, "fig8_b128"),
    ("Amazon-670K, batch 256", Axis::TrainSeconds, "fig8_b256"),
];
const FIGURE_10: &[Shown] =
    &[("Delicious-200K", Axis::TrainSeconds, "fig10_delicious"), ("Amazon-670K", Axis::TrainSeconds, "fig10_amazon")];

/// The figures that an experiment regenerates, over an axis.
pub fn regenerated(experiment: &str, axis: Axis) -> impl Iterator<Item = &'static Shown> {
    let figures = match experiment.split('-').nth(1).filter(|_| experiment.starts_with("slide20-")) {
        Some("fig5") => FIGURE_5,
        Some("fig7") => FIGURE_7,
        Some("fig8") => FIGURE_8,
        Some("fig10") => FIGURE_10,
        _ => &[],
    };
    figures.iter().filter(move |(_, over, _)| *over == axis)
}

/// The figure to draw behind an experiment's curves on data of the published shape, trained with these batches.
pub fn figure_for(experiment: &str, dataset: &str, axis: Axis, batches: &[usize]) -> Option<&'static str> {
    let shape = |published: &str| dataset.contains(&published.split(',').next().unwrap_or_default().to_lowercase());
    let batch = |published: &str| {
        let published = published.split_once("batch ").and_then(|(_, batch)| batch.parse::<usize>().ok());
        published.is_none_or(|batch| *batches == [batch])
    };
    let own = regenerated(experiment, axis);
    let figure_5 = FIGURE_5.iter().filter(|(_, over, _)| *over == axis);
    let mut shown = own.chain(figure_5).filter(|(published, ..)| shape(published) && batch(published));
    shown.next().map(|(.., figure)| *figure)
}

/// Figure 9: seconds to convergence over cores, on one data set, engine by engine.
pub fn over_cores(dataset: &str) -> Vec<(&'static str, Vec<(f64, f64)>)> {
    let mut found: Vec<(&'static str, Vec<(f64, f64)>)> = Vec::new();
    for [of, series, cores, seconds] in cells(CORES) {
        let (true, Ok(cores), Ok(seconds)) = (of == dataset, cores.parse(), seconds.parse()) else { continue };
        match found.iter_mut().find(|(known, _)| *known == series) {
            Some((_, points)) => points.push((cores, seconds)),
            None => found.push((series, vec![(cores, seconds)])),
        }
    }
    found
}

/// Seconds (or iterations) a published curve needs to reach a P@1.
pub fn to_reach(figure: &str, series: &str, p1: f64) -> Option<f64> {
    let curve = PUBLISHED.iter().find(|curve| curve.figure == figure && curve.series == series)?;
    crossing(&curve.points, p1)
}

/// Figure 9: seconds to convergence on so many cores.
pub fn on_cores(dataset: &str, series: &str, cores: usize) -> Option<f64> {
    cells(CORES)
        .find(|[d, s, c, _]| *d == dataset && *s == series && c.parse() == Ok(cores))
        .and_then(|[.., seconds]| seconds.parse().ok())
}

impl Curve {
    /// Points to draw: reading a figure pixel by pixel gives more of them than a smaller picture can show.
    pub fn drawn(&self) -> Vec<Point> {
        let stride = self.points.len().div_ceil(120).max(1);
        let last = self.points.len() - 1;
        let kept = self.points.iter().enumerate().filter(|(i, _)| i % stride == 0 || *i == last);
        kept.map(|(_, &(x, p1))| Point { x, median: p1, min: p1, max: p1 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_whole_and_ascending() {
        assert_eq!(PUBLISHED.len(), 29);
        for curve in PUBLISHED.iter() {
            assert!(curve.points.len() > 100, "{} {}", curve.figure, curve.series);
            assert!(curve.points.iter().all(|(x, p1)| *x > 0.0 && (0.0..0.5).contains(p1)));
            assert!(curve.points.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{} {}", curve.figure, curve.series);
            assert!(curve.drawn().len() <= 121);
        }
    }

    #[test]
    fn experiments_stand_before_the_figures_they_regenerate() {
        let time = Axis::TrainSeconds;
        let figures = |experiment| regenerated(experiment, time).map(|(.., figure)| *figure).collect::<Vec<_>>();
        assert_eq!(figures("slide20-fig8-batch-smoke"), ["fig8_b64", "fig8_b128", "fig8_b256"]);
        assert!(figures("default").is_empty() && figures("my-fig8").is_empty());
        let amazon = "synthetic:amazon-670k@0.1";
        assert_eq!(figure_for("slide20-fig8-batch", amazon, time, &[64]), Some("fig8_b64"));
        assert_eq!(figure_for("slide20-fig7-sampled", amazon, time, &[64]), Some("fig7_amazon_time"));
        assert_eq!(figure_for("default", amazon, Axis::Steps, &[64]), Some("fig5_amazon_iter"));
        assert_eq!(figure_for("default", "moby", time, &[64]), None);
        assert_eq!(over_cores("Amazon-670K")[0].1[0], (2.0, 52512.0));
    }

    #[test]
    fn known_readings() {
        // Near the plateau the reading's ±0.002 on P@1 moves the crossing by several percent of the time.
        let near = |value: Option<f64>, expected: f64| (value.unwrap() / expected - 1.0).abs() < 0.08;
        assert!(near(to_reach("fig5_amazon_time", "SLIDE", 0.30), 3869.0));
        assert!(near(to_reach("fig5_amazon_time", "TF-GPU", 0.30), 10486.0));
        assert_eq!(on_cores("Amazon-670K", "SLIDE", 44), Some(7660.0));
        assert_eq!(on_cores("Amazon-670K", "SLIDE", 5), None);
    }
}

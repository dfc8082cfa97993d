//! How often a neuron is selected, as against the formula (SLIDE, section 2.1 and figure 11).
//!
//! A neuron whose weights collide with a query in one hash function with probability p lies in the query's bucket in a
//! table of K functions with pᴷ, and in at least m of T tables with a tail of the binomial distribution. Here the
//! engines' own selection is asked, under fresh hash functions at every draw, whether it takes the neuron.
//!
//! The formula wants independent tables. (D)WTA cuts one permutation of the coordinates into several bins, which share
//! no coordinate and so are not quite independent; a width below two bins gives every bin a permutation of its own.
//! The cases called `wide` have as many coordinates as a hidden layer, and show how much that matters.

use super::{Bench, Error, normal, refused, threads};
use crate::lsh::{Family, LshSettings, Packing, collision};
use crate::record::Observation;
use crate::selection::{ActiveSets, HashedSettings, Lsh, Neurons, Queries, Retrieve, Selection as _};
use rayon::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    /// Draws of all hash functions.
    draws: u64,
    /// Neurons, of collision probabilities that divide 0…1 evenly.
    points: usize,
    /// Weights a neuron: below two bins of DWTA, and few enough to go through all sparse signs.
    width: usize,
    /// Weights a neuron in the `wide` cases; 0 for none.
    wide: usize,
    /// T of figure 11, of which a neuron must be found in at least m = 1 … T − 1; K is 1.
    tables: usize,
    /// T and K where being found in one table is enough.
    many_tables: usize,
    bits: usize,
    seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { draws: 20_000, points: 9, width: 15, wide: 128, tables: 10, many_tables: 50, bits: 6, seed: 1 }
    }
}

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    if options.draws == 0 || options.points == 0 || options.tables < 2 || !(2..16).contains(&options.width) {
        let problem = "draws and points must be at least 1, tables at least 2, width from 2 to 15";
        return Err(Error::Settings(problem.into()));
    }
    let pool = threads(bench.threads)?;
    let simhash = LshSettings { family: Family::Simhash, ..LshSettings::default() };
    let dwta = LshSettings { packing: Packing::Exact, ..LshSettings::default() };
    let kept = options.width.div_ceil(simhash.sparsity);
    let signs = move |a: &[f32], b: &[f32]| collision::simhash_signs(a, b, kept);
    let bin = dwta.bin;
    let winners = move |a: &[f32], b: &[f32]| collision::wta(a, b, bin);
    let mut cases = vec![
        ("SimHash", &simhash, Ladder::new(options.width, options.points, options.seed, &signs)),
        ("DWTA", &dwta, Ladder::new(options.width, options.points, options.seed, &winners)),
    ];
    if options.wide > 0 {
        cases.push(("DWTA wide", &dwta, Ladder::new(options.wide, options.points, options.seed, &winners)));
    }
    for (name, lsh, ladder) in cases {
        for m in 1..options.tables {
            let lsh = LshSettings { bits: 1, tables: options.tables, ..lsh.clone() };
            let settings = HashedSettings { retrieve: Retrieve::Threshold, threshold: m as u16, lsh, ..asked() };
            bench.case(&format!("{name}, m={m}"))?;
            let hits = pool.install(|| ladder.draw(&settings, options.draws, options.seed + ((m as u64) << 32)))?;
            let formula = |p| collision::at_least(p, 1, options.tables, m);
            ladder.record(bench, &format!("{name}, m={m}"), &hits, options.draws, formula)?;
        }
        let lsh = LshSettings { bits: options.bits, tables: options.many_tables, ..lsh.clone() };
        let case = format!("{name}, K {}, T {}", lsh.bits, lsh.tables);
        bench.case(&case)?;
        let hits = pool.install(|| ladder.draw(&HashedSettings { lsh, ..asked() }, options.draws, options.seed))?;
        let formula = |p| collision::selection(p, options.bits, options.many_tables);
        ladder.record(bench, &case, &hits, options.draws, formula)?;
    }
    Ok(())
}

/// Everything in the tables, however many lie in a bucket.
fn asked() -> HashedSettings {
    HashedSettings { retrieve: Retrieve::Union, ..HashedSettings::default() }
}

/// Ways from a query to unlike vectors on which a neuron is looked for.
const ATTEMPTS: usize = 32;

/// A query, and neurons ever more like it.
struct Ladder {
    width: usize,
    query: Vec<f32>,
    /// Points x width.
    weights: Vec<f32>,
    /// The exact collision probability of each.
    probabilities: Vec<f64>,
}

impl Ladder {
    fn new(width: usize, points: usize, seed: u64, probability: &dyn Fn(&[f32], &[f32]) -> f64) -> Self {
        let query = normal(width, 1.0, seed);
        let mut ladder = Self { width, query: query.clone(), weights: Vec::new(), probabilities: Vec::new() };
        for point in 1..=points {
            let wanted = point as f64 / (points + 1) as f64;
            // The probability falls with the angle between the query and a neuron, in steps, and in other steps on the
            // way to every other vector: where it passes the point, by halving, on the way that hits it best.
            let on_the_way = |attempt: usize| {
                let other = normal(width, 1.0, seed + (1 + point * ATTEMPTS + attempt) as u64);
                let at = |angle: f32| -> Vec<f32> {
                    query.iter().zip(&other).map(|(q, o)| angle.cos() * q + angle.sin() * o).collect()
                };
                let (mut near, mut far) = (0.0, std::f32::consts::PI);
                for _ in 0..12 {
                    let middle = (near + far) / 2.0;
                    *if probability(&query, &at(middle)) >= wanted { &mut near } else { &mut far } = middle;
                }
                let neuron = at(near);
                (probability(&query, &neuron), neuron)
            };
            let miss = |p: f64| (p - wanted).abs();
            let mut best = on_the_way(0);
            for attempt in 1..ATTEMPTS {
                if miss(best.0) < 0.01 {
                    break;
                }
                let other = on_the_way(attempt);
                if miss(other.0) < miss(best.0) {
                    best = other;
                }
            }
            ladder.probabilities.push(best.0);
            ladder.weights.extend(best.1);
        }
        ladder
    }

    /// How often each neuron was selected, over so many draws of the hash functions.
    fn draw(&self, settings: &HashedSettings, draws: u64, seed: u64) -> Result<Vec<u64>, Error> {
        let neurons = self.probabilities.len();
        let bias = vec![0.0; neurons];
        let layer = Neurons { weights: (&self.weights).into(), bias: &bias, width: self.width, stride: self.width };
        let mut settings = settings.clone();
        settings.lsh.capacity = neurons;
        let one = |draw: u64| -> Result<Vec<u64>, Error> {
            let mut lsh = Lsh::new(&settings, self.width, neurons, seed.wrapping_add(draw)).map_err(refused)?;
            lsh.prepare(0, layer);
            let mut sets = ActiveSets::new(neurons);
            sets.reset(1);
            lsh.select(0, Queries { x: &self.query, width: self.width, stride: self.width }, layer, &mut sets);
            Ok((0..neurons).map(|neuron| u64::from(sets.contains(0, neuron as u32))).collect())
        };
        let sum = |a: Vec<u64>, b: Vec<u64>| Ok(a.iter().zip(&b).map(|(a, b)| a + b).collect());
        (0..draws).into_par_iter().map(one).try_reduce(|| vec![0; neurons], sum)
    }

    fn record(
        &self,
        bench: &mut Bench<'_>,
        case: &str,
        hits: &[u64],
        draws: u64,
        formula: impl Fn(f64) -> f64,
    ) -> Result<(), Error> {
        for (&hits, &p) in hits.iter().zip(&self.probabilities) {
            let at = Observation {
                case: case.into(),
                x_name: "collision probability".into(),
                x: Some(p),
                threads: bench.threads,
                ..Observation::default()
            };
            let (draws, exact) = (draws as f64, formula(p));
            // One draw is the least that can be told apart.
            let error = (exact * (1.0 - exact) / draws).max(0.0).sqrt().max(1.0 / draws);
            bench.value(&at, "Monte Carlo", "", hits as f64 / draws)?;
            bench.value(&at, "formula", "", exact)?;
            bench.value(&at, "standard error", "", error)?;
        }
        Ok(())
    }
}

//! How well WTA and DWTA tell like from unlike sparse vectors (SLIDE 2020, section 3.2).
//!
//! A vector and a noisy copy of it are alike, a vector and a stranger are not. Two questions:
//!
//! - Is the *order* right? The score of a pair is the share of hash functions in which the two collide; the area under
//!   the curve (AUC) is how often a like pair scores above an unlike one, ties counting half: ½ is guessing.
//! - Is what *tables* retrieve right? The share of like and of unlike pairs that meet in a bucket of T tables of K codes.
//!   To WTA, which takes absent coordinates for zeros, most bins of any two sparse vectors are equal.

use super::{Bench, Error, refused};
use crate::lsh::{Family, Hasher, LshSettings, Packing};
use crate::record::Observation;
use rand::seq::index;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Options {
    width: usize,
    /// Shares of the coordinates that are not zero.
    densities: Vec<f64>,
    /// Pairs of either kind.
    pairs: usize,
    /// Non-zeros that a copy shares with its original.
    kept: f64,
    /// K and T.
    bits: usize,
    tables: usize,
    bin: usize,
}

impl Default for Options {
    fn default() -> Self {
        let densities = vec![0.01, 0.05, 0.5];
        Self { width: 1000, densities, pairs: 2000, kept: 0.7, bits: 6, tables: 50, bin: 8 }
    }
}

type Sparse = (Vec<u32>, Vec<f32>);

pub(super) fn run(bench: &mut Bench<'_>) -> Result<(), Error> {
    let options: Options = bench.settings()?;
    for repeat in 0..bench.repeats {
        for &density in &options.densities {
            let mut random = Pcg64Mcg::seed_from_u64(repeat);
            let non_zeros = ((density * options.width as f64).round() as usize).clamp(1, options.width);
            let pairs: Vec<[Sparse; 3]> = (0..options.pairs)
                .map(|_| {
                    let one = vector(&mut random, options.width, non_zeros);
                    let copy = copy(&mut random, &one, options.width, options.kept);
                    [one, copy, vector(&mut random, options.width, non_zeros)]
                })
                .collect();
            for (case, family) in [("WTA", Family::Wta), ("DWTA", Family::Dwta)] {
                bench.case(case)?;
                let hasher = |bits, tables| {
                    let (packing, bin) = (Packing::Exact, options.bin);
                    let settings = LshSettings { family, bits, tables, bin, packing, ..LshSettings::default() };
                    Hasher::new(&settings, options.width, 1 + repeat).map_err(refused)
                };
                let functions = hasher(1, options.bits * options.tables)?;
                let tables = hasher(options.bits, options.tables)?;
                let shared = |hasher: &Hasher| {
                    [1, 2].map(|other| {
                        pairs.iter().map(|triple| shared(hasher, &triple[0], &triple[other])).collect::<Vec<f64>>()
                    })
                };
                let [alike, unlike] = shared(&functions);
                let met = shared(&tables).map(|shares| shares.iter().map(|&share| f64::from(share > 0.0)).collect());
                let at = Observation {
                    case: case.into(),
                    x_name: "density, %".into(),
                    x: Some(100.0 * density),
                    repeat,
                    ..Observation::default()
                };
                let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len().max(1) as f64;
                bench.value(&at, "collisions of like pairs", "share", mean(&alike))?;
                bench.value(&at, "collisions of unlike pairs", "share", mean(&unlike))?;
                bench.value(&at, "AUC", "", auc(alike, unlike))?;
                let [alike, unlike]: [Vec<f64>; 2] = met;
                bench.value(&at, "like pairs retrieved", "share", mean(&alike))?;
                bench.value(&at, "unlike pairs retrieved", "share", mean(&unlike))?;
            }
        }
    }
    Ok(())
}

fn vector(random: &mut Pcg64Mcg, width: usize, non_zeros: usize) -> Sparse {
    let mut indices: Vec<u32> = index::sample(random, width, non_zeros).into_iter().map(|i| i as u32).collect();
    indices.sort_unstable();
    let values = indices.iter().map(|_| random.random_range(0.1..1.0)).collect();
    (indices, values)
}

/// Keeps a share of the non-zeros, with a tenth of noise on each, and draws the others anew.
fn copy(random: &mut Pcg64Mcg, (indices, values): &Sparse, width: usize, kept: f64) -> Sparse {
    let mut entries = std::collections::BTreeMap::new();
    for i in index::sample(random, indices.len(), (kept * indices.len() as f64).round() as usize) {
        entries.insert(indices[i], values[i] * random.random_range(0.9..1.1));
    }
    while entries.len() < indices.len() {
        let stranger = random.random_range(0..width as u32);
        let value = random.random_range(0.1..1.0);
        entries.entry(stranger).or_insert(value);
    }
    entries.into_iter().unzip()
}

/// The share of tables in which two vectors fall into one bucket.
fn shared(hasher: &Hasher, a: &Sparse, b: &Sparse) -> f64 {
    let [a, b] = [a, b].map(|(indices, values)| {
        let mut codes = vec![0; hasher.tables()];
        hasher.hash_sparse(indices, values, &mut codes);
        codes
    });
    a.iter().zip(&b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

/// Mann and Whitney's count, by ranks.
fn auc(alike: Vec<f64>, mut unlike: Vec<f64>) -> f64 {
    unlike.sort_by(f64::total_cmp);
    let wins = |score: f64| {
        let below = unlike.partition_point(|&other| other < score);
        let up_to = unlike.partition_point(|&other| other <= score);
        (below + up_to) as f64 / 2.0
    };
    alike.iter().map(|&score| wins(score)).sum::<f64>() / (alike.len() * unlike.len()).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::auc;

    #[test]
    fn the_area_under_the_curve_by_hand() {
        assert_eq!(auc(vec![3.0, 2.0], vec![1.0, 0.0]), 1.0);
        assert_eq!(auc(vec![0.0], vec![1.0, 2.0]), 0.0);
        assert_eq!(auc(vec![1.0, 1.0], vec![1.0, 0.0]), 0.75);
    }
}

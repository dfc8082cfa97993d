//! Data sets through the public interface.

use slidebench::data::{self, Dataset, Features, OpenOptions, Source, Split};
use std::path::Path;

fn source(text: &str) -> Source {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// Opens without a cache.
fn build(text: &str, seed: u64) -> Dataset {
    let options = OpenOptions { cache_dir: None, seed, ..OpenOptions::default() };
    data::open(&source(text), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens with the cache in `folder`.
fn cached(text: &str, folder: &Path) -> Dataset {
    let options = OpenOptions { cache_dir: Some(folder.into()), ..OpenOptions::default() };
    data::open(&source(text), &options).unwrap_or_else(|error| panic!("{error}"))
}

/// What every source promises; see the documentation of `slidebench::data`.
fn assert_invariants(data: &Dataset) {
    for split in [&data.train, &data.test] {
        match &split.features {
            Features::Sparse(csr) => {
                assert_eq!(csr.rows(), split.rows());
                for r in 0..csr.rows() {
                    let (indices, values) = csr.row(r);
                    assert!(indices.windows(2).all(|pair| pair[0] < pair[1]), "row {r}: {indices:?}");
                    assert!(indices.iter().all(|&index| (index as usize) < data.inputs), "row {r}");
                    assert!(values.iter().all(|value| value.is_finite()), "row {r}: {values:?}");
                }
            }
            Features::Dense { width, values } => {
                assert_eq!(*width, data.inputs);
                assert_eq!(values.len(), width * split.rows());
                assert!(values.iter().all(|value| value.is_finite()));
            }
        }
        for r in 0..split.rows() {
            let labels = split.labels.row(r);
            assert!(labels.windows(2).all(|pair| pair[0] < pair[1]), "row {r}: {labels:?}");
            assert!(labels.iter().all(|&label| (label as usize) < data.labels), "row {r}");
        }
    }
}

fn sparse(split: &Split) -> &data::Csr {
    match &split.features {
        Features::Sparse(csr) => csr,
        Features::Dense { .. } => panic!("sparse rows were expected"),
    }
}

fn assert_unit_rows(split: &Split) {
    let csr = sparse(split);
    for r in 0..csr.rows() {
        let squares: f64 = csr.row(r).1.iter().map(|&value| f64::from(value).powi(2)).sum();
        assert!((squares - 1.0).abs() < 1e-5, "row {r} has squared length {squares}");
    }
}

mod orders {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_of_its_own() {
        let first = data::shuffled(1000, 7, 0);
        assert_eq!(first, data::shuffled(1000, 7, 0));
        assert_ne!(first, data::shuffled(1000, 7, 1));
        assert_ne!(first, data::shuffled(1000, 8, 0));
        let mut sorted = first;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<u32>>());
    }

    #[test]
    fn a_sample_is_distinct_rows_from_everywhere() {
        let mut sample = data::sample(100_000, 500, 3);
        assert_eq!(sample, data::sample(100_000, 500, 3));
        sample.sort_unstable();
        sample.dedup();
        assert_eq!(sample.len(), 500);
        let mean = sample.iter().map(|&r| f64::from(r)).sum::<f64>() / 500.0;
        assert!((40_000.0..60_000.0).contains(&mean), "{mean}");
        assert_eq!(data::sample(10, 500, 3).len(), 10);
        assert!(data::sample(0, 5, 3).is_empty());
    }

    #[test]
    fn every_order_of_three_is_as_likely() {
        let mut seen = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *seen.entry(data::shuffled(3, 1, epoch)).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|&count| (850..1150).contains(&count)), "{seen:?}");
    }
}

#[cfg(feature = "embedded-data")]
mod words {
    use super::*;

    #[test]
    fn moby_is_what_the_recipe_says() {
        let moby = build("moby", 0);
        assert_invariants(&moby);
        assert_unit_rows(&moby.train);
        assert_unit_rows(&moby.test);
        assert_eq!((moby.train.rows(), moby.test.rows(), moby.inputs), (23_456, 5_865, 30_149));
        assert!((90_000..91_500).contains(&moby.labels), "{}", moby.labels);
        assert!(moby.label_counts().iter().all(|&count| count >= 2));
    }

    #[test]
    fn webster_is_what_the_recipe_says() {
        let webster = build("webster", 0);
        assert_invariants(&webster);
        assert_unit_rows(&webster.train);
        assert_eq!(webster.inputs, 24_440);
        assert!((24_360..24_380).contains(&webster.train.rows()), "{}", webster.train.rows());
        assert!((6_085..6_096).contains(&webster.test.rows()), "{}", webster.test.rows());
        assert!((29_400..29_900).contains(&webster.labels), "{}", webster.labels);
        assert!(webster.label_counts().iter().all(|&count| count >= 3));
    }

    #[test]
    fn the_seed_makes_the_split_and_the_cache_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (build("webster", 0), build("webster", 1));
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_eq!(one, cached("webster", folder.path()));
        assert_eq!(one, cached("webster", folder.path()));
    }
}

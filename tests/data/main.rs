//! Data sets through the public interface.

use slidebench::data::{self, Dataset, Features, OpenOptions, Source, Split};
use std::path::Path;

mod cache;
mod idx;
mod orders;
mod sources;
mod statistics;
mod synthetic;
#[cfg(feature = "embedded-data")]
mod words;
mod xmc;

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

//! Orders of rows: shuffles and samples.

use slidebench::data;

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

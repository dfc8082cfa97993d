//! The two data sets in the box.

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

//! The real data sets in the box.

use super::*;
use slidebench::data::stats::Statistics;

/// N of both sides, I, L, then features a row, labels a row and the P@1 of the top label, rounded: the table in the
/// documentation of `slidebench::data::words`.
fn figures(data: &Dataset) -> ([usize; 4], [String; 3]) {
    let Statistics { train, test, inputs, labels, features_a_row, labels_a_row, majority_p1, .. } =
        Statistics::of(data);
    let means = [format!("{features_a_row:.1}"), format!("{labels_a_row:.1}"), format!("{majority_p1:.3}")];
    ([train, test, inputs, labels], means)
}

#[test]
fn moby_is_what_the_recipe_says() {
    let moby = build("moby", 0);
    assert_invariants(&moby);
    assert_unit_rows(&moby.train);
    assert_unit_rows(&moby.test);
    let means = ["56.3", "85.4", "0.034"].map(String::from);
    assert_eq!(figures(&moby), ([23_456, 5_865, 30_149, 90_441], means));
    assert!(moby.label_counts().iter().all(|&count| count >= 2));
}

#[test]
fn webster_is_what_the_recipe_says() {
    let folder = tempfile::tempdir().unwrap();
    let webster = cached("webster", folder.path());
    assert_invariants(&webster);
    assert_unit_rows(&webster.train);
    let means = ["11.6", "40.2", "0.024"].map(String::from);
    assert_eq!(figures(&webster), ([24_372, 6_086, 24_440, 29_619], means));
    assert!(webster.label_counts().iter().all(|&count| count >= 3));

    assert_eq!(webster, cached("webster", folder.path()), "from the cache");
    assert_ne!(webster.fingerprint, build("webster", 1).fingerprint, "by another seed");
}

#[test]
fn webster_text_is_words_and_what_stands_around_them() {
    let text = build("webster-text", 0);
    assert_invariants(&text);
    let means = ["1.0", "3.6", "0.219"].map(String::from);
    assert_eq!(figures(&text), ([587_901, 11_993, 12_114, 12_114], means));
    assert_eq!(text.inputs, text.labels, "one vocabulary");
    let slidebench::data::Features::Sparse(words) = &text.train.features else { panic!("one-hot rows are sparse") };
    assert!(words.values().iter().all(|&value| value == 1.0));
    // Neighbours stand in each other's context.
    let row = |r: usize| (words.row(r).0[0], text.train.labels.row(r));
    let next_to_each_other =
        (0..1000).filter(|&r| row(r).1.contains(&row(r + 1).0) && row(r + 1).1.contains(&row(r).0));
    assert!(next_to_each_other.count() > 900);
    assert!((0..1000).all(|r| (1..=4).contains(&row(r).1.len())));
    assert_ne!(text.fingerprint, build("webster-text", 1).fingerprint, "by another seed");
}

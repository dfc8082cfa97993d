//! Generated sets: the published counts, the same bytes every time, and something to learn.

use super::*;
use slidebench::data::{LabelLists, stats::Statistics, synthetic::Published};

#[test]
fn counts_are_the_published_ones_at_any_scale() {
    for (published, scale) in
        [(Published::Amazon670k, 0.01), (Published::Delicious200k, 0.01), (Published::WikiLshtc325k, 0.002)]
    {
        let text = format!("synthetic:{}@{scale}", published.name());
        let data = build(&text, 0);
        assert_invariants(&data);
        assert_unit_rows(&data.train);
        let (counted, full) = (Statistics::of(&data), published.counts());
        for (counted, full) in [
            (counted.train, full.train),
            (counted.test, full.test),
            (counted.inputs, full.inputs),
            (counted.labels, full.labels),
        ] {
            assert_eq!(counted, (full as f64 * scale).round() as usize, "{text}");
        }
        // The means vary with the draw; a feature in every row would weigh nothing, but none is.
        approx::assert_relative_eq!(counted.features_a_row, full.features_a_row, max_relative = 0.03);
        approx::assert_relative_eq!(counted.labels_a_row, full.labels_a_row, max_relative = 0.03);
    }
}

#[test]
fn the_most_frequent_labels_follow_the_power_law() {
    let data = build("synthetic:delicious-200k@0.02", 0);
    let mut counts = data.label_counts();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    // Between the ranks 10 and 1000 the slope in logarithms is the exponent, a little less for drawing without
    // repetition within a row.
    let slope = (f64::from(counts[9]) / f64::from(counts[999])).ln() / 100f64.ln();
    assert!((0.45..0.65).contains(&slope), "{slope}");
    let exponent = Published::Delicious200k.counts().label_exponent;
    assert!((slope - exponent).abs() < 0.15, "{slope} for {exponent}");
}

#[test]
fn numbers_do_not_tell_ranks() {
    let data = build("synthetic:amazon-670k@0.01", 0);
    let counts = data.label_counts();
    let (front, back) = counts.split_at(counts.len() / 2);
    let share = f64::from(front.iter().sum::<u32>()) / f64::from(back.iter().sum::<u32>());
    assert!((0.8..1.25).contains(&share), "{share}");
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_any_number_of_threads() {
    let text = "synthetic:amazon-670k@0.01";
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| build(text, 5))
    };
    let one = with_threads(1);
    assert_eq!(one, with_threads(3));
    assert_ne!(one.fingerprint, build(text, 6).fingerprint);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(cached(text, folder.path()), cached(text, folder.path()));
}

#[test]
fn rows_may_have_another_number_of_features() {
    let made = build("synthetic:amazon-670k@0.02?train=500&test=1&features=200", 0);
    assert_eq!(made.inputs, build("synthetic:amazon-670k@0.02?train=1&test=1", 0).inputs);
    let mean = sparse(&made.train).nnz() as f64 / 500.0;
    approx::assert_relative_eq!(mean, 200.0, max_relative = 0.06);
}

#[test]
fn fewer_rows_are_the_first_rows() {
    let all = build("synthetic:amazon-670k@0.01", 0);
    let few = build("synthetic:amazon-670k@0.01?train=700&test=30", 0);
    assert_eq!((few.train.rows(), few.test.rows()), (700, 30));
    assert_eq!((few.inputs, few.labels), (all.inputs, all.labels));
    for r in 0..700 {
        assert_eq!(few.train.labels.row(r), all.train.labels.row(r));
        assert_eq!(sparse(&few.train).row(r).0, sparse(&all.train).row(r).0);
    }
    assert_eq!(few.test.labels.row(29), all.test.labels.row(29));
    assert_eq!(build("synthetic:amazon-670k@0.01?train=999999", 0).train.rows(), all.train.rows());
}

#[test]
fn the_smallest_scales_still_make_rows() {
    for scale in ["0.000001", "0.00001", "0.0001"] {
        for published in Published::ALL {
            let data = build(&format!("synthetic:{}@{scale}", published.name()), 0);
            assert_invariants(&data);
            assert!(data.train.rows() > 0 && data.train.labels.total() > 0);
        }
    }
}

/// P@1 on 200 test rows of the label whose training rows' sum is nearest by angle, and of the most frequent label.
fn nearest_centroid(data: &Dataset) -> (f64, f64) {
    let (train, labels): (_, &LabelLists) = (sparse(&data.train), &data.train.labels);
    let mut rows_with: Vec<Vec<u32>> = vec![vec![]; data.labels];
    for r in 0..data.train.rows() {
        labels.row(r).iter().for_each(|&label| rows_with[label as usize].push(r as u32));
    }
    // By feature, the weight it has in each label's centroid.
    let mut index: Vec<Vec<(u32, f32)>> = vec![vec![]; data.inputs];
    let mut centroid = vec![0f32; data.inputs];
    for (label, rows) in rows_with.iter().enumerate() {
        let mut touched = vec![];
        for &r in rows {
            let (features, values) = train.row(r as usize);
            for (&feature, &value) in features.iter().zip(values) {
                if centroid[feature as usize] == 0.0 {
                    touched.push(feature);
                }
                centroid[feature as usize] += value;
            }
        }
        let length = touched.iter().map(|&f| centroid[f as usize].powi(2)).sum::<f32>().sqrt();
        for feature in touched {
            index[feature as usize].push((label as u32, std::mem::take(&mut centroid[feature as usize]) / length));
        }
    }
    let test = data::sample(data.test.rows(), 200, 0);
    let hits = test
        .iter()
        .filter(|&&r| {
            let mut scores = vec![0f32; data.labels];
            let (features, values) = sparse(&data.test).row(r as usize);
            for (&feature, &value) in features.iter().zip(values) {
                index[feature as usize].iter().for_each(|&(label, weight)| scores[label as usize] += value * weight);
            }
            let best = (0..data.labels).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap();
            data.test.labels.row(r as usize).contains(&(best as u32))
        })
        .count();
    (hits as f64 / test.len() as f64, Statistics::of(data).majority_p1)
}

#[test]
fn labels_can_be_told_from_features() {
    // With 75 labels a row, some label of a small Delicious is in many rows.
    for (text, least) in [
        ("synthetic:amazon-670k@0.005", 0.5),
        ("synthetic:delicious-200k@0.03?train=2000&test=200", 0.15),
        ("synthetic:wikilshtc-325k@0.002", 0.5),
    ] {
        let (nearest, majority) = nearest_centroid(&build(text, 0));
        assert!(nearest > majority + least, "{text}: {nearest:.3} against {majority:.3}");
    }
}

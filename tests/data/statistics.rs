//! Statistics of a set small enough to count by hand.

use super::*;
use slidebench::data::{Csr, LabelLists, stats::Statistics};

fn split(offsets: &[u64], indices: &[u32], labels: &[&[u32]]) -> Split {
    let features = Csr::new(offsets.into(), indices.into(), vec![1.0; indices.len()]);
    let mut label_offsets = vec![0];
    label_offsets.extend(labels.iter().scan(0, |end, row| {
        *end += row.len() as u64;
        Some(*end)
    }));
    Split { features: Features::Sparse(features), labels: LabelLists::new(label_offsets, labels.concat()) }
}

#[test]
fn a_small_set_is_counted_right() {
    let train = split(&[0, 2, 2, 3, 6], &[0, 9, 5, 1, 2, 3], &[&[0, 2], &[2], &[], &[1, 2, 3]]);
    let test = split(&[0, 1, 2], &[0, 1], &[&[1, 2], &[3]]);
    let data = Dataset::new("small".into(), 10, 1234, train, test, "made by hand".into());
    let expected = Statistics {
        name: "small".into(),
        inputs: 10,
        labels: 1234,
        train: 4,
        test: 2,
        features_a_row: 1.5,
        density_percent: 15.0,
        labels_a_row: 1.5,
        rows_a_label: 6.0 / 1234.0,
        top_label_rows: 3,
        absent_labels: 1230,
        majority_p1: 0.5,
    };
    let counted = Statistics::of(&data);
    assert_eq!(counted, expected);
    let json = serde_json::to_string(&counted).unwrap();
    assert_eq!(serde_json::from_str::<Statistics>(&json).unwrap(), counted);
    let table = counted.to_string();
    assert!(table.starts_with("small\n") && table.contains("1,234\n") && table.contains("15.000 %\n"), "{table}");
    let widths: Vec<usize> = table.lines().skip(1).map(|line| line.chars().count()).collect();
    assert!(widths.windows(2).all(|pair| pair[0] == pair[1] || pair[0].abs_diff(pair[1]) == 2), "{table}");
}

#[test]
fn nothing_at_all_has_statistics_too() {
    let nothing = split(&[0], &[], &[]);
    let data = Dataset::new("nothing".into(), 0, 0, nothing.clone(), nothing, String::new());
    let counted = Statistics::of(&data);
    assert_eq!((counted.features_a_row, counted.density_percent, counted.majority_p1), (0.0, 0.0, 0.0));
}

/// The shares of labels by hand: over four rows of 2, 1, 0 and 3 labels, all of them and two drawn.
#[test]
fn shares_of_labels_are_counted_right() {
    let lists = LabelLists::new(vec![0, 2, 3, 3, 6], vec![0, 2, 2, 1, 2, 3]);
    let over = |total: f32, sums: [f32; 5]| sums.map(|sum| sum / total).to_vec();
    assert_eq!(lists.shares(5), over(4.0, [1.0, 1.0, 3.0, 1.0, 0.0]));
    assert_eq!(lists.drawn_shares(5, 2), over(12.0, [3.0, 2.0, 8.0, 2.0, 0.0]));
}

//! Every verdict that a rule over parts can give, on made-up values; and none without them.

use super::super::super::super::runs::{Contestant, Panel, Run};
use super::super::super::super::style::Style;
use super::super::super::{Verdict, ledger};
use super::*;
use crate::record::{Observation, Row};
use Verdict::NotMeasurable;

/// Case, x, quantity, unit, value.
type Seen<'a> = (&'a str, Option<f64>, &'a str, &'a str, f64);

fn part(values: &[Seen<'_>]) -> Part {
    let seen = values.iter().map(|&(case, x, quantity, unit, value)| Observation {
        case: case.into(),
        x,
        quantity: quantity.into(),
        unit: unit.into(),
        value: Some(value),
        ..Observation::default()
    });
    Part {
        experiment: String::new(),
        label: "machine".into(),
        provenance: None,
        file: "e.csv".into(),
        seen: seen.collect(),
    }
}

/// What the ledger's rule says to a claim beside some runs; checks that it says nothing to nothing.
fn beside(id: &str, values: &[Seen<'_>], studies: &[&Study]) -> Option<Verdict> {
    let claim = ledger().into_iter().find(|claim| claim.id == id).unwrap();
    let rule = claim.rule.unwrap();
    assert!(rule.of_part(&claim, &part(&[]), studies).is_none(), "{id}");
    rule.of_part(&claim, &part(values), studies).map(|found| found.verdict)
}

fn verdict(id: &str, values: &[Seen<'_>]) -> Option<Verdict> {
    beside(id, values, &[])
}

#[test]
fn selection_follows_the_formula_or_does_not() {
    fn at(case: &str, x: f64, found: f64, formula: f64) -> [Seen<'_>; 3] {
        let of = |quantity, value| (case, Some(x), quantity, "", value);
        [of("Monte Carlo", found), of("formula", formula), of("standard error", 0.01)]
    }
    for (id, case, wide) in [("S26", "DWTA, m=2", "DWTA wide, m=2"), ("S27", "DWTA, K 6", "DWTA wide, K 6")] {
        let good = [at(case, 0.2, 0.30, 0.31), at(case, 0.4, 0.50, 0.52)].concat();
        assert_eq!(verdict(id, &good), Some(Holds));
        assert_eq!(verdict(id, &[&good[..], &at(wide, 0.4, 0.50, 0.52)].concat()), Some(Holds));
        assert_eq!(verdict(id, &[&good[..], &at(wide, 0.4, 0.40, 0.52)].concat()), Some(InPart), "only the wide one");
        assert_eq!(verdict(id, &[&good[..], &at(case, 0.6, 0.70, 0.74)].concat()), Some(DoesNotHold), "4 errors");
        assert_eq!(verdict(id, &[&good[..], &at(case, 0.6, 0.40, 0.40)].concat()), Some(DoesNotHold), "it falls");
    }
    assert_eq!(verdict("S26", &at("DWTA, K 6", 0.2, 0.3, 0.3)), None, "another claim's");
}

#[test]
fn strategies_are_compared_where_as_many_neurons_are_retrieved() {
    let of = |top: f64, threshold: f64| {
        let time = |case, x, value| (case, Some(x), "time", "CPU s", value);
        let vanilla = [time("vanilla", 100.0, 1.0), time("vanilla", 10_000.0, 100.0)];
        // Straight on logarithms: 10 s at 1000.
        let others = [time("top-k", 1000.0, 10.0 * top), time("hard threshold", 1000.0, 10.0 * threshold)];
        verdict("S22", &[&vanilla[..], &others].concat())
    };
    assert_eq!(of(11.0, 1.2), Some(Holds));
    assert_eq!(of(11.0, 5.0), Some(InPart));
    assert_eq!(of(2.0, 1.2), Some(InPart));
    assert_eq!(of(2.0, 5.0), Some(DoesNotHold));
}

#[test]
fn incremental_updates_save_always_at_first_or_never() {
    let of = |rows: [f64; 2], weights: [f64; 2]| {
        let time = |case, x, value| (case, x, "time", "CPU s", value);
        let (a, b) = ("incremental, rows", "incremental, weights");
        let points = [time(a, Some(0.0), rows[0]), time(a, Some(1.0), rows[1])];
        let more = [time(b, Some(0.0), weights[0]), time(b, Some(1.0), weights[1])];
        verdict("S29", &[&[time("full rehash", None, 1.0)][..], &points, &more].concat())
    };
    assert_eq!(of([0.1, 0.9], [0.1, 0.9]), Some(Holds));
    assert_eq!(of([0.1, 3.0], [0.1, 0.9]), Some(InPart));
    assert_eq!(of([1.1, 3.0], [1.1, 3.0]), Some(DoesNotHold));
}

#[test]
fn sparse_projections_must_find_as_much() {
    let of = |third: f64, tenth: f64| {
        let cases = [("1 in 1", 0.5), ("1 in 3", third), ("1 in 10", tenth)];
        let recall = cases.map(|(case, recall)| (case, Some(1000.0), "recall", "share", recall));
        let time = cases.map(|(case, _)| (case, None, "time", "CPU s", 1.0));
        verdict("S30", &[recall, time].concat())
    };
    assert_eq!(of(0.49, 0.49), Some(Holds));
    assert_eq!(of(0.49, 0.40), Some(InPart));
    assert_eq!(of(0.40, 0.40), Some(DoesNotHold));
}

#[test]
fn dwta_is_judged_by_its_tables_and_by_its_order() {
    let of = |unlike: f64, auc: f64| {
        let at = |case, quantity, unit, value| (case, Some(1.0), quantity, unit, value);
        let (like, other) = ("like pairs retrieved", "unlike pairs retrieved");
        let plain = [at("WTA", like, "share", 1.0), at("WTA", other, "share", 0.9), at("WTA", "AUC", "", 0.9)];
        let dense = [at("DWTA", like, "share", 0.8), at("DWTA", other, "share", unlike), at("DWTA", "AUC", "", auc)];
        verdict("S31", &[plain, dense].concat())
    };
    assert_eq!(of(0.1, 0.9), Some(Holds));
    assert_eq!(of(0.1, 0.8), Some(InPart));
    assert_eq!(of(0.8, 0.8), Some(DoesNotHold));
}

#[test]
fn packing_sizes_pages_and_rows_are_ruled_by_their_ratios() {
    let packed = |candidates: [f64; 4]| {
        let cases = ["K 6, released", "K 6, exact", "K 8, released", "K 8, exact"];
        let values = cases.iter().zip(candidates).flat_map(|(case, candidates)| {
            let recall = (*case, None, "recall of the true top", "share", 0.1);
            [(*case, None, "candidates a query", "", candidates), recall]
        });
        verdict("C08", &values.collect::<Vec<_>>())
    };
    assert_eq!(packed([3863.0, 160.0, 236.0, 2.0]), Some(Holds));
    assert_eq!(packed([3863.0, 160.0, 3000.0, 100.0]), Some(InPart));
    assert_eq!(packed([3863.0, 3000.0, 3500.0, 3200.0]), Some(DoesNotHold));

    let size = |labels: f64, rows: f64| {
        let published = [("a, published", None, "labels", "", 100.0), ("a, published", None, "rows", "", 100.0)];
        verdict("S34", &[&published[..], &[("a", None, "labels", "", labels), ("a", None, "rows", "", rows)]].concat())
    };
    assert_eq!(size(100.0, 101.0), Some(Holds));
    assert_eq!(size(100.0, 110.0), Some(InPart));
    assert_eq!(size(50.0, 110.0), Some(DoesNotHold));

    let pages = |misses: Option<f64>| {
        let values = ["inner products", "Adam"].into_iter().flat_map(|kernel| {
            let [small, huge] = ["small", "huge"].map(|pages| &*format!("{kernel}, {pages} pages").leak());
            let counted = misses.map(|misses| {
                [(small, 2.0), (huge, misses)].map(|(case, value)| (case, None, "dTLB load misses a row", "", value))
            });
            let time = [(small, None, "time", "s", 2e-7), (huge, None, "time", "s", 1e-7)];
            time.into_iter().chain(counted.into_iter().flatten())
        });
        verdict("S20", &values.collect::<Vec<_>>())
    };
    assert_eq!(pages(Some(0.2)), Some(Holds));
    assert_eq!(pages(Some(1.5)), Some(InPart));
    assert_eq!(pages(Some(2.5)), Some(DoesNotHold));
    assert_eq!(pages(None), Some(NotMeasurable));

    let evaluated = |sorted: f64| {
        let cases = [("the first 20 sorted by label", sorted), ("20 at random", 0.3), ("all test rows", 0.3)];
        verdict("C03", &cases.map(|(case, p1)| (case, None, "P@1", "", p1)))
    };
    assert_eq!(evaluated(0.6), Some(Holds));
    assert_eq!(evaluated(0.32), Some(InPart));
    assert_eq!(evaluated(0.3), Some(DoesNotHold));
}

#[test]
fn a_linear_tree_is_held_against_the_networks_on_the_same_data() {
    /// Learns to `end` in 100 s, in a straight line.
    fn network(name: &str, end: f64) -> Contestant {
        let row =
            |step: u64| Row { step, p1: Some(end * step as f64 / 100.0), train_s: Some(step as f64), ..Row::default() };
        Contestant {
            name: name.into(),
            engine: name.into(),
            style: Style::of(name, false),
            variant: 0,
            software: false,
            runs: vec![Run { seed: 1, sample: [0, 50, 100].map(row).into(), ..Run::default() }],
            troubles: vec![],
            search: vec![],
        }
    }
    let of = |ends: [f64; 2], seconds: f64| {
        let contestants = vec![network("lsh-cpu", ends[0]), network("dense-cpu", ends[1])];
        let study = Study {
            experiment: "default".into(),
            label: "machine".into(),
            machine: None,
            provenance: None,
            panels: vec![Panel { dataset: "moby".into(), contestants }],
            files: vec![],
        };
        let tree = [("moby", None, "P@1", "", 0.4), ("moby", None, "training", "s", seconds)];
        beside("C04", &tree, &[&study])
    };
    assert_eq!(of([0.3, 0.35], 20.0), Some(Holds), "they never come to it");
    assert_eq!(of([0.8, 0.8], 20.0), Some(InPart), "sooner, but they go on");
    assert_eq!(of([0.8, 0.3], 60.0), Some(InPart), "one of them");
    assert_eq!(of([0.8, 0.8], 60.0), Some(DoesNotHold));
    assert_eq!(verdict("C04", &[("moby", None, "P@1", "", 0.4)]), None, "nobody to compare with");
}

//! The rules of `widths` and `options`, on made-up rows: every verdict each can give, and none without its rows.

use super::super::super::runs::{Contestant, Panel, Run, Study};
use super::super::super::style::Style;
use super::super::Verdict::{self, DoesNotHold, Holds, InPart, NotMeasurable, NotMeasured};
use super::super::ledger;
use crate::record::Row;
use crate::report::links::Links;
use std::path::Path;

/// A step's seconds and the P@1 at the end of 100 steps.
fn of(name: &str, seconds: f64, p1: f64) -> Contestant {
    changed(name, seconds, p1, |row| row)
}

/// The same with further columns.
fn changed(name: &str, seconds: f64, p1: f64, change: impl Fn(Row) -> Row) -> Contestant {
    let row = |step: u64, seed: u64| {
        change(Row {
            engine: name.into(),
            seed,
            step,
            threads: 2,
            p1: Some(p1 * step as f64 / 100.0),
            train_s: Some(seconds * step as f64),
            device_s: Some(seconds * step as f64),
            cpu_s: Some(seconds * step as f64),
            ..Row::default()
        })
    };
    let runs = (1..=3).map(|seed| Run {
        seed,
        sample: [0, 50, 100].map(|step| row(step, seed)).into(),
        full: Some(row(100, seed)),
        ..Run::default()
    });
    Contestant {
        name: name.into(),
        engine: name.into(),
        style: Style::of(name, false),
        variant: 0,
        software: false,
        runs: runs.collect(),
        troubles: vec![],
        search: vec![],
    }
}

fn panel(dataset: &str, contestants: Vec<Contestant>) -> Panel {
    Panel { dataset: dataset.into(), contestants }
}

/// The verdict on a claim from one study of its own experiment, and its words.
fn judged(id: &str, panels: Vec<Panel>) -> (Verdict, String) {
    let claim = ledger().into_iter().find(|claim| claim.id == id).unwrap();
    let study = Study {
        experiment: claim.experiment.clone(),
        label: "machine".into(),
        machine: None,
        provenance: None,
        panels,
        files: vec![],
    };
    let links = Links { studies: &[study], parts: &[], out: Path::new("") };
    let ruling = claim.judge(&links, &[]);
    (ruling.verdict, ruling.measured)
}

fn verdict(id: &str, contestants: Vec<Contestant>) -> Verdict {
    judged(id, vec![panel("moby", contestants)]).0
}

/// A study of two engines at several label counts: a hashed step of 10 ms, a dense one of a microsecond a label.
fn widths(hashed: &[f64], labels: &[f64]) -> Vec<Panel> {
    let with =
        |name: &str, seconds: f64, l: f64| changed(name, seconds, 0.5, |row| Row { labels: Some(l as u64), ..row });
    let panels = labels.iter().map(|&l| {
        let mut contestants = vec![with("dense-cpu", l * 1e-6, l)];
        contestants.extend(hashed.iter().enumerate().map(|(i, &s)| with(&format!("lsh-cpu:{i}"), s, l)));
        panel(&format!("L {l}"), contestants)
    });
    panels.collect()
}

#[test]
fn the_break_even_width_is_interpolated_over_the_logarithm() {
    // The ratio is L / 30,000: from 1/3 at 10,000 to 10/3 at 100,000, it passes 1 at 30,000.
    let (found, words) = judged("C12", widths(&[0.03], &[1e3, 1e4, 1e5]));
    assert_eq!(found, Holds);
    assert!(
        words.contains("lsh-cpu:0 overtakes dense-cpu at 30,000 labels, by CPU seconds at 30,000 labels"),
        "{words}"
    );
    let (found, words) = judged("C12", widths(&[0.003], &[1e3, 1e4, 1e5]));
    assert!(found == DoesNotHold && words.contains("at 3,000 labels"), "{words}");
    let (found, words) = judged("C12", widths(&[1.0], &[1e3, 1e4, 1e5]));
    assert!(found == Holds && words.contains("more than 100,000 labels"), "{words}");
    let (found, words) = judged("C12", widths(&[1e-5], &[1e3, 1e4, 1e5]));
    assert!(found == DoesNotHold && words.contains("fewer than 1,000 labels"), "{words}");
    assert_eq!(judged("C12", widths(&[0.03, 0.003], &[1e3, 1e4, 1e5])).0, InPart);
    assert_eq!(judged("C12", widths(&[0.03], &[1e3])).0, NotMeasured, "one width is no curve");
    assert_eq!(judged("C12", widths(&[], &[1e3, 1e5])).0, NotMeasured);
}

#[test]
fn hidden_widths_are_compared_with_the_first() {
    let pair = |width: &str, ratio: f64| {
        vec![of(&format!("lsh-cpu:{width}"), 0.01, 0.5), of(&format!("dense-cpu:{width}"), 0.01 * ratio, 0.5)]
    };
    let all = |ratios: &[(&str, f64)]| ratios.iter().flat_map(|(width, ratio)| pair(width, *ratio)).collect();
    assert_eq!(verdict("C12b", all(&[("128", 4.0), ("512", 5.0), ("1024", 4.0)])), Holds);
    assert_eq!(verdict("C12b", all(&[("128", 4.0), ("512", 5.0), ("1024", 2.0)])), InPart);
    assert_eq!(verdict("C12b", all(&[("128", 4.0), ("512", 3.0), ("1024", 2.0)])), DoesNotHold);
    assert_eq!(verdict("C12b", all(&[("128", 4.0)])), NotMeasured);
}

#[test]
fn density_reads_the_features_of_a_row_from_the_source() {
    let at = |ratios: &[(u64, f64)]| {
        let one = |&(features, ratio): &(u64, f64)| {
            let contestants = vec![of("lsh-cpu", 0.01, 0.5), of("dense-cpu", 0.01 * ratio, 0.5)];
            panel(&format!("synthetic:amazon-670k?features={features}"), contestants)
        };
        judged("C13", ratios.iter().map(one).collect()).0
    };
    assert_eq!(at(&[(5000, 0.5), (20, 5.0)]), Holds);
    assert_eq!(at(&[(20, 5.0), (300, 4.0), (5000, 2.0)]), InPart);
    assert_eq!(at(&[(20, 5.0), (5000, 5.0)]), DoesNotHold);
    assert_eq!(at(&[(20, 5.0)]), NotMeasured);
}

#[test]
fn selections_are_compared_kind_by_kind_at_equal_counts() {
    let active =
        |name: &str, p1: f64, count: f64| changed(name, 0.01, p1, |row| Row { active_mean: Some(count), ..row });
    let per_sample = |p1| vec![active("lsh-cpu", 0.5, 300.0), active("sparse-cpu:uniform", p1, 310.0)];
    assert_eq!(verdict("C09", per_sample(0.495)), Holds);
    assert_eq!(verdict("C09", per_sample(0.4)), DoesNotHold);
    let mut both = per_sample(0.4);
    both.push(active("lsh-cpu:shared, corrected", 0.5, 3000.0));
    both.push(active("sparse-cpu:uniform, shared, corrected", 0.6, 3000.0));
    both.push(active("sparse-cpu:top-k", 0.7, 300.0));
    let (found, words) = judged("C09", vec![panel("moby", both)]);
    assert!(found == InPart && words.contains("sparse-cpu:top-k at 0.700"), "{words}");
    let unequal = vec![active("lsh-cpu", 0.5, 300.0), active("sparse-cpu:uniform", 0.6, 3000.0)];
    assert_eq!(verdict("C09", unequal), InPart);
    assert_eq!(verdict("C09", vec![active("lsh-cpu", 0.5, 300.0)]), NotMeasured);
}

#[test]
fn fill_is_a_share_and_its_repetition_a_loss() {
    let fill = |count: f64| {
        vec![changed("lsh-cpu:independent", 0.01, 0.5, |row| Row {
            active_mean: Some(1000.0),
            active_fill: Some(count),
            ..row
        })]
    };
    assert_eq!(verdict("C10", fill(966.0)), Holds);
    assert_eq!(verdict("C10", fill(20.0)), DoesNotHold);
    assert_eq!(verdict("C10", vec![of("lsh-cpu", 0.01, 0.5)]), NotMeasured);

    let ends = |repeating| vec![of("lsh-cpu:repeating", 0.01, repeating), of("lsh-cpu:independent", 0.01, 0.5)];
    assert_eq!(verdict("C10b", ends(0.3)), Holds);
    assert_eq!(verdict("C10b", ends(0.5)), DoesNotHold);
    assert_eq!(verdict("C10b", vec![of("lsh-cpu:repeating", 0.01, 0.3)]), NotMeasured);
}

#[test]
fn variants_end_alike_or_not() {
    for id in ["S07", "S23", "S25"] {
        let with = |first, second| {
            vec![of("lsh-cpu", 0.01, 0.5), of("lsh-cpu:one", 0.012, first), of("lsh-cpu:two", 0.01, second)]
        };
        let (found, words) = judged(id, vec![panel("moby", with(0.495, 0.503))]);
        assert!(found == Holds && words.contains("one 0.495 at 1.20× its time"), "{words}");
        assert_eq!(verdict(id, with(0.495, 0.4)), InPart);
        assert_eq!(verdict(id, with(0.6, 0.4)), DoesNotHold);
        assert_eq!(verdict(id, vec![of("lsh-cpu", 0.01, 0.5)]), NotMeasured);
    }
}

#[test]
fn rebuilds_cost_time_or_accuracy() {
    let with =
        |name: &str, rebuild: f64, p1: f64| changed(name, 0.01, p1, |row| Row { rebuild_s: Some(rebuild), ..row });
    let fixed = || with("lsh-cpu", 0.5, 0.5);
    let backoff =
        |p1: [f64; 2]| vec![fixed(), with("lsh-cpu:backoff-0.1", 0.2, p1[0]), with("lsh-cpu:backoff-0.4", 0.1, p1[1])];
    let (found, words) = judged("S28", vec![panel("moby", backoff([0.5, 0.495]))]);
    assert!(found == Holds && words.contains("backoff-0.1 0.500 (20.0 % of its time)"), "{words}");
    assert_eq!(verdict("S28", backoff([0.5, 0.4])), InPart);
    let mut unfinished = backoff([0.5, 0.495]);
    unfinished[2].runs.iter_mut().for_each(|run| run.full = None);
    assert_eq!(verdict("S28", unfinished), Holds, "a run that did not end says nothing");
    assert_eq!(verdict("S28", backoff([0.3, 0.4])), DoesNotHold);
    assert_eq!(verdict("S28", vec![fixed()]), NotMeasured);

    let change = |rebuild, p1| vec![fixed(), with("lsh-cpu:on-change", rebuild, p1)];
    assert_eq!(verdict("M02", change(0.1, 0.5)), Holds);
    assert_eq!(verdict("M02", change(0.1, 0.4)), InPart);
    assert_eq!(verdict("M02", change(0.48, 0.5)), DoesNotHold);
    assert_eq!(verdict("M02", vec![fixed()]), NotMeasured);
}

#[test]
fn recall_that_a_rebuild_lifts_had_decayed() {
    // Rows at steps 0, 50 and 100: a rebuild after step 50 shows in the row of step 100.
    let with = |period: u64, after: f64| {
        changed(&format!("lsh-cpu:every-{period}"), 0.01, 0.5, |row| {
            let recall = match row.step {
                0 => None,
                50 => Some(0.4),
                _ => Some(after),
            };
            Row { recall, ..row }
        })
    };
    let (found, words) = judged("C11", vec![panel("moby", vec![with(50, 0.6)])]);
    assert!(found == Holds && words.contains("recall 0.400 just before and 0.600 just after"), "{words}");
    assert_eq!(verdict("C11", vec![with(50, 0.4)]), DoesNotHold);
    assert_eq!(verdict("C11", vec![with(50, 0.6), with(25, 0.4)]), InPart);
    assert_eq!(verdict("C11", vec![with(70, 0.6)]), NotMeasured, "no row at a rebuild");
    assert_eq!(verdict("C11", vec![of("lsh-cpu", 0.01, 0.5)]), NotMeasured);
}

#[test]
fn adam_costs_what_its_absence_saves() {
    let with = |without: f64| vec![of("dense-cpu", 0.10, 0.5), of("dense-cpu:sgd", without, 0.1)];
    assert_eq!(verdict("C07", with(0.04)), Holds);
    assert_eq!(verdict("C07", with(0.08)), InPart);
    assert_eq!(verdict("C07", with(0.10)), DoesNotHold);
    assert_eq!(verdict("C07", vec![of("dense-cpu", 0.10, 0.5)]), NotMeasured);
}

#[test]
fn starts_differ_at_the_end_or_only_on_the_way() {
    let with = |ends: [f64; 2]| vec![of("dense-cpu:start-1", 0.01, ends[0]), of("dense-cpu:start-2", 0.01, ends[1])];
    assert_eq!(verdict("C06", with([0.5, 0.55])), Holds);
    assert_eq!(verdict("C06", with([0.5, 0.501])), DoesNotHold);
    let mut late = with([0.5, 0.55]);
    for run in &mut late[1].runs {
        run.full.as_mut().unwrap().p1 = Some(0.5);
    }
    assert_eq!(verdict("C06", late), InPart);
    assert_eq!(verdict("C06", vec![of("dense-cpu:start-1", 0.01, 0.5)]), NotMeasured);
}

#[test]
fn a_share_of_the_neurons_is_enough_or_not() {
    let with =
        |twentieth, half| vec![of("dense-cpu", 0.01, 0.9), of("lsh:0.05", 0.01, twentieth), of("lsh:0.5", 0.01, half)];
    assert_eq!(verdict("K01", with(0.895, 0.9)), Holds);
    assert_eq!(verdict("K01", with(0.8, 0.9)), InPart);
    assert_eq!(verdict("K01", with(0.8, 0.85)), DoesNotHold);
    assert_eq!(verdict("K01", vec![of("dense-cpu", 0.01, 0.9)]), NotMeasured);
}

#[test]
fn inference_is_fast_at_the_same_accuracy_only() {
    let with = |seconds: f64, p1: f64| {
        let mut contestant = changed("lsh-cpu", 0.01, 0.5, |row| Row { eval_s: Some(1.0), ..row });
        for run in &mut contestant.runs {
            run.hashed = Some(Row { eval_s: Some(seconds), p1: Some(p1), ..Row::default() });
        }
        vec![contestant]
    };
    assert_eq!(verdict("H01", with(0.04, 0.5)), Holds);
    assert_eq!(verdict("H01", with(0.5, 0.5)), InPart);
    assert_eq!(verdict("H01", with(0.04, 0.3)), InPart);
    assert_eq!(verdict("H01", with(0.5, 0.3)), DoesNotHold);
    assert_eq!(verdict("H01", vec![of("lsh-cpu", 0.01, 0.5)]), NotMeasured);
}

#[test]
fn prices_can_turn_the_ranking() {
    let with = |gpu: f64| vec![of("lsh-cpu", 0.01, 0.5), of("dense-gpu", gpu, 0.5)];
    assert_eq!(verdict("B01", with(0.005)), Holds, "half the time at three times the price");
    assert_eq!(verdict("B01", with(0.002)), DoesNotHold);
    assert_eq!(verdict("C15", with(0.005)), Holds);
    assert_eq!(verdict("C15", with(0.002)), DoesNotHold);
    assert_eq!(verdict("C15", vec![of("lsh-cpu", 0.01, 0.5)]), NotMeasurable, "no GPU");
}

#[test]
fn ways_on_the_gpu_are_compared_by_their_steps() {
    let with = |published: f64, hashed: f64| {
        vec![
            of("dense-gpu", 0.01, 0.5),
            of("dense-gpu:as-published", published, 0.5),
            of("lsh-gpu", hashed, 0.5),
            of("lsh-cpu", 0.05, 0.5),
        ]
    };
    assert_eq!(verdict("C01", with(0.05, 0.01)), Holds);
    assert_eq!(verdict("C01", with(0.0105, 0.01)), DoesNotHold);
    assert_eq!(verdict("C14", with(0.05, 0.01)), Holds);
    assert_eq!(verdict("C14", with(0.05, 0.06)), DoesNotHold);
    assert_eq!(verdict("G01", with(0.05, 0.0006)), Holds);
    assert_eq!(verdict("G01", with(0.05, 0.005)), InPart);
    assert_eq!(verdict("G01", with(0.05, 0.02)), DoesNotHold);
    for id in ["C01", "C14", "G01"] {
        assert_eq!(verdict(id, vec![of("lsh-cpu", 0.05, 0.5)]), NotMeasurable, "{id} without a GPU");
    }
}

//! Measurements of parts at tiny size, through the public face of `slidebench::measure`.

use slidebench::kernels::all_supported;
use slidebench::measure::row_kernels::{CALL, ROW_KERNELS, Tables};
use slidebench::measure::{Bench, Error, REGISTRY, run};
use slidebench::record::Observation;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a measurement saw.
struct Seen(Vec<Observation>);

impl Seen {
    fn of(what: &str, options: &str, repeats: u64) -> Self {
        let mut seen = Vec::new();
        let interrupt = AtomicBool::new(false);
        let mut sink = |line: &Observation| {
            seen.push(line.clone());
            Ok(())
        };
        let mut bench = Bench {
            options: options.parse().expect("options are TOML"),
            repeats,
            threads: 2,
            identity: Observation::default(),
            interrupt: &interrupt,
            sink: &mut sink,
            observer: &mut |_| {},
        };
        run(what, &mut bench).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(seen.last().unwrap().status, "complete");
        Self(seen)
    }

    fn cases(&self) -> Vec<&str> {
        let mut cases: Vec<&str> = self.0.iter().map(|one| one.case.as_str()).filter(|case| !case.is_empty()).collect();
        cases.dedup();
        cases
    }

    /// The values of a quantity of a case as they came, with their x.
    fn series(&self, case: &str, quantity: &str) -> Vec<(f64, f64)> {
        let ours = self.0.iter().filter(|one| one.case == case && one.quantity == quantity && one.unit != "CPU s");
        let series: Vec<(f64, f64)> = ours.map(|one| (one.x.unwrap_or(0.0), one.value.unwrap())).collect();
        assert!(!series.is_empty(), "no {quantity} of {case} in {:?}", self.cases());
        series
    }

    fn value(&self, case: &str, quantity: &str) -> f64 {
        self.series(case, quantity)[0].1
    }
}

#[test]
fn every_measurement_refuses_what_it_does_not_know() {
    for entry in REGISTRY {
        let mut bench = Bench {
            options: "no-such-option = 1".parse().unwrap(),
            repeats: 1,
            threads: 1,
            identity: Observation::default(),
            interrupt: &AtomicBool::new(false),
            sink: &mut |line| panic!("{} recorded {line:?}", entry.name),
            observer: &mut |_| {},
        };
        let error = run(entry.name, &mut bench).unwrap_err();
        let told = matches!(&error, Error::Settings(message) if message.contains("no-such-option"));
        assert!(told, "{}: {error}", entry.name);
    }
}

#[test]
fn an_interruption_ends_a_measurement_and_leaves_it_incomplete() {
    let interrupt = AtomicBool::new(false);
    let mut seen = Vec::new();
    let mut sink = |line: &Observation| {
        seen.push(line.clone());
        interrupt.store(true, Ordering::Relaxed);
        Ok(())
    };
    let mut bench = Bench {
        options: "draws = 10\npoints = 1\nwidth = 8\nwide = 0".parse().unwrap(),
        repeats: 1,
        threads: 1,
        identity: Observation::default(),
        interrupt: &interrupt,
        sink: &mut sink,
        observer: &mut |_| {},
    };
    assert!(matches!(run("selection", &mut bench), Err(Error::Interrupted)));
    assert!(!seen.is_empty() && seen.iter().all(|one| one.case == "SimHash, m=1" && one.status == "ok"));
}

/// Figure 11: within three standard errors of the formula at every point, and far from it under another formula.
#[test]
fn neurons_are_selected_as_often_as_the_formula_says() {
    let seen = Seen::of("selection", "draws = 2000\npoints = 5\nwidth = 15\nwide = 0\nbits = 3\nmany-tables = 20", 1);
    let cases = seen.cases();
    assert_eq!(cases.len(), 2 * 10, "{cases:?}");
    for family in ["SimHash", "DWTA"] {
        let mut apart = 0;
        for case in cases.iter().filter(|case| case.starts_with(family)) {
            let found = seen.series(case, "Monte Carlo");
            let (formula, error) = (seen.series(case, "formula"), seen.series(case, "standard error"));
            assert!(found.is_sorted_by(|a, b| a.0 < b.0), "{case}: x must rise");
            for ((found, formula), error) in found.iter().zip(&formula).zip(&error) {
                let errors = (found.1 - formula.1) / error.1;
                assert!(errors.abs() <= 3.0, "{case} at {}: {errors} standard errors", found.0);
                // One table for all of them would be found with p, whatever m.
                apart += usize::from((found.1 - found.0).abs() > 3.0 * error.1);
            }
        }
        assert!(apart > 25, "{family}: {apart}");
    }
}

/// Vanilla reads as few tables as it can, the others all of them; what they retrieve is what was asked for.
#[test]
fn strategies_retrieve_as_many_neurons_as_asked() {
    let options = "neurons = 4000\nwidth = 16\nqueries = 16\nlimits = [200, 2000]\nthresholds = [1, 2, 3]\n\
                   lsh = { family = \"simhash\", bits = 6, tables = 40 }";
    let seen = Seen::of("strategies", options, 2);
    assert_eq!(seen.cases(), ["vanilla", "top-k", "hard threshold"]);
    let retrieved = |case: &str| -> Vec<f64> {
        let mut xs: Vec<f64> = seen.series(case, "time").iter().map(|point| point.0).collect();
        xs.dedup();
        xs
    };
    assert_eq!(retrieved("top-k")[0], 200.0, "exactly so many, where the tables hold them");
    let vanilla = retrieved("vanilla");
    assert!(vanilla[0] >= 200.0 && vanilla[0] < 800.0, "whole buckets of about 63: {vanilla:?}");
    let union = retrieved("hard threshold")[0];
    assert!(union > 1000.0 && union < 4000.0, "half of all neurons: {union}");
    assert!(retrieved("hard threshold").is_sorted_by(|a, b| a > b), "fewer are found in more tables");
    assert!(vanilla[1] <= union && retrieved("top-k")[1] <= union);
    assert!(seen.0.iter().filter_map(|one| one.value).all(|value| value > 0.0));
}

#[test]
fn incremental_updates_add_in_proportion_to_what_changed() {
    let options = "neurons = 1000\nwidth = 30\nshares = [0.0, 0.01, 0.1, 1.0]\n\
                   lsh = { family = \"simhash\", bits = 5, tables = 8 }";
    let seen = Seen::of("incremental", options, 1);
    assert_eq!(seen.cases(), ["full rehash", "incremental, rows", "incremental, weights"]);
    let full = seen.value("full rehash", "additions");
    assert_eq!(full, 1000.0 * 40.0 * 10.0);
    for case in ["incremental, rows", "incremental, weights"] {
        for (share, additions) in seen.series(case, "additions") {
            // A row or two are summed anew, as their largest weight passes a power of two.
            assert!((additions / full - share).abs() < 0.03, "{case}: {additions} of {full} for {share}");
        }
    }
    let kept = seen.value("incremental, rows", "bytes") - seen.value("full rehash", "bytes");
    assert!(kept >= 1000.0 * 4.0 * (40.0 + 30.0), "sums and weights of every neuron: {kept}");
}

#[test]
fn recall_rises_with_what_is_retrieved_however_sparse_the_projections() {
    let options = "neurons = 2000\nwidth = 60\nqueries = 24\ntop = 20\nlimits = [100, 500, 2000]\n\
                   lsh = { family = \"simhash\", bits = 3, tables = 40 }";
    let seen = Seen::of("projections", options, 1);
    assert_eq!(seen.cases(), ["1 in 1", "1 in 3", "1 in 10"]);
    for case in seen.cases() {
        let recall = seen.series(case, "recall");
        assert_eq!(recall.iter().map(|point| point.0).collect::<Vec<_>>(), [100.0, 500.0, 2000.0]);
        // By chance it would be a twentieth and a quarter.
        assert!(recall[0].1 > 0.15 && recall[1].1 > 0.5, "{case}: {recall:?}");
        assert!(recall[2].1 > 0.98, "nearly all are in some bucket: {recall:?}");
    }
}

#[test]
fn tables_of_dwta_tell_sparse_vectors_apart_and_equal_wta_on_dense_ones() {
    let seen = Seen::of("densified", "width = 400\ndensities = [0.01, 0.05, 1.0]\npairs = 300", 1);
    for quantity in ["AUC", "like pairs retrieved", "unlike pairs retrieved", "collisions of unlike pairs"] {
        let (plain, densified) = (seen.series("WTA", quantity), seen.series("DWTA", quantity));
        assert_eq!(plain[2], densified[2], "{quantity}: without zeros the two are one");
    }
    let sparsest = |case, quantity| seen.series(case, quantity)[0].1;
    for case in ["WTA", "DWTA"] {
        assert!(sparsest(case, "AUC") > 0.8 && sparsest(case, "like pairs retrieved") > 0.7, "{case}");
    }
    let unlike = |case| sparsest(case, "unlike pairs retrieved");
    assert!(unlike("WTA") > 0.9, "empty bins all agree: {}", unlike("WTA"));
    assert!(unlike("DWTA") < 0.5, "{}", unlike("DWTA"));
}

#[test]
fn packing_decides_how_much_is_retrieved() {
    let seen = Seen::of("packing", "neurons = 20000\nwidth = 64\nqueries = 16\ntop = 50", 1);
    let of = |quantity| ["K 6, released", "K 6, exact", "K 8, released", "K 8, exact"].map(|c| seen.value(c, quantity));
    let [released, exact, released_8, exact_8] = of("candidates a query");
    assert!(released > 10.0 * exact && released > 5.0 * released_8 && released_8 > 10.0 * exact_8);
    let [released, exact, ..] = of("recall of the true top");
    assert!(released > exact && released < 0.5, "{released} {exact}");
    assert_eq!(of("buckets a table"), [9556.0, 262_144.0, 152_916.0, 16_777_216.0]);
    let used = of("buckets used a table");
    assert!(used.is_sorted_by(|a, b| a < b) || used[0] < used[1], "{used:?}");
    assert!(of("bytes").iter().all(|&bytes| bytes >= 20_000.0 * 50.0 * 8.0));
}

#[test]
fn statistics_stand_beside_the_published_ones() {
    let options = "scale = 0.01\n[[sets]]\nsource = \"synthetic:amazon-670k\"\nfeatures = 135909\ndensity = 0.055\n\
                   labels = 670091\ntrain = 490449\ntest = 153025\nlabels-a-row = 5.45\nrows-a-label = 3.99";
    let seen = Seen::of("table-one", options, 1);
    assert_eq!(seen.cases()[0], "synthetic:amazon-670k@0.01");
    for quantity in ["features", "density", "labels", "training rows", "test rows", "labels a row", "rows a label"] {
        let found = seen.0.iter().find(|one| one.quantity == quantity && !one.case.ends_with("published")).unwrap();
        let published = seen.0.iter().find(|one| one.quantity == quantity && one.case.ends_with("published")).unwrap();
        let (found, published) = (found.value.unwrap(), published.value.unwrap());
        assert!((found / published - 1.0).abs() < 0.02, "{quantity}: {found} for {published}");
    }
    // What is not published has no row to be compared with.
    let alone = Seen::of("table-one", "[[sets]]\nsource = \"synthetic:amazon-670k@0.001\"\nlabels = 670", 1);
    assert_eq!(alone.0.iter().filter(|one| one.case.ends_with("published")).count(), 1);
}

#[test]
fn kernels_are_timed_on_pages_of_both_kinds() {
    let seen = Seen::of("huge-pages", "rows = 20000\nwidth = 64\nvisited = 3000", 2);
    for kernel in ["first touch", "inner products", "Adam"] {
        for pages in ["small pages", "huge pages"] {
            assert!(seen.value(&format!("{kernel}, {pages}"), "time") > 0.0);
        }
    }
    // Counted or not, the counters have their say; and what was not counted has its reason.
    let counters: Vec<_> = seen.0.iter().filter(|one| one.quantity == "dTLB load misses").collect();
    assert_eq!(counters.len(), 4);
    for one in counters {
        assert!((one.status == "ok" && one.value.is_some()) || (one.status == "skipped" && !one.reason.is_empty()));
    }
    if cfg!(target_os = "linux") {
        assert_eq!(seen.value("first touch, small pages", "on huge pages"), 0.0);
        let touched = seen.value("first touch, small pages", "page faults");
        assert!(touched >= (3 * 20_000 * 64 * 4 / 4096) as f64, "every page once: {touched}");
    }
}

#[test]
fn row_kernels_stand_beside_a_probe_of_the_same_rows() {
    let seen = Seen::of("row-kernels", "rows = 40960", 1);
    for kernel in &ROW_KERNELS {
        for set in all_supported() {
            let value = |quantity| seen.value(&format!("{}, {}", kernel.name, set.name), quantity);
            let (rate, probe) = (value("bandwidth"), value("bandwidth of the probe"));
            assert!(rate > 0.0 && rate.is_finite() && probe > 0.0 && probe.is_finite(), "{rate} {probe}");
            assert!((value("share of the probe's") * probe / rate / 100.0 - 1.0).abs() < 1e-9);
        }
    }
    assert_eq!(seen.cases().len(), usize::from(cfg!(target_os = "linux")) + ROW_KERNELS.len() * all_supported().len());
}

/// A call lists each row once, and calls share none: what a call finds in a cache, another did not leave there.
#[test]
fn calls_of_row_kernels_are_on_rows_of_their_own() {
    let tables = Tables::new(3 * CALL + 1).unwrap();
    let mut rows: Vec<u32> = (0..tables.calls()).flat_map(|call| tables.rows(call)).copied().collect();
    assert_eq!((tables.calls(), rows.len()), (3, 3 * CALL));
    rows.sort_unstable();
    rows.dedup();
    assert_eq!(rows.len(), 3 * CALL);
}

/// Labels of the synthetic set say nothing of how often they occur, but a row with many labels has a low one sooner: the
/// first rows of a sorted file have more of them.
#[test]
fn rows_sorted_by_label_are_no_fair_sample() {
    let options = "source = \"synthetic:amazon-670k@0.002\"\nengine = \"dense-cpu\"\nepochs = 3\nhidden = [32]\n\
                   rows = 100\ntraining = { batch = 64, learning-rate = 1e-2 }";
    let seen = Seen::of("evaluation", options, 1);
    let cases = ["the first 100 sorted by label", "100 at random", "all test rows"];
    assert_eq!(seen.cases(), cases);
    let labels = cases.map(|case| seen.value(case, "labels a row"));
    assert!(labels[0] > labels[1] + 0.3 && (labels[1] - labels[2]).abs() < 0.7, "{labels:?}");
    let p1 = cases.map(|case| seen.value(case, "P@1"));
    assert!(p1.iter().all(|p1| (0.0..=1.0).contains(p1)) && p1[2] > 0.02, "it has learned something: {p1:?}");
    // Not trained, it knows nothing.
    let untrained = Seen::of("evaluation", &format!("{options}\nsteps = 0"), 1);
    assert!(untrained.value(cases[2], "P@1") < p1[2] / 2.0);
}

/// In place of the trees a script that looks the answers up: what it is given must be the data, and its answers must be
/// understood.
#[cfg(unix)]
#[test]
fn linear_trees_are_trained_and_asked_by_a_program_of_their_own() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("trees");
    let script = r#"#!/bin/sh
for last; do :; done
case "$1" in
train) head -n 1 "$last" | grep -q '^981 272 1340$' ;;
test)
    while [ "$1" != --out_path ]; do shift; done
    # Right on every second row: the row's first label, else none there is.
    awk 'NR > 1 { split($1, labels, ","); print (NR % 2 ? labels[1] : 99999) " 0.9\t7 0.1" }' "$last" > "$2" ;;
esac
"#;
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let sources = "sources = [\"synthetic:amazon-670k@0.002\"]\n";
    let seen = Seen::of("linear-tree", &format!("{sources}program = {program:?}"), 1);
    let case = "synthetic:amazon-670k@0.002";
    assert_eq!(seen.value(case, "P@1"), 0.5);
    assert!(seen.value(case, "training") > 0.0);
    let missing = Seen::of("linear-tree", &format!("{sources}program = \"/no/such/program\""), 1);
    assert!(missing.0[0].status == "skipped" && missing.0[0].reason.contains("cargo install omikuji"));
}

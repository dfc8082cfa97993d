//! Measurements of parts at tiny size, through the public face of `slidebench::measure`.

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

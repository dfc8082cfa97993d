//! Every rule on made-up rows: each verdict it can come to, and none without them.

use super::super::super::super::parts::parts;
use super::super::super::super::runs::studies;
use super::super::super::{Verdict, rulings};
use super::*;
use crate::record::{File, Observation, Records, Row};
use crate::report::links::Links;
use Verdict::{NotMeasurable, NotMeasured};
use std::path::Path;

/// Three seeds of one contestant: P@1 rises in a straight line over 100 steps to `end`, at `seconds` a step.
#[derive(Clone)]
struct Made {
    name: String,
    end: f64,
    seconds: f64,
    threads: usize,
    batch: usize,
    active: f64,
    host_bytes: u64,
}

fn made(name: &str, end: f64, seconds: f64) -> Made {
    Made { name: name.into(), end, seconds, threads: 2, batch: 128, active: 100.0, host_bytes: 1 << 30 }
}

impl Made {
    fn on(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    fn with(self, active: f64) -> Self {
        Self { active, ..self }
    }

    fn batch(self, batch: usize, host_bytes: u64) -> Self {
        Self { batch, host_bytes, ..self }
    }

    fn rows(&self) -> Vec<Row> {
        let row = |seed, step: u64| Row {
            engine: self.name.clone(),
            labels: Some(1000),
            seed,
            threads: self.threads,
            batch: self.batch,
            status: "ok".into(),
            evaluation: "sample".into(),
            inference: "dense".into(),
            stage: "train".into(),
            step,
            p1: Some(self.end * step as f64 / 100.0),
            train_s: Some(self.seconds * step as f64),
            cpu_s: Some(2.0 * self.seconds * step as f64),
            active_mean: Some(self.active),
            host_bytes: Some(self.host_bytes),
            ..Row::default()
        };
        (1..=3)
            .flat_map(|seed| {
                let full = Row { evaluation: "full".into(), ..row(seed, 100) };
                [0, 25, 50, 75, 100].map(|step| row(seed, step)).into_iter().chain([full])
            })
            .collect()
    }
}

fn file(rows: Vec<Row>, observations: Vec<Observation>) -> Records {
    Records { files: vec![File { rows, observations, ..File::default() }], ..Records::default() }
}

/// What the ledger says to claim `id` if its experiment saw these contestants.
fn ruled(id: &str, contestants: &[Made]) -> (Verdict, String) {
    let claim = super::super::super::ledger().into_iter().find(|claim| claim.id == id).unwrap();
    let dataset = format!("synthetic:{}", claim.dataset.as_deref().unwrap_or("amazon-670k"));
    let rows = contestants.iter().flat_map(Made::rows);
    let rows = rows.map(|row| Row { experiment: claim.experiment.clone(), dataset: dataset.clone(), ..row });
    let records = file(rows.collect(), vec![]);
    let ruling = rulings(&Links { studies: &studies(&records), parts: &[], out: Path::new("") }, &[])
        .into_iter()
        .find(|ruling| ruling.claim.id == id)
        .unwrap();
    (ruling.verdict, ruling.measured)
}

/// Checks a claim's verdict on each list of contestants, and that there is none without any.
fn check(id: &str, cases: &[(Verdict, Vec<Made>)]) {
    for (verdict, contestants) in cases {
        let (found, words) = ruled(id, contestants);
        let names: Vec<&str> = contestants.iter().map(|made| made.name.as_str()).collect();
        // Without a GPU the same absence is called "not measurable here".
        let found = if found == NotMeasurable { NotMeasured } else { found };
        assert_eq!(found, *verdict, "{id} on {names:?}: {words}");
    }
    let (nothing, needs) = ruled(id, &[]);
    assert!(matches!(nothing, NotMeasured | NotMeasurable), "{id}");
    assert!(needs.starts_with("needs "), "{id}: {needs}");
}

/// Rungs from seconds a step.
fn rungs(seconds: [f64; 8]) -> Vec<Made> {
    let names = [
        "1-portable",
        "2-avx2",
        "3-avx512",
        "4-huge-pages",
        "5-packed-moments",
        "6-lazy-adam",
        "7-shared-set",
        "8-bf16-products",
    ];
    names.iter().zip(seconds).map(|(name, seconds)| made(&format!("lsh-cpu:{name}"), 0.1, seconds)).collect()
}

#[test]
fn the_ladder_is_climbed_rung_by_rung() {
    let steep = rungs([8.0, 4.0, 3.8, 2.0, 1.0, 0.5, 0.2, 0.1]);
    let slight = rungs([1.1, 1.05, 1.0, 0.99, 0.87, 0.8, 0.7, 0.69]);
    let flat = rungs([1.0; 8]);
    let wide = rungs([8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0]);
    let (_, words) = ruled("O01", &steep);
    assert!(words.contains("8.00× by vectors, huge pages and bf16 moments; 80.0× from 16.0 to 0.200 CPU s"), "{words}");
    assert!(words.contains("avx2 2.00×, avx512 1.05×, huge pages 1.90×, packed moments 2.00×, lazy adam 2.00×"));
    for id in ["O01", "O02", "S21"] {
        check(id, &[(Holds, steep.clone()), (InPart, slight.clone()), (DoesNotHold, flat.clone())]);
    }
    check("O04", &[(Holds, steep.clone()), (DoesNotHold, wide.clone()), (NotMeasured, vec![steep[0].clone()])]);
    check("O05", &[(Holds, steep.clone()), (InPart, wide.clone()), (DoesNotHold, flat.clone())]);
    check("O06", &[(Holds, rungs([1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5])), (DoesNotHold, steep)]);
}

#[test]
fn without_vectors_it_meets_the_gpu() {
    let with = |seconds| vec![rungs([1.0; 8]).remove(0), made("dense-gpu", 0.1, seconds)];
    check("S02", &[(Holds, with(3.0)), (InPart, with(1.5)), (DoesNotHold, with(0.1)), (NotMeasured, rungs([1.0; 8]))]);
}

#[test]
fn speed_grows_with_threads_or_not() {
    let at = |threads: usize, seconds: f64| made(&format!("lsh-cpu:{threads}-threads"), 0.5, seconds).on(threads);
    let all = |seconds| made("lsh-cpu", 0.5, seconds).on(2);
    for id in ["S16", "K02"] {
        check(
            id,
            &[
                (Holds, vec![at(1, 1.0), all(0.52)]),
                (InPart, vec![at(1, 1.0), all(0.7)]),
                (DoesNotHold, vec![at(1, 1.0), all(1.0)]),
                (NotMeasured, vec![all(0.5)]),
            ],
        );
    }
    // More cores decide: perfect from 1 to 2, far from it to 32.
    let (verdict, words) = ruled("S16", &[at(1, 1.0), at(2, 0.5), at(32, 0.1)]);
    assert_eq!((verdict, words.contains("10.0× from 1 to 32 threads (31.2 %)")), (InPart, true), "{words}");
}

#[test]
fn the_number_of_threads_from_which_it_leads_is_found() {
    let pair = |threads: usize, ours: f64, theirs: f64| {
        let name = |engine: &str| format!("{engine}:{threads}-threads");
        [made(&name("lsh-cpu"), 0.5, ours).on(threads), made(&name("dense-cpu"), 0.5, theirs).on(threads)]
    };
    let sweep = |pairs: &[[Made; 2]], gpu: Option<f64>| -> Vec<Made> {
        let gpu = gpu.map(|seconds| made("dense-gpu", 0.5, seconds));
        pairs.iter().flatten().cloned().chain(gpu).collect()
    };
    let (behind, ahead) = (pair(1, 2.0, 1.0), pair(2, 0.5, 1.0));
    check(
        "S14",
        &[
            (Holds, sweep(&[behind.clone(), ahead.clone()], Some(0.9))),
            (InPart, sweep(&[behind.clone(), ahead.clone()], Some(0.1))),
            (InPart, sweep(&[behind.clone(), ahead.clone()], None)),
            (DoesNotHold, sweep(&[ahead.clone(), pair(4, 2.0, 1.0)], None)),
            (NotMeasured, sweep(&[], Some(0.1))),
        ],
    );
    check(
        "S15",
        &[
            (InPart, sweep(&[behind.clone(), ahead.clone()], Some(0.9))),
            (NotMeasured, sweep(&[behind.clone(), pair(2, 2.0, 1.0)], Some(0.9))),
            (Holds, sweep(&[behind.clone(), pair(8, 0.5, 1.0)], Some(0.9))),
            (DoesNotHold, sweep(&[behind, pair(8, 2.0, 1.0)], None)),
        ],
    );
}

#[test]
fn gains_beyond_sixteen_threads_need_more_than_sixteen() {
    let at = |threads: usize, seconds: f64| made(&format!("dense-cpu:{threads}-threads"), 0.5, seconds).on(threads);
    check(
        "S17",
        &[
            (Holds, vec![at(8, 1.0), at(16, 0.6), at(44, 0.55)]),
            (DoesNotHold, vec![at(16, 0.6), at(44, 0.3)]),
            (NotMeasured, vec![at(1, 1.0), at(2, 0.5)]),
        ],
    );
    assert!(ruled("S17", &[]).1.contains("more than 16 threads"));
}

#[test]
fn sampled_softmax_needs_a_share_and_may_saturate() {
    let sample = |kind: &str, active: f64, end: f64, seconds: f64| {
        made(&format!("sampled:{kind} {} %", active / 10.0), end, seconds).with(active)
    };
    let with = |samples: &[Made]| -> Vec<Made> {
        let full = [made("dense-cpu", 0.5, 1.0).with(1000.0), made("lsh-cpu", 0.5, 0.2).with(5.0)];
        full.into_iter().chain(samples.iter().cloned()).collect()
    };
    let poor = sample("uniform", 5.0, 0.1, 0.1);
    let needs_much = [poor.clone(), sample("uniform", 200.0, 0.5, 0.5)];
    let needs_little = [sample("frequency", 5.0, 0.5, 0.1), sample("frequency", 200.0, 0.5, 0.5)];
    let mixed: Vec<Made> = needs_much.iter().chain(&needs_little).cloned().collect();
    check(
        "S11",
        &[
            (Holds, with(&needs_much)),
            (Holds, with(std::slice::from_ref(&poor))),
            (DoesNotHold, with(&needs_little)),
            (InPart, with(&mixed)),
            (NotMeasured, with(&[])),
        ],
    );
    check(
        "S12",
        &[
            (Holds, with(&[sample("uniform", 50.0, 0.4, 0.05)])),
            (InPart, with(&[sample("uniform", 50.0, 0.5, 0.05)])),
            (InPart, with(&[sample("uniform", 50.0, 0.4, 0.5)])),
            (DoesNotHold, with(&[sample("uniform", 50.0, 0.5, 0.5)])),
            (NotMeasured, with(&[sample("uniform", 500.0, 0.5, 0.5)])),
        ],
    );
}

#[test]
fn batches_widen_the_lead_or_leave_it_and_take_memory() {
    let at = |batch: usize, lead: f64, bytes: u64| {
        let ours = made(&format!("lsh-cpu:batch-{batch}"), 0.5, 1.0).batch(batch, bytes);
        [ours, made(&format!("dense-cpu:batch-{batch}"), 0.5, lead).batch(batch, 0)]
    };
    let sweep = |leads: [f64; 3], bytes: [u64; 3]| -> Vec<Made> {
        [64, 128, 256].iter().zip(leads).zip(bytes).flat_map(|((&batch, lead), bytes)| at(batch, lead, bytes)).collect()
    };
    let (same, growing) = ([1000, 1010, 1030], [1000, 2000, 4000]);
    check(
        "S13",
        &[
            (Holds, sweep([2.0, 3.0, 4.0], same)),
            (InPart, sweep([4.0, 4.0, 4.0], same)),
            (InPart, sweep([0.5, 0.6, 0.9], same)),
            (DoesNotHold, sweep([0.9, 0.8, 0.7], same)),
            (NotMeasured, at(64, 2.0, 1000).to_vec()),
        ],
    );
    check("C18", &[(Holds, sweep([1.0, 3.0, 3.3], same)), (DoesNotHold, sweep([3.0, 3.0, 6.0], same))]);
    check("S33", &[(Holds, sweep([1.0; 3], same)), (DoesNotHold, sweep([1.0; 3], growing))]);
    assert!(ruled("S33", &sweep([1.0; 3], same)).1.contains("at 64"));
}

#[test]
fn other_data_and_more_tables() {
    let ends = |ours, theirs| vec![made("lsh-cpu", ours, 0.1), made("dense-cpu", theirs, 1.0)];
    check(
        "M01",
        &[(Holds, ends(0.4, 0.5)), (DoesNotHold, ends(0.5, 0.5)), (NotMeasured, vec![ends(0.4, 0.5).remove(0)])],
    );
    let tables = |few, many| {
        let with = |tables: usize, end| made(&format!("lsh-cpu:{tables}-tables"), end, 0.1);
        vec![with(50, few), with(400, many), made("dense-cpu", 0.5, 1.0)]
    };
    check(
        "O08",
        &[
            (Holds, tables(0.3, 0.5)),
            (InPart, tables(0.3, 0.4)),
            (DoesNotHold, tables(0.5, 0.5)),
            (DoesNotHold, tables(0.3, 0.3)),
            (NotMeasured, vec![made("dense-cpu", 0.5, 1.0)]),
        ],
    );
    let gpu = |seconds| vec![made("lsh-cpu", 0.5, 1.0), made("dense-gpu", 0.5, seconds)];
    check("O03", &[(Holds, gpu(3.0)), (InPart, gpu(1.5)), (DoesNotHold, gpu(0.5)), (NotMeasured, ends(0.5, 0.5))]);
}

#[test]
fn the_last_layer_is_what_few_labels_and_all_differ_by() {
    let ruled = |few: [f64; 2]| {
        let experiment = "slide20-layers";
        let one = |case: &str, quantity: &str, unit: &str, value: f64| Observation {
            experiment: experiment.into(),
            case: case.into(),
            quantity: quantity.into(),
            unit: unit.into(),
            value: Some(value),
            status: "ok".into(),
            ..Observation::default()
        };
        let records = file(
            vec![],
            vec![
                one("few labels", "arithmetic", "FLOP", few[0]),
                one("all labels", "arithmetic", "FLOP", 1000.0),
                one("few labels", "time", "CPU s", few[1]),
                one("all labels", "time", "CPU s", 1.0),
            ],
        );
        let rulings = rulings(&Links { studies: &[], parts: &parts(&records), out: Path::new("") }, &[]);
        let ruling = rulings.into_iter().find(|ruling| ruling.claim.id == "S10").unwrap();
        (ruling.verdict, ruling.measured)
    };
    let (verdict, words) = ruled([1.0, 0.005]);
    assert_eq!((verdict, words.as_str()), (Holds, "99.9 % of the FLOP, 99.5 % of the CPU time"));
    assert_eq!(ruled([1.0, 0.2]).0, InPart);
    assert_eq!(ruled([500.0, 0.2]).0, DoesNotHold);
    assert_eq!(self::ruled("S10", &[]).0, NotMeasured);
}

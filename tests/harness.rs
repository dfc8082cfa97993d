//! The harness, watched through scripted engines and a clock that moves only when an engine works.

use slidebench::data::{Batch, Csr, Dataset, Features, LabelLists, Split};
use slidebench::engine::{Engine, EngineError, EngineInfo, EngineSettings, MemoryUse, NextBatch, StepStats, TopK};
use slidebench::experiment::{Experiment, Scale, parse};
use slidebench::harness::{Clock, Event, Harness, Observer, Options, Silent, Tally};
use slidebench::network::Parameters;
use slidebench::record::Row;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const LABELS: u32 = 7;

/// Time stands still but for what engines say they take.
#[derive(Default)]
struct HandClock {
    milliseconds: AtomicU64,
}

impl HandClock {
    fn pass(&self, milliseconds: u64) {
        self.milliseconds.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.milliseconds.load(Ordering::Relaxed))
    }

    /// Two threads, always busy.
    fn cpu(&self) -> Option<Duration> {
        Some(self.now() * 2)
    }
}

/// What a scripted engine does.
#[derive(Clone, Default)]
struct Script {
    unavailable: Option<&'static str>,
    fail_at: Option<u64>,
    panic_at: Option<u64>,
    nan_at: Option<u64>,
    /// Raises the interrupt flag in this step.
    interrupt_at: Option<u64>,
    /// Answers rightly from this step on, always wrongly before.
    right_from: Option<u64>,
    /// Answers rightly only with this learning rate.
    right_rate: Option<f32>,
    hashed: bool,
    /// Asks for the next batch before it takes the step on the last.
    ahead: bool,
}

/// What engines saw.
#[derive(Default)]
struct Seen {
    loads: Vec<(String, Vec<u32>)>,
    /// First feature of every sample, a batch a line.
    batches: HashMap<String, Vec<Vec<u32>>>,
    evaluated: HashMap<String, Vec<Vec<u32>>>,
    order: Vec<String>,
}

struct Scripted {
    name: String,
    script: Script,
    rate: f32,
    clock: Rc<HandClock>,
    seen: Rc<RefCell<Seen>>,
    interrupt: Rc<AtomicBool>,
    step: u64,
    pending: StepStats,
}

fn features(batch: &Batch) -> Vec<u32> {
    (0..batch.len())
        .map(|b| match batch.input(b) {
            slidebench::data::Input::Sparse { indices, .. } => indices[0],
            slidebench::data::Input::Dense(row) => row[0] as u32,
        })
        .collect()
}

impl Engine for Scripted {
    fn describe(&self) -> EngineInfo {
        EngineInfo { name: self.name.clone(), device: "a desk".into(), threads: 1, ..EngineInfo::default() }
    }

    fn load(&mut self, initial: &Parameters) -> Result<(), EngineError> {
        self.clock.pass(5000);
        let bits = initial.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.bias)).map(|w| w.to_bits());
        self.seen.borrow_mut().loads.push((self.name.clone(), bits.collect()));
        Ok(())
    }

    fn step(&mut self, batch: &Batch) -> Result<(), EngineError> {
        self.step += 1;
        let at = |step: Option<u64>| step == Some(self.step);
        if at(self.script.fail_at) {
            return Err(EngineError::DeviceLost("it fell off the desk".into()));
        }
        assert!(!at(self.script.panic_at), "the script says so");
        if at(self.script.interrupt_at) {
            self.interrupt.store(true, Ordering::Relaxed);
        }
        self.clock.pass(10);
        self.pending.steps += 1;
        self.pending.samples += batch.len() as u64;
        self.pending.device_time += Duration::from_millis(12);
        self.pending.phases[2] += Duration::from_millis(4);
        self.pending.flops += 100.0;
        self.pending.loss = if at(self.script.nan_at) { f64::NAN } else { 1.0 / self.step as f64 };
        self.seen.borrow_mut().batches.entry(self.name.clone()).or_default().push(features(batch));
        Ok(())
    }

    fn steps(&mut self, batch: &mut Batch, next: NextBatch<'_>) -> Result<(), EngineError> {
        let mut other = Batch::default();
        let mut more = next(batch);
        while more {
            if self.script.ahead {
                more = next(&mut other);
            }
            self.step(batch)?;
            if !self.script.ahead {
                more = next(&mut other);
            }
            std::mem::swap(batch, &mut other);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<StepStats, EngineError> {
        // Queued work: it must not escape the clock.
        self.clock.pass(2 * self.pending.steps);
        Ok(std::mem::take(&mut self.pending))
    }

    fn predict(&mut self, batch: &Batch, k: usize) -> Result<TopK, EngineError> {
        self.clock.pass(700);
        self.seen.borrow_mut().evaluated.entry(self.name.clone()).or_default().push(features(batch));
        let right = match (self.script.right_from, self.script.right_rate) {
            (_, Some(rate)) => rate == self.rate,
            (from, None) => self.step >= from.unwrap_or(0),
        };
        let mut labels = vec![];
        for b in 0..batch.len() {
            let truth = batch.labels(b).first().copied().unwrap_or(0);
            let first = if right { truth } else { (truth + 1) % LABELS };
            labels.extend((0..k as u32).map(|rank| (first + rank) % LABELS));
        }
        Ok(TopK { k, scores: vec![0.0; labels.len()], labels })
    }

    fn predict_hashed(&mut self, batch: &Batch, k: usize) -> Option<Result<TopK, EngineError>> {
        self.script.hashed.then(|| {
            self.clock.pass(50);
            Ok(TopK { k, labels: vec![LABELS - 1; batch.len() * k], scores: vec![0.0; batch.len() * k] })
        })
    }

    fn parameters(&mut self) -> Result<Parameters, EngineError> {
        Err(EngineError::Failed("not scripted".into()))
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { host_bytes: 64, device_bytes: 0 }
    }
}

/// Row r has feature r and label r mod 5; rows of the test set that are multiples of 6 have no label.
fn dataset() -> Dataset {
    let split = |rows: u32, labelled: &dyn Fn(u32) -> bool| {
        let offsets: Vec<u64> = (0..=u64::from(rows)).collect();
        let features = Csr::new(offsets, (0..rows).collect::<Vec<u32>>(), vec![1.0f32; rows as usize]);
        let mut label_offsets = vec![0u64];
        let mut labels = vec![];
        for row in 0..rows {
            if labelled(row) {
                labels.push(row % 5);
            }
            label_offsets.push(labels.len() as u64);
        }
        Split { features: Features::Sparse(features), labels: LabelLists::new(label_offsets, labels) }
    };
    Dataset {
        name: "desk".into(),
        inputs: 64,
        labels: LABELS as usize,
        train: split(50, &|_| true),
        test: split(30, &|row| row % 6 != 0),
        provenance: "made here".into(),
        fingerprint: 0xfeed,
    }
}

/// One epoch is 50 rows in batches of 8: 7 steps.
const TOML: &str = r#"
name = "desk"
question = "Does it run?"
network = { hidden = [4] }
training = { batch = 8, learning-rate = 0.5 }
run = { seeds = [1], evaluations = { every-steps = 3 }, early-evaluations = false, eval-sample = 12 }
data = [{ source = "desk", epochs = 2 }]
[[engine]]
name = "first"
[[engine]]
name = "second"
"#;

#[derive(Default)]
struct Desk {
    clock: Rc<HandClock>,
    seen: Rc<RefCell<Seen>>,
    interrupt: Rc<AtomicBool>,
    scripts: HashMap<&'static str, Script>,
    earlier: Vec<Row>,
    /// `run` or a learning-rate search.
    rates: Option<slidebench::harness::Found>,
    seconds: Option<f64>,
}

impl Desk {
    fn with(name: &'static str, script: Script) -> Self {
        Self { scripts: HashMap::from([(name, script)]), ..Self::default() }
    }

    fn run(&mut self, toml: &str) -> (Vec<Row>, Tally) {
        self.watched(toml, &mut Silent)
    }

    fn watched(&mut self, toml: &str, observer: &mut dyn Observer) -> (Vec<Row>, Tally) {
        let experiment: Experiment = parse(toml, "desk.toml", Scale::Quick).unwrap();
        let mut rows = vec![];
        let build = |name: &str, settings: &EngineSettings| -> Result<Box<dyn Engine>, EngineError> {
            self.clock.pass(3000);
            self.seen.borrow_mut().order.push(format!("{name} {}", settings.seed));
            let script = self.scripts.get(name).cloned().unwrap_or_default();
            if let Some(reason) = script.unavailable {
                return Err(EngineError::Unavailable(reason.into()));
            }
            Ok(Box::new(Scripted {
                name: name.into(),
                script,
                rate: settings.training.learning_rate,
                clock: self.clock.clone(),
                seen: self.seen.clone(),
                interrupt: self.interrupt.clone(),
                step: 0,
                pending: StepStats::default(),
            }))
        };
        let mut harness = Harness {
            experiment: &experiment,
            options: Options {
                scale: Scale::Quick,
                threads: 2,
                seconds: self.seconds,
                allow_software: false,
                identity: "this program on this desk".into(),
            },
            build: &build,
            clock: &*self.clock,
            interrupt: &self.interrupt,
            earlier: &self.earlier,
            sink: &mut |row| {
                rows.push(row.clone());
                Ok(())
            },
            observer,
        };
        let data = dataset();
        let tally = match &experiment.search {
            Some(search) => {
                let (found, tally) = harness.search(search, &experiment.data[0], &data).unwrap();
                self.rates = Some(found);
                tally
            }
            None => harness.run(&experiment.data[0], &data).unwrap(),
        };
        (rows, tally)
    }
}

fn of<'a>(rows: &'a [Row], engine: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.engine == engine).collect()
}

fn close(a: Option<f64>, b: f64) {
    assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} is not {b}");
}

#[test]
fn every_engine_gets_the_same_bytes_and_the_same_order() {
    let mut desk = Desk::default();
    desk.run(TOML);
    let seen = desk.seen.borrow();
    assert_eq!(seen.loads[0].1, seen.loads[1].1);
    assert!(seen.loads[0].1.iter().any(|&bits| bits != 0));
    let batches = &seen.batches["first"];
    assert_eq!(*batches, seen.batches["second"]);
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 2, 8, 8, 8, 8, 8, 8, 2]);
    let epoch = |range: std::ops::Range<usize>| batches[range].concat();
    for rows in [epoch(0..7), epoch(7..14)] {
        let mut sorted = rows.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..50), "an epoch shows every row once");
    }
    assert_ne!(epoch(0..7), epoch(7..14), "epochs differ in order");
}

#[test]
fn an_engine_may_ask_for_the_next_batch_before_a_step_has_ended() {
    let mut desk = Desk::with("first", Script { ahead: true, ..Script::default() });
    let (rows, _) = desk.run(TOML);
    let counted = |engine| of(&rows, engine).iter().map(|row| (row.step, row.samples)).collect::<Vec<_>>();
    assert_eq!(counted("first"), [(0, 0), (3, 24), (6, 48), (9, 66), (12, 90), (14, 100), (14, 100)]);
    assert_eq!(counted("first"), counted("second"));
    let seen = desk.seen.borrow();
    assert_eq!(seen.batches["first"], seen.batches["second"]);
}

#[test]
fn a_batch_of_its_own_leaves_the_order_of_rows() {
    let mut desk = Desk::default();
    let (rows, _) = desk.run(&TOML.replace("name = \"second\"", "name = \"second\"\nbatch = 20"));
    assert!(of(&rows, "first").iter().all(|row| row.batch == 8));
    assert!(of(&rows, "second").iter().all(|row| row.batch == 20 && row.samples <= 100));
    let seen = desk.seen.borrow();
    assert_eq!(seen.batches["second"].iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 10, 20, 20, 10]);
    assert_eq!(seen.batches["first"].concat(), seen.batches["second"].concat());
    assert_ne!(of(&rows, "first")[0].settings, of(&rows, "second")[0].settings);
}

#[test]
fn another_seed_is_another_start_and_another_order() {
    let mut desk = Desk::default();
    desk.run(&TOML.replace("[1]", "[1, 2]"));
    let seen = desk.seen.borrow();
    assert_ne!(seen.loads[0].1, seen.loads[2].1);
    assert_ne!(seen.batches["first"][..14], seen.batches["first"][14..]);
}

#[test]
fn a_contestant_may_have_a_start_and_a_width_of_its_own_in_the_same_order() {
    let mut desk = Desk::default();
    desk.run(&format!("{TOML}start = 2\n[[engine]]\nname = \"wide\"\nhidden = [9, 4]"));
    let seen = desk.seen.borrow();
    let load = |name: &str| &seen.loads.iter().find(|(engine, _)| engine == name).unwrap().1;
    let mut other = Desk::default();
    other.run(&TOML.replace("[1]", "[2]"));
    assert_ne!(load("first"), load("second"));
    assert_eq!(*load("second"), other.seen.borrow().loads[0].1, "the start of seed 2");
    assert_eq!(seen.batches["first"], seen.batches["second"]);
    assert!(load("wide").len() > 2 * load("first").len(), "9 hidden neurons, and 4 above them");
}

#[test]
fn rows_stand_where_they_were_asked_for_on_one_fixed_sample_and_on_everything_at_the_end() {
    let mut desk = Desk::default();
    let (rows, tally) = desk.run(TOML);
    assert_eq!(tally, Tally { finished: 2, ..Tally::default() });
    for engine in ["first", "second"] {
        let rows = of(&rows, engine);
        assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [0, 3, 6, 9, 12, 14, 14]);
        assert!(rows[..6].iter().all(|row| row.evaluation == "sample"));
        assert_eq!(rows[6].evaluation, "full");
        assert_eq!(rows[6].eval_rows, Some(25), "rows without labels do not count");
        assert_eq!((rows[6].samples, rows[6].epoch), (100, 2.0));
        close(rows[6].p1, 1.0);
        close(rows[6].p5, 0.2);
        assert_eq!(rows[0].loss, None);
        close(rows[1].loss, 1.0 / 3.0);
    }
    let seen = desk.seen.borrow();
    let samples: Vec<Vec<u32>> = seen.evaluated["first"].chunks(2).take(6).map(|chunks| chunks.concat()).collect();
    assert_eq!(samples[0].len(), 12);
    assert!(samples.iter().all(|sample| *sample == samples[0]));
    assert_ne!(samples[0], (0..12).collect::<Vec<u32>>(), "the sample is shuffled");
    assert_eq!(seen.evaluated["first"], seen.evaluated["second"]);
}

#[test]
fn the_training_clock_holds_steps_and_queued_work_but_neither_set_up_nor_evaluation() {
    let (rows, _) = Desk::default().run(TOML);
    let rows = of(&rows, "first");
    let last = rows[6];
    close(last.train_s, 14.0 * 0.012);
    close(last.cpu_s, 2.0 * 14.0 * 0.012);
    close(last.device_s, 14.0 * 0.012);
    close(last.forward_s, 14.0 * 0.004);
    close(last.setup_s, 8.0);
    close(last.eval_s, 4.0 * 0.7);
    close(last.total_s, 8.0 + 14.0 * 0.012 + 6.0 * 1.4 + 2.8);
    close(last.flops_per_step, 100.0);
    close(rows[0].train_s, 0.0);
    close(rows[0].cpu_s, 0.0);
    close(rows[1].train_s, 3.0 * 0.012);
}

#[test]
fn hashed_inference_is_a_row_of_its_own_where_an_engine_has_it() {
    let (rows, _) = Desk::with("second", Script { hashed: true, ..Script::default() }).run(TOML);
    let hashed: Vec<&Row> = rows.iter().filter(|row| row.inference == "hashed").collect();
    assert_eq!(hashed.len(), 1);
    assert_eq!((hashed[0].engine.as_str(), hashed[0].evaluation.as_str()), ("second", "full"));
    close(hashed[0].p1, 0.0);
    close(hashed[0].eval_s, 0.2);
    close(of(&rows, "second").last().unwrap().p1, 1.0);
}

#[test]
fn a_target_ends_a_run_and_a_run_before_it_goes_on() {
    let mut desk = Desk::with("second", Script { right_from: Some(5), ..Script::default() });
    desk.scripts.insert("first", Script { right_from: Some(99), ..Script::default() });
    let (rows, _) = desk.run(&TOML.replace("epochs = 2", "epochs = 2, target-p1 = 0.9"));
    assert_eq!(of(&rows, "second").last().unwrap().step, 6);
    assert_eq!(of(&rows, "first").last().unwrap().step, 14);
}

#[test]
fn a_time_limit_counts_the_training_clock_alone() {
    // Ten milliseconds a step are seen while steps are queued, and two more when the engine finishes.
    let (rows, _) = Desk::default().run(&TOML.replace("epochs = 2", "seconds = 0.05"));
    assert_eq!(of(&rows, "first").last().unwrap().step, 5);
    let (rows, _) = Desk { seconds: Some(0.02), ..Desk::default() }.run(TOML);
    assert_eq!(of(&rows, "first").last().unwrap().step, 2);
    assert_eq!(of(&rows, "first").last().unwrap().evaluation, "full");
}

#[test]
fn a_step_limit_and_an_epoch_limit_end_at_whichever_comes_first() {
    for (limits, steps) in [("steps = 4", 4), ("epochs = 1, steps = 9", 7), ("epochs = 0.5", 4)] {
        let (rows, _) = Desk::default().run(&TOML.replace("epochs = 2", limits));
        assert_eq!(of(&rows, "first").last().unwrap().step, steps, "{limits}");
    }
}

#[test]
fn whatever_becomes_of_an_engine_it_is_a_row_and_the_next_one_runs() {
    let bad = |script: Script| {
        let (rows, tally) = Desk::with("first", script).run(TOML);
        assert_eq!(of(&rows, "second").len(), 7, "the other engine ran");
        assert_eq!(tally.finished, 1);
        let last = of(&rows, "first").into_iter().next_back().unwrap().clone();
        assert_eq!((last.p1, last.evaluation.as_str()), (None, ""));
        (last, of(&rows, "first").len(), tally)
    };
    let (row, rows, tally) = bad(Script { unavailable: Some("no GPU adapter"), ..Script::default() });
    assert_eq!((row.status.as_str(), row.reason.as_str(), rows), ("skipped", "no GPU adapter", 1));
    assert_eq!((tally.skipped, tally.failed), (1, 0));

    let (row, rows, tally) = bad(Script { fail_at: Some(5), ..Script::default() });
    assert_eq!((row.status.as_str(), rows, row.step), ("failed", 3, 4));
    assert_eq!(row.reason, "device lost: it fell off the desk");
    assert_eq!((tally.skipped, tally.failed), (0, 1));

    let (row, rows, _) = bad(Script { panic_at: Some(1), ..Script::default() });
    assert_eq!((row.status.as_str(), row.reason.as_str(), rows), ("failed", "panic: the script says so", 2));

    let (row, _, _) = bad(Script { nan_at: Some(6), ..Script::default() });
    assert_eq!(row.status, "failed");
    assert_eq!(row.reason, "diverged: the loss is NaN at step 6; try a learning rate below 0.5");
}

#[test]
fn engines_take_turns_so_that_none_always_goes_first() {
    let mut desk = Desk::default();
    desk.run(&TOML.replace("[1]", "[4, 5, 6]"));
    assert_eq!(desk.seen.borrow().order, ["first 4", "second 4", "second 5", "first 5", "first 6", "second 6"]);
}

#[test]
fn an_interruption_finishes_its_row_and_starts_nothing_more() {
    let mut desk = Desk::with("first", Script { interrupt_at: Some(4), ..Script::default() });
    let (rows, tally) = desk.run(TOML);
    assert_eq!(tally, Tally { interrupted: true, ..Tally::default() });
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [0, 3, 4]);
    let last = rows.last().unwrap();
    assert_eq!((last.status.as_str(), last.reason.as_str()), ("interrupted", "stopped by the user at step 4"));
    close(last.p1, 1.0);
}

#[test]
fn finished_runs_are_not_repeated_interrupted_ones_are() {
    let mut desk = Desk::with("second", Script { interrupt_at: Some(4), ..Script::default() });
    let (rows, tally) = desk.run(TOML);
    assert_eq!((tally.finished, tally.interrupted), (1, true));

    let mut again = Desk { earlier: rows.clone(), ..Desk::default() };
    let (repeated, tally) = again.run(TOML);
    assert_eq!(tally, Tally { finished: 1, resumed: 1, ..Tally::default() });
    assert!(repeated.iter().all(|row| row.engine == "second"));

    // Whatever could change a number makes it another run.
    for (from, to) in [
        ("learning-rate = 0.5", "learning-rate = 0.4"),
        ("hidden = [4]", "hidden = [5]"),
        ("epochs = 2", "epochs = 3"),
        ("batch = 8", "batch = 9"),
        ("name = \"first\"", "name = \"first\"\noptions = { tables = 3 }"),
        ("seeds = [1]", "seeds = [2]"),
        ("every-steps = 3", "every-steps = 4"),
    ] {
        let (_, tally) = Desk { earlier: rows.clone(), ..Desk::default() }.run(&TOML.replace(from, to));
        assert_eq!(tally.resumed, 0, "{to}");
    }
}

#[test]
fn a_search_gives_each_engine_each_rate_and_is_judged_by_training_rows_it_did_not_train_on() {
    let toml = format!("{TOML}[search]\nlearning-rates = [0.1, 0.2, 0.4]\nepochs = 1\nvalidation = 10\n");
    let mut desk = Desk::with("first", Script { right_rate: Some(0.2), ..Script::default() });
    desk.scripts.insert("second", Script::default());
    let (rows, tally) = desk.run(&toml);
    assert_eq!(tally.finished, 6);
    assert!(rows.iter().all(|row| row.stage == "search" && row.eval_rows == Some(10)));
    let ends: Vec<&Row> = rows.iter().filter(|row| row.evaluation == "full").collect();
    assert!(ends.len() == 6 && ends.iter().all(|row| row.step == 5));
    let found = desk.rates.take().unwrap();
    assert_eq!(found["first"], (0.2, 1.0));
    assert_eq!(found["second"], (0.1, 1.0), "of equal rates, the smallest");
    {
        let seen = desk.seen.borrow();
        let trained = seen.batches["first"][..5].concat();
        let judged = seen.evaluated["first"][..2].concat();
        assert_eq!((trained.len(), judged.len()), (40, 10));
        assert!(judged.iter().all(|row| !trained.contains(row)));
    }
    // As long as the run, where the search does not say.
    let (long, _) = Desk::default().run(&toml.replace("epochs = 1\n", ""));
    assert_eq!(long.iter().map(|row| row.step).max(), Some(10));
    // Rates found in the records are not tried again, and give the same answer.
    let mut again = Desk { earlier: rows, ..Desk::default() };
    let (rows, tally) = again.run(&toml);
    assert_eq!((rows.len(), tally.resumed), (0, 6));
    assert_eq!(again.rates.unwrap(), found);
}

#[test]
fn progress_is_told_sparingly_and_ends_at_one() {
    #[derive(Default)]
    struct Notes {
        progress: Vec<(f64, f64)>,
        rows: usize,
        ended: usize,
    }
    impl Observer for Notes {
        fn observe(&mut self, event: Event<'_>) {
            match event {
                Event::Progress { seconds, done, .. } => self.progress.push((seconds, done)),
                Event::Row(_) => self.rows += 1,
                Event::Ended => self.ended += 1,
                _ => {}
            }
        }
    }
    let mut notes = Notes::default();
    let toml = TOML.replace("every-steps = 3", "every-steps = 25").replace("epochs = 2", "steps = 25");
    Desk::default().watched(&toml, &mut notes);
    // 25 steps of 10 ms: told after 100 and 200 ms and at the end, for two engines.
    assert_eq!(notes.progress.len(), 6);
    assert_eq!(notes.progress[2].1, 1.0);
    assert_eq!((notes.rows, notes.ended), (6, 2));
}

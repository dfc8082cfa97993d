//! The report, from synthetic records: what it must say, what it must never say, and that its files are well formed.

use slidebench::record::{Adapter, Machine, Observation, Row, Writer};
use slidebench::report::{ReportError, Summary, check, render, splice, table};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One run: P@1 rises in a straight line from 0 at step 0 to `end` at step 100, `seconds` a step.
fn run(dataset: &str, engine: &str, seed: u64, end: f64, seconds: f64) -> Vec<Row> {
    let row = |step: u64| {
        let done = step as f64 / 100.0;
        Row {
            experiment: "default".into(),
            dataset: dataset.into(),
            fingerprint: "f00d".into(),
            engine: engine.into(),
            options: "{}".into(),
            seed,
            threads: 2,
            batch: 128,
            learning_rate: 3e-3,
            stage: "train".into(),
            status: "ok".into(),
            evaluation: "sample".into(),
            inference: "dense".into(),
            step,
            epoch: done,
            p1: Some(end * done),
            p3: Some(end * done * 0.9),
            p5: Some(end * done * 0.8),
            device_s: Some(step as f64 * seconds),
            train_s: Some(step as f64 * seconds),
            cpu_s: Some(step as f64 * seconds * 2.0),
            forward_s: Some(step as f64 * seconds * 0.75),
            flops_per_step: Some(1e9),
            bytes_per_step: Some(1e6),
            ..Row::default()
        }
    };
    let mut rows: Vec<Row> = [0, 1, 2, 4, 8, 16, 32, 64, 100].map(row).into();
    rows.push(Row { evaluation: "full".into(), ..row(100) });
    rows
}

/// Three seeds, the second of them `seconds` a step, the others a little slower and faster.
fn runs(dataset: &str, engine: &str, end: f64, seconds: f64) -> Vec<Row> {
    let seeds = [(1, seconds * 0.9), (2, seconds), (3, seconds * 1.2)];
    seeds.into_iter().flat_map(|(seed, seconds)| run(dataset, engine, seed, end, seconds)).collect()
}

fn skipped(dataset: &str, engine: &str, reason: &str) -> Row {
    let mut row = run(dataset, engine, 1, 0.0, 1.0).swap_remove(0);
    row.p1 = None;
    (row.status, row.reason) = ("skipped".into(), reason.into());
    row
}

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new(rows: &[Row]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut machine = Machine { label: "xeon-2c".into(), ..Machine::default() };
        machine.cpu.model = "Xeon <8481C>".into();
        machine.adapters = vec![Adapter { name: "llvmpipe".into(), software: true, ..Adapter::default() }];
        machine.roofline = Some(toml::from_str("cpu = { flops_per_s = 2e11, bytes_per_s = 2e10 }").unwrap());
        let mut writer = Writer::create(&folder.path().join("results"), &machine, "default").unwrap();
        rows.iter().for_each(|row| writer.append(row).unwrap());
        Self { folder }
    }

    fn results(&self) -> Vec<PathBuf> {
        vec![self.folder.path().join("results")]
    }

    fn file(&self) -> PathBuf {
        let dated = fs::read_dir(&self.results()[0]).unwrap().next().unwrap().unwrap().path();
        dated.join("default.csv")
    }

    fn render(&self) -> (Summary, String) {
        let summary = render(&self.results(), &self.folder.path().join("reports")).unwrap();
        let page = fs::read_to_string(&summary.page).unwrap();
        (summary, page)
    }

    fn figure(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join("reports/figures").join(name)).unwrap()
    }
}

fn three_engines() -> Vec<Row> {
    let mut rows = Vec::new();
    for dataset in ["moby", "webster"] {
        rows.extend(runs(dataset, "dense-cpu", 0.8, 0.1));
        rows.extend(runs(dataset, "lsh-cpu", 0.8, 0.01));
        rows.push(skipped(dataset, "dense-gpu", "no GPU adapter"));
    }
    rows
}

#[test]
fn the_page_holds_verdict_curves_tables_reasons_and_machine() {
    let bench = Bench::new(&three_engines());
    let (summary, page) = bench.render();
    // 0.8 at step 100 less 0.005 is 0.795: step 99.375, 0.1 s or 0.01 s each for the median seed.
    assert!(summary.verdict.starts_with("Yes, on this machine. Against the best dense engine, on moby lsh-cpu is"));
    let words = "10.0× sooner than dense-cpu to P@1 0.795 (0.994 s against 9.94 s, 10.0× fewer CPU seconds)";
    assert!(summary.verdict.contains(words), "{}", summary.verdict);
    assert!(summary.verdict.contains("dense-gpu is not compared (skipped: no GPU adapter)"));
    for text in [
        "Does hashing on a CPU",
        "no GPU adapter",
        "Xeon &lt;8481C&gt;",
        "0.800",
        "% of FLOP/s",
        "software, not a GPU",
        "default.csv",
        "Where the paper&#39;s figures disagree",
    ] {
        assert!(page.contains(text), "{text} is missing");
    }
    assert_eq!(summary.rows, three_engines().len());
    assert!(page.len() < 3 << 20);
    let readme = fs::read_to_string(&summary.readme).unwrap();
    assert!(readme.contains("](figures/default-time-accuracy.svg)") && readme.contains("no GPU adapter"));
    // Curves are the published figures' colours, in the order of the paper.
    let figure = bench.figure("default-time-accuracy.svg");
    assert!(
        figure.contains("line s-lsh") && figure.contains("line s-dense-cpu") && !figure.contains("line s-dense-gpu")
    );
}

#[test]
fn figures_carry_their_numbers_and_words() {
    let bench = Bench::new(&three_engines());
    let (summary, page) = bench.render();
    let csv = bench.figure("default-iteration-accuracy.csv");
    assert!(csv.starts_with("dataset,series,source,x,p_at_1,min,max\n"));
    assert!(csv.lines().any(|line| line == "moby,lsh-cpu,measured,100,0.8,0.8,0.8"), "{csv}");
    let seconds = bench.figure("default-epoch-seconds.csv");
    assert!(seconds.lines().any(|line| line.starts_with("moby,dense-cpu,total,10,9,12")), "{seconds}");
    let phases = bench.figure("default-phases.csv");
    assert!(phases.lines().any(|line| line.starts_with("moby,dense-cpu,forward,7.5")), "{phases}");
    assert!(page.contains("dense-cpu: 10.0 (9.00 to 12.0), of which forward 7.50, other 2.50."));
    for path in summary.figures.iter().filter(|path| path.extension().unwrap() == "svg") {
        let text = fs::read_to_string(path).unwrap();
        well_formed(path, &text);
        let description = text.split("<desc id=\"description\">").nth(1).unwrap().split('<').next().unwrap();
        assert!(description.chars().any(|c| c.is_ascii_digit()), "{} has no numbers in words", path.display());
        assert!(path.with_extension("csv").exists());
    }
    assert_eq!(page.matches("<svg").count(), page.matches("aria-labelledby=\"").count());
    for words in page.split("aria-labelledby=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(page.matches(&format!("<p id=\"{words}\">")).count(), 1, "{words}");
    }
}

#[test]
fn a_target_that_is_not_reached_reads_so() {
    let mut rows = runs("moby", "dense-cpu", 0.8, 0.1);
    rows.extend(runs("moby", "lsh-cpu", 0.6, 0.01));
    let bench = Bench::new(&rows);
    let (summary, page) = bench.render();
    assert!(summary.verdict.starts_with("No, not on this machine. Against the best dense engine, on moby lsh-cpu"));
    let goal = "does not reach P@1 0.795 (where dense-cpu ends, less 0.005), and is";
    assert!(summary.verdict.contains(goal), "{}", summary.verdict);
    // 0.595 lies at step 99.17 of 0.6 and step 74.4 of 0.8.
    assert!(summary.verdict.contains("7.50× sooner to 0.595."), "{}", summary.verdict);
    assert!(page.contains("not reached"));
    assert!(table(&rows).contains("not reached"));
}

#[test]
fn a_software_adapter_is_never_called_a_gpu() {
    let mut rows = three_engines();
    rows.retain(|row| row.engine != "dense-gpu");
    rows.extend(runs("moby", "dense-gpu", 0.8, 0.001).into_iter().map(|row| Row { software: true, ..row }));
    let bench = Bench::new(&rows);
    let (summary, page) = bench.render();
    assert!(summary.verdict.starts_with("Yes"), "a software adapter stands in no verdict: {}", summary.verdict);
    assert!(summary.verdict.contains("dense-gpu (software) is not compared"));
    for path in &summary.figures {
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(
            text.matches("dense-gpu").count(),
            text.matches("dense-gpu (software)").count() + style_rules(&text)
        );
    }
    assert!(!page.contains("line s-dense-gpu v"), "no curve of ours in the GPU's colour");
    let ratios = page.split("id=\"default-ratio-moby\"").nth(1).unwrap().split("</table>").next().unwrap();
    assert!(!ratios.contains("dense-gpu"));
}

/// How often a file's style sheet names the GPU's colour.
fn style_rules(svg: &str) -> usize {
    let sheet = svg.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).unwrap_or("");
    sheet.matches("dense-gpu").count()
        + svg.replace(sheet, "").matches("line s-dense-gpu published").count()
        + svg.replace(sheet, "").matches("band f-dense-gpu").count()
}

#[test]
fn two_seeds_are_said_to_be_too_few_and_a_split_is_called_level() {
    let mut rows = Vec::new();
    for (seed, ours) in [(1, 0.05), (2, 0.2)] {
        rows.extend(run("moby", "dense-cpu", seed, 0.8, 0.1));
        rows.extend(run("moby", "lsh-cpu", seed, 0.8, ours));
    }
    let (summary, _) = Bench::new(&rows).render();
    assert!(summary.verdict.starts_with("Neither is sooner on this machine"), "{}", summary.verdict);
    assert!(summary.verdict.contains("This rests on 2 seeds; three are asked for."));
}

#[test]
fn published_curves_stand_behind_ours_where_the_data_has_that_shape() {
    let bench = Bench::new(&runs("synthetic:amazon-670k", "lsh-cpu", 0.3, 0.01));
    bench.render();
    let figure = bench.figure("default-time-accuracy.svg");
    let (published, ours) = (figure.find("line s-lsh published").unwrap(), figure.find("line s-lsh v0").unwrap());
    assert!(published < ours, "published curves are drawn first");
    assert!(bench.figure("default-time-accuracy.csv").contains("\"SLIDE, as published\",published"));
    let other = Bench::new(&runs("moby", "lsh-cpu", 0.3, 0.01));
    other.render();
    assert!(!other.figure("default-time-accuracy.svg").contains("published\" d="));
    assert!(other.figure("as-published.svg").contains("published\" d="));
}

#[test]
fn damaged_files_are_read_as_far_as_they_go_and_named() {
    let bench = Bench::new(&three_engines());
    let mut text = fs::read_to_string(bench.file()).unwrap();
    text += "default,moby,torn";
    fs::write(bench.file(), text).unwrap();
    fs::write(bench.file().with_file_name("notes.csv"), "a,b\n1,2\n").unwrap();
    fs::write(bench.file().with_file_name("machine.toml"), "label = [").unwrap();
    let (summary, page) = bench.render();
    assert!(summary.verdict.starts_with("Yes"));
    assert_eq!(summary.warnings.len(), 2, "{:?}", summary.warnings);
    assert!(page.contains("torn"));
    let folder = bench.folder.path().display().to_string();
    assert!(!page.contains(&folder), "the page names a folder of this machine");
}

#[test]
fn an_interrupted_run_that_was_started_again_counts_once() {
    let mut rows: Vec<Row> = run("moby", "dense-cpu", 1, 0.5, 9.0).into_iter().take(4).collect();
    rows.extend(run("moby", "dense-cpu", 1, 0.8, 0.1));
    let text = table(&rows);
    let line = text.lines().find(|line| line.starts_with("moby")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&cells[..5], ["moby", "dense-cpu", "1", "0.800", "10.0"], "{text}");
}

#[test]
fn the_same_engine_twice_is_told_apart() {
    let mut rows = run("moby", "lsh-cpu", 1, 0.8, 0.01);
    rows.extend(run("moby", "lsh-cpu", 1, 0.8, 0.02).into_iter().map(|row| Row { batch: 256, ..row }));
    let text = table(&rows);
    assert!(text.contains("lsh-cpu, batch 128") && text.contains("lsh-cpu, batch 256"), "{text}");
}

/// The verdicts of `README.md`, by claim.
fn verdicts(summary: &Summary) -> std::collections::BTreeMap<String, String> {
    let text = fs::read_to_string(&summary.readme).unwrap();
    let section = text.split("## Claims").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|line| line.split(" | ").map(|cell| cell.trim_start_matches("| ").to_string()).collect::<Vec<_>>())
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect()
}

#[test]
fn claims_are_ruled_from_records_and_lose_their_verdict_with_them() {
    let counted = |row: Row| Row {
        active_mean: Some(100.0),
        labels: Some(100_000),
        flops_per_step: Some(1e8),
        bytes_per_step: Some(1e5),
        ..row
    };
    let mut rows = runs("moby", "dense-cpu", 0.8, 0.1);
    rows.extend(runs("moby", "lsh-cpu", 0.8, 0.01).into_iter().map(counted));
    rows.extend(runs("moby", "sparse-cpu:uniform", 0.5, 0.01).into_iter().map(counted));
    let of = |rows: &[Row]| verdicts(&Bench::new(rows).render().0);
    let all = of(&rows);
    for (claim, verdict) in [
        ("S01", "not measurable here"),
        ("S07", "not measured"),
        ("D01", "not measurable here"),
        ("S04", "holds"),
        ("S05", "holds"),
        ("S06", "holds"),
        ("S08", "holds"),
        ("S09", "holds in part"),
        ("S24", "not measured"),
        ("C09", "does not hold"),
        ("C16", "holds"),
        ("C17", "does not hold"),
    ] {
        assert_eq!(all[claim], verdict, "{claim}");
    }
    // Slower on another data set: in part. Without the uniform engine, the dense one, or anything: not measured.
    let mut mixed = rows.clone();
    mixed.extend(runs("webster", "dense-cpu", 0.8, 0.01));
    mixed.extend(runs("webster", "lsh-cpu", 0.8, 0.1));
    assert_eq!(of(&mixed)["S04"], "holds in part");
    rows.retain(|row| row.engine != "sparse-cpu:uniform");
    assert_eq!(of(&rows)["C09"], "not measured");
    rows.retain(|row| row.engine != "dense-cpu");
    let lonely = of(&rows);
    assert!(["S04", "S06", "C17"].iter().all(|claim| lonely[*claim] == "not measured"));
    assert_eq!(lonely["S08"], "holds");
}

/// A machine with a GPU lacks only the run.
#[test]
fn a_claim_about_a_gpu_is_measurable_where_there_is_one() {
    let bench = Bench::new(&runs("moby", "lsh-cpu", 0.8, 0.01));
    assert_eq!(verdicts(&bench.render().0)["S01"], "not measurable here");
    let path = bench.file().with_file_name("machine.toml");
    let machine = fs::read_to_string(&path).unwrap().replace("software = true", "software = false");
    fs::write(&path, machine).unwrap();
    assert_eq!(verdicts(&bench.render().0)["S01"], "not measured");
    assert_eq!(verdicts(&bench.render().0)["D01"], "not measurable here", "that is no matter of this machine");
}

#[test]
fn claims_lead_to_their_section_and_their_rows() {
    let bench = Bench::new(&three_engines());
    let (summary, page) = bench.render();
    let row = page.split("<tr><td>S04</td>").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("<a href=\"#default\">default</a>") && row.contains("/default.csv\">rows</a>"), "{row}");
    let row = page.split("<tr><td>S02</td>").nth(1).unwrap().split("</tr>").next().unwrap();
    assert!(row.contains("slide20-fig10-optimisations") && !row.contains("href"), "nothing to lead to: {row}");
    assert!(fs::read_to_string(&summary.readme).unwrap().contains("<a id=\"default\"></a>"));
}

/// The engine that is hardest to beat is compared with, whatever its name, and who hashes nothing is told of.
#[test]
fn the_verdict_is_against_the_best_dense_engine_and_names_the_best_without_hashing() {
    let mut rows = three_engines();
    for dataset in ["moby", "webster"] {
        rows.extend(runs(dataset, "dense-cpu:bf16", 0.8, 0.05));
        rows.extend(runs(dataset, "sparse-cpu:best", 0.8, 0.005));
        rows.extend(runs(dataset, "sparse-cpu:uniform", 0.5, 0.001));
        rows.extend(runs(dataset, "sparse-cpu:top-k", 0.8, 0.001));
    }
    // Fast, but never where the best ends.
    rows.extend(runs("moby", "dense-cpu:poor", 0.7, 0.001));
    let bench = Bench::new(&rows);
    let (summary, _) = bench.render();
    let verdict = &summary.verdict;
    assert!(verdict.contains("on moby lsh-cpu is 5.00× sooner than dense-cpu:bf16 to P@1 0.795"), "{verdict}");
    let sampled =
        "Without any hashing, sparse-cpu:best is 10.0× sooner to 0.795 on moby, 10.0× sooner to 0.795 on webster.";
    assert!(verdict.contains(sampled), "{verdict}");
    let readme = fs::read_to_string(&summary.readme).unwrap();
    assert!(readme.contains("times sooner than the best dense |"));
    let line = readme.lines().find(|line| line.starts_with("| moby | lsh-cpu | 3 |")).unwrap();
    assert!(line.ends_with("| 5.00 |"), "{line}");
}

#[test]
fn the_latest_time_counts_whatever_the_folder_is_called() {
    let dated =
        |rows: Vec<Row>, time: &str| rows.into_iter().map(|row| Row { time: time.into(), ..row }).collect::<Vec<_>>();
    let bench = Bench::new(&dated(runs("moby", "dense-cpu", 0.8, 0.1), "2026-01-02T00:00:00Z"));
    let machine = fs::read(bench.file().with_file_name("machine.toml")).unwrap();
    // Earlier, in a folder that sorts later.
    let folder = bench.results()[0].join("z-renamed");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("machine.toml"), machine).unwrap();
    let mut writer = Writer::open(&folder.join("default.csv")).unwrap();
    for row in dated(runs("moby", "dense-cpu", 0.5, 0.1), "2026-01-01T00:00:00Z") {
        writer.append(&row).unwrap();
    }
    let (summary, page) = bench.render();
    let readme = fs::read_to_string(&summary.readme).unwrap();
    assert!(readme.contains("| moby | dense-cpu | 3 | 0.800 |"), "{readme}");
    assert!(page.contains("z-renamed/default.csv</a>, 30 rows, superseded by a later run"));
}

#[test]
fn a_curve_never_mixes_settings() {
    // One seed with the first settings, two with the second: the two count.
    let set = |rows: Vec<Row>, settings: &str| {
        rows.into_iter().map(|row| Row { settings: settings.into(), ..row }).collect::<Vec<_>>()
    };
    let mut rows = set(run("moby", "lsh-cpu", 1, 0.8, 0.01), "narrow");
    rows.extend(set(run("moby", "lsh-cpu", 2, 0.5, 0.01), "wide"));
    rows.extend(set(run("moby", "lsh-cpu", 3, 0.5, 0.01), "wide"));
    let text = table(&rows);
    let line = text.lines().find(|line| line.starts_with("moby")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&cells[..4], ["moby", "lsh-cpu", "2", "0.500"], "{text}");
}

#[test]
fn an_experiment_says_which_figures_it_wants_and_what_it_asks() {
    let software = runs("moby", "dense-gpu", 0.8, 0.1).into_iter().map(|row| Row { software: true, ..row });
    let rows: Vec<Row> = three_engines()
        .into_iter()
        .filter(|row| row.engine != "dense-gpu")
        .chain(software)
        .flat_map(|row| {
            let other = Row { engine: format!("{}, 4 threads", row.engine), threads: 4, ..row.clone() };
            [Row { engine: format!("{}, 2 threads", row.engine), ..row }, other]
        })
        .map(|row| Row { recall: Some(0.5), active_mean: Some(100.0), ..row })
        .collect();
    let bench = Bench::new(&rows);
    let experiment = |renders: &str| {
        let engines: String = ["dense-cpu", "lsh-cpu", "dense-gpu"]
            .into_iter()
            .flat_map(|name| [2, 4].map(|t| format!("[[engine]]\nname = '{name}'\nlabel = '{name}, {t} threads'\n")))
            .collect();
        let text = format!("title = 'Of threads'\nquestion = 'Do <threads> help?'\nrenders = [{renders}]\n{engines}");
        fs::write(bench.file().with_extension("toml"), text).unwrap();
        let (summary, page) = bench.render();
        let names = summary.figures.iter().filter(|path| path.extension().unwrap() == "svg");
        let names = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_string());
        (names.filter(|name| name != "as-published").collect::<Vec<_>>(), page)
    };
    let (figures, page) = experiment("'sweep', 'recall', 'active', 'step-time', 'table9'");
    assert_eq!(figures, ["default-sweep", "default-recall", "default-active", "default-step-time"]);
    assert!(page.contains("Do &lt;threads&gt; help?") && page.contains(">Of threads</h3>"));
    assert!(!page.contains("Seconds to reach a P@1"), "a study of steps has no table of accuracy");
    let sweep = bench.figure("default-sweep.csv");
    assert!(sweep.contains("\"moby, Seconds a step\",lsh-cpu,measured,2,0.01,"), "{sweep}");
    assert!(sweep.contains("\"moby, Seconds a step\",lsh-cpu,measured,4,0.01,"), "{sweep}");
    // A software adapter keeps its name in a line over threads too.
    assert!(sweep.contains(",dense-gpu (software),measured,4,") && !sweep.contains(",dense-gpu,"), "{sweep}");
    assert_eq!(experiment("'time-accuracy'").0, ["default-time-accuracy"]);
    assert_eq!(experiment("").0.len(), 5);
    assert!(experiment("'table9'").0.is_empty());
}

#[test]
fn measurements_are_drawn_over_x_or_as_bars_with_formula_and_points_in_one_colour() {
    let bench = Bench::new(&three_engines());
    let seen = |case: &str, x: Option<f64>, quantity: &str, unit: &str, value: f64| Observation {
        experiment: "slide20-fig11-selection".into(),
        case: case.into(),
        x_name: "neurons".into(),
        x,
        quantity: quantity.into(),
        unit: unit.into(),
        value: Some(value),
        status: "ok".into(),
        ..Observation::default()
    };
    let mut lines = Vec::new();
    for x in [10.0, 1000.0, 205_443.0] {
        lines.push(seen("m = 1", Some(x), "formula", "probability", 0.5));
        lines.push(seen("m = 1", Some(x), "Monte Carlo", "probability", 0.51));
    }
    lines.push(seen("FIFO", Some(205_443.0), "time", "s", 0.25));
    let path = bench.file().with_file_name("slide20-fig11-selection.csv");
    let mut writer = Writer::<Observation>::open(&path).unwrap();
    lines.iter().for_each(|line| writer.append(line).unwrap());
    let (summary, page) = bench.render();
    let svg = bench.figure("slide20-fig11-selection-measured.svg");
    well_formed(Path::new("measured.svg"), &svg);
    assert_eq!(
        (svg.matches("line s-lsh v0").count(), svg.matches("class=\"f-lsh\"").count()),
        (2, 3),
        "line, key; dots"
    );
    assert!(svg.contains(">1,000</text>"), "the values that were set stand on the axis");
    assert_eq!(svg.matches("<rect class=\"f-").count(), 1, "one bar");
    let readme = fs::read_to_string(&summary.readme).unwrap();
    assert!(readme.contains("| FIFO | 205,443 |"), "counts are written in full: {readme}");
    let csv = bench.figure("slide20-fig11-selection-measured.csv");
    assert!(csv.contains("m = 1,neurons,205443,Monte Carlo,probability,0.51,0.51,0.51"), "{csv}");
    // The paper's own order: after the suite's question.
    let (first, then) =
        (page.find("<section id=\"suite\">").unwrap(), page.find("<section id=\"slide2020\">").unwrap());
    assert!(first < then && page.find("Figure 11: selection").is_some());
}

#[test]
fn figures_of_the_paper_stand_beside_the_experiment_that_regenerates_them() {
    let renamed = |name: &str| {
        let rows = runs("moby", "lsh-cpu", 0.3, 0.01);
        Bench::new(&rows.into_iter().map(|row| Row { experiment: name.into(), ..row }).collect::<Vec<_>>())
    };
    let bench = renamed("slide20-fig7-sampled");
    bench.render();
    let csv = bench.figure("slide20-fig7-sampled-time-accuracy.csv");
    assert!(csv.contains("\"Amazon-670K, as published\",TF-GPU-SSM,published"));
    assert!(csv.contains("moby,lsh-cpu,measured"));
    let bench = renamed("c02-clocks");
    bench.render();
    assert!(!bench.figure("c02-clocks-time-accuracy.csv").contains("published"));
}

/// Thirty studies of two data sets and five engines: a page that loads at once.
#[test]
fn a_report_of_thirty_studies_stays_small() {
    let mut rows = Vec::new();
    for study in 0..30 {
        for dataset in ["moby", "webster"] {
            for (i, engine) in ["dense-cpu", "dense-cpu:bf16", "lsh-cpu", "lsh-cpu:per-sample", "sparse-cpu:best"]
                .into_iter()
                .enumerate()
            {
                for seed in 1..=3 {
                    let rate = 0.01 * (1 + i) as f64 * (1.0 + 0.01 * (seed + study) as f64);
                    let mut wavy = run(dataset, engine, seed, 0.9, rate);
                    for row in &mut wavy {
                        let step = row.step as f64;
                        row.p1 = row.p1.map(|p1| p1 * (1.0 + 0.1 * (step * 0.7 + seed as f64).sin()) + 0.01);
                        row.experiment = format!("study-{study}");
                    }
                    rows.extend(wavy);
                }
            }
        }
    }
    let (summary, page) = Bench::new(&rows).render();
    assert_eq!(summary.rows, rows.len());
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
}

#[test]
fn a_rerun_with_other_settings_replaces_all_of_the_former() {
    let mut rows = runs("moby", "lsh-cpu", 0.8, 0.01);
    // A fourth seed at another hidden width, which has no column of its own.
    rows.extend(run("moby", "lsh-cpu", 4, 0.5, 0.02).into_iter().map(|row| Row { settings: "other".into(), ..row }));
    let text = table(&rows);
    let line = text.lines().find(|line| line.starts_with("moby")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&cells[..4], ["moby", "lsh-cpu", "1", "0.500"], "{text}");
}

#[test]
fn figures_of_an_earlier_report_are_removed_and_nothing_else() {
    let bench = Bench::new(&three_engines());
    let folder = bench.folder.path().join("reports/figures");
    fs::create_dir_all(&folder).unwrap();
    for name in ["old.svg", "old.csv", "notes.md"] {
        fs::write(folder.join(name), "x").unwrap();
    }
    bench.render();
    assert!(!folder.join("old.svg").exists() && !folder.join("old.csv").exists() && folder.join("notes.md").exists());
}

#[test]
fn names_from_records_cannot_break_the_page() {
    let wild = "<script>alert(1)</script>|`*[x](http://evil)";
    let mut rows = runs(wild, "dense-cpu", 0.8, 0.1);
    rows.push(skipped(wild, "lsh-cpu", wild));
    let bench = Bench::new(&rows);
    let (summary, page) = bench.render();
    assert_eq!(page.matches("<script>").count(), 1, "only our own script");
    assert!(!page.contains("href=\"http"));
    assert!(fs::read_to_string(&summary.readme).unwrap().contains("\\<script\\>"));
    summary.figures.iter().filter(|path| path.extension().unwrap() == "svg").for_each(|path| {
        well_formed(path, &fs::read_to_string(path).unwrap());
    });
}

#[test]
fn the_page_needs_no_network() {
    let (_, page) = Bench::new(&three_engines()).render();
    for address in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(address), "{address}");
    }
    let balanced = |tag: &str| page.matches(&format!("<{tag}")).count() == page.matches(&format!("</{tag}>")).count();
    for tag in ["section", "figure>", "table>", "fieldset", "details", "svg"] {
        let tag = tag.trim_end_matches('>');
        assert!(balanced(&format!("{tag} ")) || balanced(tag), "{tag} is not closed");
    }
    let mut ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "an id occurs twice");
    for anchor in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(ids.contains(&anchor), "#{anchor} leads nowhere");
    }
}

#[test]
fn without_records_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for results in [folder.path().to_path_buf(), folder.path().join("missing")] {
        let error = render(&[results], folder.path()).unwrap_err();
        assert!(matches!(error, ReportError::NoRecords(_)));
        assert!(error.to_string().contains("run `cargo bench`"), "{error}");
    }
}

#[test]
fn a_readme_is_spliced_and_checked_against_the_records() {
    let bench = Bench::new(&three_engines());
    let readme = bench.folder.path().join("README.md");
    let text = "# x\n<!-- slidebench:default-summary -->\nold\n<!-- /slidebench:default-summary -->\nand\n\
                <!-- slidebench:verdict --><!-- /slidebench:verdict -->\nend\n";
    fs::write(&readme, text).unwrap();
    let stale = check(&readme, &bench.results()).unwrap_err().to_string();
    assert!(stale.contains("default-summary, verdict no longer agree"), "{stale}");
    assert!(splice(&readme, &bench.results()).unwrap());
    check(&readme, &bench.results()).unwrap();
    assert!(!splice(&readme, &bench.results()).unwrap(), "nothing left to renew");
    let spliced = fs::read_to_string(&readme).unwrap();
    assert!(spliced.starts_with("# x\n") && spliced.ends_with("\nend\n") && !spliced.contains("old"));
    assert!(spliced.contains("| moby | lsh-cpu | 3 | 0.800 |"), "{spliced}");
    let claims = "<!-- slidebench:claims-line --><!-- /slidebench:claims-line -->\n\
                  <!-- slidebench:claims:S04,C12 --><!-- /slidebench:claims:S04,C12 -->\n";
    let of_claims = bench.folder.path().join("CLAIMS.md");
    fs::write(&of_claims, claims).unwrap();
    assert!(splice(&of_claims, &bench.results()).unwrap());
    let of_claims = fs::read_to_string(&of_claims).unwrap();
    assert!(of_claims.contains(" not measured, ") && of_claims.contains("| S04 | holds |"), "{of_claims}");
    assert_eq!(of_claims.matches("\n| C12 | not measured |").count(), 1, "{of_claims}");
    // Other records, and the README is out of date again.
    let other = Bench::new(&runs("moby", "dense-cpu", 0.7, 0.1));
    assert!(matches!(check(&readme, &other.results()), Err(ReportError::Stale { .. })));

    for (broken, reason) in [
        ("\n<!-- slidebench:verdict -->\n", ":2: `verdict` is not closed"),
        ("<!-- slidebench:claims:S99 -->\n<!-- /slidebench:claims:S99 -->", "`claims:S99` is no part of the report"),
        ("<!-- slidebench:nothing -->\n<!-- /slidebench:nothing -->", "`nothing` is no part of the report; there are"),
    ] {
        fs::write(&readme, broken).unwrap();
        let error = splice(&readme, &bench.results()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// Another machine's records add to a report, and take no name away that has its machine's label.
#[test]
fn the_machine_with_the_newest_answer_leads() {
    let bench = Bench::new(&three_engines());
    let record = |label: &str, experiment: &str, rows: &[Row]| {
        let machine = Machine { label: label.into(), ..Machine::default() };
        let mut writer = Writer::create(&bench.results()[0], &machine, experiment).unwrap();
        rows.iter().for_each(|row| writer.append(row).unwrap());
    };
    record("xeon-2c", "other", &runs("moby", "lsh-cpu", 0.8, 0.1));
    let slower =
        ["dense-cpu", "lsh-cpu"].map(|engine| runs("moby", engine, 0.8, if engine == "lsh-cpu" { 0.4 } else { 0.1 }));
    record("a-first-name", "default", &slower.concat());
    let (summary, page) = bench.render();
    assert!(summary.verdict.contains("10.0× sooner than dense-cpu"), "{}", summary.verdict);
    assert!(page.contains("id=\"default-summary\"") && page.contains("id=\"default-a-first-name-summary\""));
    let readme = bench.folder.path().join("README.md");
    let text = ["verdict", "verdict:a-first-name"]
        .map(|name| format!("<!-- slidebench:{name} --><!-- /slidebench:{name} -->\n"));
    fs::write(&readme, text.concat()).unwrap();
    splice(&readme, &bench.results()).unwrap();
    let spliced = fs::read_to_string(&readme).unwrap();
    assert!(spliced.contains("**10.0× sooner**") && spliced.contains("**4.00× later**"), "{spliced}");

    // A machine of few records, but of today.
    let mut today = ["dense-cpu", "lsh-cpu"].map(|engine| runs("moby", engine, 0.8, 0.1)).concat();
    today.iter_mut().for_each(|row| row.time = "2026-11-23T12:00:00Z".into());
    record("new", "default", &today);
    let (summary, page) = bench.render();
    assert!(summary.verdict.contains("1.00×"), "{}", summary.verdict);
    assert!(page.contains("id=\"default-summary\"") && page.contains("id=\"default-xeon-2c-summary\""));
    for of in ["", "-new", "-xeon-2c", "-a-first-name"] {
        let name = format!("default{of}-summary");
        fs::write(&readme, format!("<!-- slidebench:{name} --><!-- /slidebench:{name} -->")).unwrap();
        assert!(splice(&readme, &bench.results()).unwrap(), "{name}");
    }
}

/// A tiny XML check: tags nest, attributes are quoted, `&` begins an entity.
fn well_formed(path: &Path, text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let (tag, after) =
            piece.split_once('>').unwrap_or_else(|| panic!("{}: `<{piece}` is not closed", path.display()));
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{}: `</{name}>` does not match", path.display());
        } else {
            assert!(tag.matches('"').count() % 2 == 0, "{}: a quote is open in <{tag}>", path.display());
            if !tag.ends_with('/') {
                open.push(tag.split([' ', '\n']).next().unwrap());
            }
        }
        for entity in after.split('&').skip(1).chain(tag.split('&').skip(1)) {
            let name = entity.split(';').next().unwrap();
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&name), "{}: stray & in {after}", path.display());
        }
    }
    assert!(open.is_empty(), "{}: {open:?} are not closed", path.display());
}

#[test]
fn projections_keep_the_share_and_say_what_they_are() {
    // 1 GFLOP in 100 ms is 5 % of 200 GFLOP/s; at 5 % of 4.4 TFLOP/s it takes 4.5 ms.
    let bench = Bench::new(&three_engines());
    let (summary, page) = bench.render();
    assert!(page.contains("Computed, not measured"));
    let readme = fs::read_to_string(&summary.readme).unwrap();
    assert!(readme.contains("| moby | dense-cpu | 100 | 5 % | 44-core Xeon | 4.55 |"), "{readme}");
    assert!(readme.contains("| moby | lsh-cpu | 10.0 | 50 % | 44-core Xeon | 0.455 |"), "{readme}");
    assert!(!readme.contains("| V100 |"), "no GPU ran");
}

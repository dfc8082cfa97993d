//! What stands in the report, in order, before it is given a form.

use super::claims;
use super::document::{Block, Table, plain};
use super::figures::{self, Figure};
use super::links::Links;
use super::measured;
use super::parts::{Part, parts};
use super::projection;
use super::published;
use super::runs::Study;
use super::statistics::{number, times};
use super::tables;
use super::verdict::{SLACK, verdict};
use crate::record::{Machine, Paper, Place, Provenance, Records};
use std::path::{Path, PathBuf};

/// The report, not yet a page.
#[derive(Clone, Debug)]
pub struct Contents {
    pub question: String,
    pub verdict: String,
    /// One line on the machine of the leading study.
    pub machine: String,
    /// Verdict and machine of every machine that ran the leading study's experiment, by label.
    answers: Vec<(String, [String; 2])>,
    /// The leading machine of every experiment: its tables go by the experiment's name alone.
    leads: Vec<(String, String)>,
    /// The verdict on every claim.
    rulings: Vec<claims::Ruling>,
    /// The leading figure, which the first screen shows.
    pub lead: Option<Figure>,
    pub blocks: Vec<Block>,
}

impl Contents {
    /// Everything these studies say; links to records are written as seen from `out`.
    pub fn of(studies: &[Study], records: &Records, out: &Path) -> Self {
        let parts = parts(records);
        let links = Links { studies, parts: &parts, out };
        let machines = records.machines();
        let rulings = claims::rulings(&links, &machines);
        let mut blocks = claims::blocks(&rulings, &links);
        let mut lead = None;
        // Studies and measurements in the order of the papers.
        let mut sections: Vec<(Place, Vec<Block>)> = Vec::new();
        for (i, study) in studies.iter().enumerate() {
            let prefix = links.study(study);
            let mut drawn = figures::of(study, &prefix);
            if i == 0 && !drawn.is_empty() {
                lead = Some(drawn.remove(0));
            }
            sections.push((Place::of(&study.experiment), study_blocks(study, &links, drawn, i == 0)));
        }
        for part in &parts {
            sections.push((Place::of(&part.experiment), part_blocks(part, &links)));
        }
        sections.sort_by(|a, b| a.0.cmp(&b.0));
        for paper in Paper::ALL {
            let ours = sections.iter().filter(|(place, _)| place.paper == paper).map(|(_, blocks)| blocks);
            group(paper, ours, &mut blocks);
        }
        published_blocks(&mut blocks);
        closing_blocks(records, &links, &mut blocks);
        let answers: Vec<(String, [String; 2])> = studies
            .iter()
            .filter(|study| study.experiment == studies[0].experiment)
            .map(|study| {
                let verdict = verdict(study).unwrap_or_else(|| NO_ANSWER.into());
                (study.label.clone(), [verdict, machine_line(study)])
            })
            .collect();
        let [verdict, machine] = answers.first().map(|(_, answer)| answer.clone()).unwrap_or_default();
        Self {
            question: "Does hashing on a CPU train this network sooner than dense training?".into(),
            verdict,
            machine,
            answers,
            leads: links.leads(),
            rulings,
            lead,
            blocks,
        }
    }

    /// Every figure, the leading one first.
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        let others = self.blocks.iter().filter_map(|block| match block {
            Block::Figure(figure) => Some(figure),
            _ => None,
        });
        self.lead.iter().chain(others)
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Table(table) => Some(table),
            _ => None,
        })
    }

    /// A table by its name, which may have the label of its machine even where that leads and its tables have none.
    fn table(&self, name: &str) -> Option<&Table> {
        let short = self.leads.iter().find_map(|(experiment, label)| {
            let rest = name.strip_prefix(experiment)?.strip_prefix('-')?.strip_prefix(label)?;
            Some(format!("{experiment}{rest}"))
        });
        self.tables().find(|table| table.id == name || Some(&table.id) == short.as_ref())
    }

    /// A part of the report by name, as Markdown.
    pub fn part(&self, name: &str) -> Option<String> {
        let of_machine = |label: &str| self.answers.iter().find(|(known, _)| known == label).map(|(_, answer)| answer);
        match name.split_once(':').unwrap_or((name, "")) {
            ("verdict", "") => Some(self.verdict.clone()),
            ("verdict", label) => of_machine(label).map(|[verdict, _]| verdict.clone()),
            ("question", "") => Some(self.question.clone()),
            ("machine-line", "") => Some(self.machine.clone()),
            ("machine-line", label) => of_machine(label).map(|[_, machine]| machine.clone()),
            ("claims-line", "") => Some(claims::counts(&self.rulings)),
            ("claims", ids) => claims::chosen(&self.rulings, ids).map(|table| table.markdown()),
            _ => self.table(name).map(Table::markdown),
        }
    }

    /// The names [`part`](Self::part) knows.
    pub fn parts(&self) -> Vec<String> {
        let known = ["verdict", "question", "machine-line", "claims-line", "claims:S04,C12"].map(str::to_string);
        let of_machines = self
            .answers
            .iter()
            .flat_map(|(label, _)| ["verdict", "machine-line"].map(|part| format!("{part}:{label}")));
        known.into_iter().chain(of_machines).chain(self.tables().map(|table| table.id.clone())).collect()
    }
}

const NO_ANSWER: &str = "**No answer yet.** The records hold no pair of a hashed and a dense run on the same data.";

/// A section for a paper, with a list of what it holds.
fn group<'a>(paper: Paper, studies: impl Iterator<Item = &'a Vec<Block>> + Clone, blocks: &mut Vec<Block>) {
    let titles = studies.clone().filter_map(|blocks| match blocks.first() {
        Some(Block::Study { id, title }) => Some(format!("[{title}](#{id})")),
        _ => None,
    });
    let titles: Vec<String> = titles.collect();
    if titles.is_empty() {
        return;
    }
    let id = format!("{paper:?}").to_lowercase();
    blocks.push(Block::Section { id, title: paper.title().into() });
    if titles.len() > 1 {
        blocks.push(Block::List(titles));
    }
    blocks.extend(studies.flatten().cloned());
}

/// Heading, question, and where the rows are.
fn heading(
    title: String,
    id: String,
    label: &str,
    asked: Option<&Provenance>,
    files: &[PathBuf],
    links: &Links,
) -> Vec<Block> {
    let mut blocks = vec![Block::Study { id, title: plain(&title) }];
    let question = asked.map(|asked| asked.question.split_whitespace().collect::<Vec<_>>().join(" "));
    blocks.extend(question.filter(|question| !question.is_empty()).map(|question| Block::Text(plain(&question))));
    let files: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let run = file.with_extension("toml");
            let run = run.exists().then(|| links.file(&run, "the experiment as run"));
            [Some(links.file(file, "raw rows")), run].into_iter().flatten()
        })
        .collect();
    blocks.push(Block::Text(format!("Measured on {}: {}.", plain(label), files.join(", "))));
    blocks
}

fn study_blocks(study: &Study, links: &Links, drawn: Vec<Figure>, leads: bool) -> Vec<Block> {
    let mut drawn = drawn.into_iter();
    let prefix = links.study(study);
    let asked = study.provenance.as_ref();
    let title = title(study.title(), &study.experiment, &study.label, links);
    let mut blocks = heading(title, prefix.clone(), &study.label, asked, &study.files, links);
    let accuracy = study.is_about_accuracy();
    if !leads {
        blocks.extend(verdict(study).filter(|_| accuracy).map(Block::Text));
        blocks.extend(drawn.next().map(Block::Figure));
    }
    let id = |kind: &str| format!("{prefix}-{kind}");
    let costs = ["epoch-seconds", "step-time", "phases"];
    let (bars, curves): (Vec<Figure>, Vec<Figure>) =
        drawn.partition(|figure| costs.into_iter().any(|kind| figure.name.ends_with(kind)));
    if accuracy {
        blocks.push(Block::Table(tables::summary(study, &id("summary"))));
        time_blocks(study, &prefix, &mut blocks);
        blocks.extend(curves.into_iter().map(Block::Figure));
        if let Some(table) = tables::accuracy(study, &id("accuracy")) {
            blocks.push(Block::Subsection("Accuracy at the end".into()));
            blocks.push(Block::Table(table));
        }
    } else {
        blocks.extend(curves.into_iter().map(Block::Figure));
        blocks.extend(tables::steps(study, &id("summary")).map(Block::Table));
    }
    if !bars.is_empty() {
        blocks.push(Block::Subsection("Where the time goes".into()));
        blocks.extend(bars.into_iter().map(Block::Figure));
    }
    if let Some(table) = tables::work(study, &id("work")) {
        blocks.push(Block::Subsection("Work and memory".into()));
        let measured = study.machine.as_ref().is_some_and(|machine| machine.roofline.is_some());
        let roofline = if measured {
            "The share of roofline is that of the peak which binds, as measured on this machine."
        } else {
            "The machine's own peaks are not in the records, so no share of its roofline is given; `slidebench devices` measures them."
        };
        blocks.push(Block::Text(format!(
            "FLOP and bytes are what each algorithm needs, over the device clock; active neurons and origins are means a \
             sample at the last evaluation, with the 5th and 95th percentile. {roofline}"
        )));
        blocks.push(Block::Table(table));
        if accuracy {
            projection::blocks(study, &prefix, &mut blocks);
        }
    }
    if let Some(table) = tables::search(study, &id("search")) {
        blocks.push(Block::Subsection("Learning rates".into()));
        blocks.push(Block::Table(table));
    }
    blocks
}

fn time_blocks(study: &Study, prefix: &str, blocks: &mut Vec<Block>) {
    let mut found = Vec::new();
    for (i, panel) in study.panels.iter().enumerate() {
        let id = |kind: &str| format!("{prefix}-{kind}-{}", slug(&panel.dataset, i));
        found.extend(tables::time_to_accuracy(panel, &id("time")).map(Block::Table));
        found.extend(tables::ratios(panel, &id("ratio")).map(Block::Table));
    }
    if found.is_empty() {
        return;
    }
    blocks.push(Block::Subsection("Time to accuracy".into()));
    blocks.push(Block::Text(format!(
        "Seconds until the evaluation sample first shows a P@1, on a straight line between two evaluations: median over \
         seeds, with the range. The targets are 50, 75 and 90 % of where the best dense engine ends (the best of all, \
         where none ran), and that end less {SLACK}."
    )));
    blocks.append(&mut found);
}

fn part_blocks(part: &Part, links: &Links) -> Vec<Block> {
    let id = links.part(part);
    let title = title(part.title(), &part.experiment, &part.label, links);
    let asked = part.provenance.as_ref();
    let mut blocks = heading(title, id.clone(), &part.label, asked, std::slice::from_ref(&part.file), links);
    blocks.extend(measured::of(part, &format!("{id}-measured")).map(Block::Figure));
    blocks.push(Block::Table(tables::part(part, &format!("{id}-summary"))));
    let troubles = tables::part_troubles(part);
    if !troubles.is_empty() {
        blocks.push(Block::List(troubles));
    }
    blocks
}

/// The title of a section; names the machine where several ran the experiment.
fn title(title: String, experiment: &str, label: &str, links: &Links) -> String {
    if links.is_alone(experiment) { title } else { format!("{title}, on {label}") }
}

/// A data set's name for an id; `i` keeps two of the same name apart.
fn slug(dataset: &str, i: usize) -> String {
    let slug: String =
        dataset.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let slug = slug.trim_matches('-').to_string();
    if slug.is_empty() { i.to_string() } else { slug }
}

fn published_blocks(blocks: &mut Vec<Block>) {
    blocks.push(Block::Section { id: "published".into(), title: "As published".into() });
    blocks.extend(figures::as_published().map(Block::Figure));
    blocks.push(Block::Subsection("Where the paper's figures disagree".into()));
    blocks.push(Block::List(disagreements()));
}

/// What the digitised curves say about each other.
fn disagreements() -> Vec<String> {
    let reach = |figure, series, p1| published::to_reach(figure, series, p1).unwrap_or(f64::NAN);
    let whole = |value: f64| super::statistics::thousands(value.round() as i64);
    let (fig5, fig8, fig10) = ("fig5_amazon_time", "fig8_b128", "fig10_amazon");
    let (slide5, gpu5, cpu5) = (reach(fig5, "SLIDE", 0.3), reach(fig5, "TF-GPU", 0.3), reach(fig5, "TF-CPU", 0.3));
    let (slide8, gpu8) = (reach(fig8, "SLIDE", 0.3), reach(fig8, "TF-GPU", 0.3));
    let steps = |series| reach("fig5_amazon_iter", series, 0.3);
    let (plain10, fast10) = (reach(fig10, "SLIDE", 0.3), reach(fig10, "SLIDE-optimized", 0.3));
    let cores = |dataset, series, cores| published::on_cores(dataset, series, cores).unwrap_or(f64::NAN);
    let scaling = |dataset| cores(dataset, "SLIDE", 2) / cores(dataset, "SLIDE", 44);
    let spread = reach(fig5, "SLIDE", 0.302) / reach(fig5, "SLIDE", 0.298) - 1.0;
    vec![
        format!(
            "The same run, two speeds: SLIDE reaches P@1 0.30 on Amazon-670K in {} s in figure 5 and {} s in figure 8, \
             TensorFlow on the GPU in {} s and {} s. The speed-up over the GPU is {} or {}, by the figure chosen.",
            whole(slide5),
            whole(slide8),
            whole(gpu5),
            whole(gpu8),
            times(gpu5 / slide5),
            times(gpu8 / slide8),
        ),
        format!(
            "The text calls convergence per iteration identical; in figure 5 SLIDE takes {} iterations to P@1 0.30 and \
             TensorFlow {}. So {} of the {} is fewer iterations, and {} is faster ones.",
            whole(steps("SLIDE")),
            whole(steps("TF-GPU")),
            times(steps("TF-GPU") / steps("SLIDE")),
            times(gpu5 / slide5),
            times(gpu5 / slide5 * steps("SLIDE") / steps("TF-GPU")),
        ),
        format!(
            "The text says 8× over TensorFlow on the same CPU. At equal P@1 (0.30) figure 5 shows {}; figure 9's \
             convergence times on 44 cores give {}.",
            times(cpu5 / slide5),
            times(cores("Amazon-670K", "TF-CPU", 44) / cores("Amazon-670K", "SLIDE", 44)),
        ),
        format!(
            "Scaling is called near-perfect; from 2 to 44 cores ({}) figure 9 shows {} on Amazon-670K and {} on \
             Delicious-200K.",
            times(22.0),
            times(scaling("Amazon-670K")),
            times(scaling("Delicious-200K")),
        ),
        format!(
            "Huge pages, SIMD and alignment are said to bring 1.3×; figure 10 shows {} to P@1 0.30 on Amazon-670K.",
            times(plain10 / fast10),
        ),
        format!(
            "Figure 9 has SLIDE converge in {} hours and TensorFlow on the GPU in {}; the abstract says 1 and 3.5, the \
             body 2 and 5.5.",
            number(cores("Amazon-670K", "SLIDE", 44) / 3600.0),
            number(cores("Amazon-670K", "TF-GPU", 44) / 3600.0),
        ),
        format!(
            "Times are first crossings of the read curves. The reading's ±0.002 on P@1 moves them: between P@1 0.298 and \
             0.302 SLIDE's time in figure 5 grows by {:.0} %.",
            spread * 100.0
        ),
    ]
}

fn closing_blocks(records: &Records, links: &Links, blocks: &mut Vec<Block>) {
    let Links { studies, parts, .. } = links;
    blocks.push(Block::Section { id: "not-run".into(), title: "What did not run".into() });
    match tables::troubles(studies) {
        Some(table) => blocks.push(Block::Table(table)),
        None => blocks.push(Block::Text("Everything that was asked for ran to its end.".into())),
    }
    blocks.push(Block::Section { id: "machines".into(), title: "Machines".into() });
    let machines: Vec<&Machine> = records.machines();
    match tables::machines(&machines) {
        Some(table) => blocks.push(Block::Table(table)),
        None => blocks.push(Block::Text("No `machine.toml` lies beside the records.".into())),
    }
    blocks.push(Block::Section { id: "method".into(), title: "Method".into() });
    blocks.push(Block::List(METHOD.iter().map(ToString::to_string).collect()));
    blocks.push(Block::Section { id: "records".into(), title: "Raw records".into() });
    blocks.push(Block::Text(
        "Every number above is computed from these files, and each figure's own numbers lie beside it as CSV.".into(),
    ));
    let used = |path: &PathBuf| {
        studies.iter().any(|study| study.files.contains(path)) || parts.iter().any(|part| part.file == *path)
    };
    let link = |path: &Path, note: &str| {
        let shown: Vec<String> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
        let shown = shown.into_iter().rev().collect::<Vec<_>>().join("/");
        format!("{}{note}", links.file(path, &shown))
    };
    let mut files = Vec::new();
    for file in &records.files {
        let rows = format!(", {} rows", file.rows.len() + file.observations.len());
        let note = if used(&file.path) { rows } else { format!("{rows}, superseded by a later run") };
        files.push(link(&file.path, &note));
    }
    blocks.push(Block::List(files));
    if !records.warnings.is_empty() {
        blocks.push(Block::Subsection("Passed over while reading".into()));
        blocks.push(Block::List(records.warnings.iter().map(|warning| plain(&shorten(warning))).collect()));
    }
}

/// A warning with the folders above the record's own left out: they name this machine's disks, not its records.
fn shorten(warning: &str) -> String {
    let (path, rest) = warning.split_once(".csv").map_or((warning, ""), |(path, rest)| (path, rest));
    let path: Vec<&str> = path.rsplit(['/', '\\']).take(2).collect();
    let path = path.into_iter().rev().collect::<Vec<_>>().join("/");
    if rest.is_empty() { path } else { format!("{path}.csv{rest}") }
}

const METHOD: [&str; 8] = [
    "**Same start, same order.** In an experiment every engine gets the same initial parameters, batches, loss, \
     optimiser and, unless a recorded search found better, learning rate; a search gives every engine the same budget.",
    "**Three clocks.** Device or kernel time; the training loop with its data, which is what curves and ratios use; and \
     everything. Table rebuilds are inside all three; evaluation stops the first two; set-up is recorded apart.",
    "**CPU seconds** are those of the whole process during training, over all threads, so that busy neighbours and \
     thread counts do not decide. They do not see a GPU's work, so no engine on a GPU has a ratio in them.",
    "**Accuracy** is P@1, P@3, P@5 by all logits unless a row says hashed: on a fixed shuffled sample of the test set \
     during training, on the whole test set at the end.",
    "**Seeds.** Medians and ranges over seeds. A target that most runs did not reach reads “not reached”. A ratio is \
     that of the medians, its range that of the seeds pair by pair; one that is not on the same side of 1 with every \
     seed is called neither sooner nor later.",
    "**Failures are rows.** What was skipped or failed is listed with its reason.",
    "**Software adapters** compute on the CPU. They are labelled so, and stand in no verdict and no ratio.",
    "**Newest first.** Where a machine ran the same engine of an experiment more than once, the newest run counts and \
     the others are listed as superseded.",
];

/// Processor, cores, memory, GPU: one line.
fn machine_line(study: &Study) -> String {
    study.machine.as_ref().map_or_else(|| plain(&study.label), machine_in_words)
}

fn machine_in_words(machine: &Machine) -> String {
    let gpu = match machine.adapters.iter().find(|adapter| !adapter.software) {
        Some(adapter) => plain(&adapter.name),
        None => "no GPU".into(),
    };
    let cores = match machine.cpu.physical_cores {
        1 => "1 core".into(),
        cores => format!("{cores} cores"),
    };
    let memory = super::statistics::bytes(machine.memory_bytes as f64);
    let model = plain(&machine.cpu.model);
    let when = machine.time.get(..10).unwrap_or_default();
    [model, cores, memory, gpu, plain(&machine.os), when.into()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" · ")
}

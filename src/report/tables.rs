//! The tables of the report.

use super::document::{Cell, Table, plain};
use super::parts::Part;
use super::runs::{Axis, Contestant, Panel, Run, Study};
use super::statistics::{Spread, bytes, exact, number, share, thousands};
use super::style::Style;
use super::verdict::{SLACK, below, ratio};
use crate::record::{Machine, Row};
use std::collections::BTreeMap;

/// The P@1 targets of a panel: shares of where its best dense engine (or, without one, its best engine) ends, and that
/// end less [`SLACK`].
pub fn targets(panel: &Panel) -> Vec<f64> {
    let ends = panel.contestants.iter().filter(|contestant| contestant.counts()).filter_map(|c| Some(c.end()?.median));
    let best = ends.fold(0.0, f64::max);
    let end = panel.best_dense().and_then(Contestant::end).map_or(best, |end| end.median);
    if end <= SLACK {
        return Vec::new();
    }
    let mut targets = [0.5, 0.75, 0.9].map(|part| (part * end * 100.0).round() / 100.0).to_vec();
    targets.push(below(end));
    targets.retain(|target| *target > 0.0);
    targets.dedup();
    targets
}

fn target_text(target: f64) -> String {
    if ((target * 100.0).round() - target * 100.0).abs() < 1e-9 { format!("{target:.2}") } else { share(target) }
}

fn name(contestant: &Contestant) -> Cell {
    Cell::coloured(plain(&contestant.name), contestant.style.class())
}

fn dash(text: Option<String>) -> Cell {
    text.unwrap_or_else(|| "–".into()).into()
}

/// Seconds to each target, by the training clock and in CPU seconds.
pub fn time_to_accuracy(panel: &Panel, id: &str) -> Option<Table> {
    let targets = targets(panel);
    let columns: Vec<String> = targets.iter().map(|target| format!("#P@1 {}", target_text(*target))).collect();
    let columns: Vec<&str> = ["engine", "seconds of"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let mut table = Table::new(id, format!("Seconds to reach a P@1 on {}", plain(&panel.dataset)), &columns);
    for contestant in panel.contestants.iter().filter(|contestant| !contestant.runs.is_empty()) {
        for (axis, clock) in [(Axis::TrainSeconds, "training"), (Axis::CpuSeconds, "CPU")] {
            let cells = targets.iter().map(|&target| contestant.reached(axis, target).text(number).into());
            table.rows.push([name(contestant), clock.into()].into_iter().chain(cells).collect());
        }
    }
    (!targets.is_empty() && !table.rows.is_empty()).then_some(table)
}

/// How many times sooner each contestant reaches each target than the dense engines do.
pub fn ratios(panel: &Panel, id: &str) -> Option<Table> {
    let targets = targets(panel);
    let columns: Vec<String> = targets.iter().map(|target| format!("#P@1 {}", target_text(*target))).collect();
    let columns: Vec<&str> =
        ["engine", "against", "ratio of"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let caption = format!("How many times sooner on {} (below 1: later)", plain(&panel.dataset));
    let mut table = Table::new(id, caption, &columns);
    let best = panel.best_dense();
    let named = ["dense-cpu", "dense-gpu"].into_iter().filter_map(|name| panel.find(name));
    let others = named.filter(|other| best.is_none_or(|best| best.name != other.name));
    for baseline in best.into_iter().chain(others) {
        for contestant in panel.contestants.iter().filter(|c| c.counts() && c.name != baseline.name) {
            for (axis, clock) in [(Axis::TrainSeconds, "training s"), (Axis::CpuSeconds, "CPU s")] {
                let gpu = [contestant, baseline].iter().any(|c| matches!(c.style, Style::DenseGpu | Style::LshGpu));
                if gpu && axis == Axis::CpuSeconds {
                    continue;
                }
                let cells = targets.iter().map(|&target| {
                    let ratio = ratio(contestant, baseline, axis, target);
                    dash(ratio.map(|ratio| ratio.text(|value| format!("{value:.2}"))))
                });
                let names = [name(contestant), name(baseline), clock.into()];
                table.rows.push(names.into_iter().chain(cells).collect());
            }
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Where each engine ends on the whole test set, and what it took.
pub fn accuracy(study: &Study, id: &str) -> Option<Table> {
    let mut table = Table::new(
        id,
        "The whole test set at the end of training, and what training took",
        &["data", "engine", "#seeds", "#P@1", "#P@3", "#P@5", "#training s", "#CPU s", "#s an epoch"],
    );
    for (panel, contestant) in contestants(study) {
        let full = |figure: fn(&Row) -> Option<f64>| dash(contestant.full(figure).map(|spread| spread.text(share)));
        table.row([
            plain(&panel.dataset).into(),
            name(contestant),
            contestant.runs.len().to_string().into(),
            full(|row| row.p1),
            full(|row| row.p3),
            full(|row| row.p5),
            dash(contestant.last(|row| row.train_s).map(|spread| spread.text(number))),
            dash(contestant.last(|row| row.cpu_s).map(|spread| spread.text(number))),
            dash(contestant.epoch_seconds().map(|spread| spread.text(number))),
        ]);
        let hashed = |figure: fn(&Row) -> Option<f64>| {
            let values = contestant.runs.iter().filter_map(|run: &Run| run.hashed.as_ref().and_then(figure));
            dash(Spread::of(values).map(|spread| spread.text(share)))
        };
        if contestant.runs.iter().any(|run| run.hashed.is_some()) {
            let name =
                Cell::coloured(format!("{}, hashed inference", plain(&contestant.name)), contestant.style.class());
            let seeds = contestant.runs.iter().filter(|run| run.hashed.is_some()).count().to_string();
            let [p1, p3, p5] = [hashed(|row| row.p1), hashed(|row| row.p3), hashed(|row| row.p5)];
            let blank = || Cell::from("");
            table.row([plain(&panel.dataset).into(), name, seeds.into(), p1, p3, p5, blank(), blank(), blank()]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// How many neurons computed, how much memory was held, how hard the machine worked.
pub fn work(study: &Study, id: &str) -> Option<Table> {
    let mut table = Table::new(
        id,
        "Work and memory",
        &[
            "data",
            "engine",
            "#active neurons a sample",
            "#labels, selected, fill",
            "#distinct a batch",
            "#GFLOP/s",
            "#GB/s",
            "#share of roofline",
            "#held, host",
            "#held, device",
            "#peak of process",
        ],
    );
    for (panel, contestant) in contestants(study) {
        let median = |figure: &dyn Fn(&Row) -> Option<f64>| contestant.last(figure).map(|spread| spread.median);
        let whole = |value: f64| if value >= 100.0 { thousands(value.round() as i64) } else { number(value) };
        let active = median(&|row| row.active_mean).map(|mean| {
            let output = match (median(&|row| row.active_p5), median(&|row| row.active_p95)) {
                (Some(p5), Some(p95)) => format!("{} ({} to {})", whole(mean), whole(p5), whole(p95)),
                _ => whole(mean),
            };
            let also = |name: &str, figure: &dyn Fn(&Row) -> Option<f64>| {
                median(figure).map(|neurons| format!(", {name} {}", whole(neurons))).unwrap_or_default()
            };
            output + &also("backward", &|row| row.active_backward) + &also("hidden", &|row| row.hidden_active)
        });
        let origins = [&|row: &Row| row.active_labels, &|row: &Row| row.active_selected, &|row: &Row| row.active_fill]
            as [&dyn Fn(&Row) -> Option<f64>; 3];
        let origins: Option<Vec<String>> = origins.into_iter().map(|origin| median(origin).map(whole)).collect();
        let rates = rates(contestant);
        let memory = |figure: fn(&Row) -> Option<u64>| {
            dash(median(&|row| figure(row).map(|bytes| bytes as f64)).filter(|held| *held > 0.0).map(bytes))
        };
        table.row([
            plain(&panel.dataset).into(),
            name(contestant),
            active.unwrap_or_else(|| "all".into()).into(),
            dash(origins.map(|origins| origins.join(", "))),
            dash(median(&|row| row.distinct).map(whole)),
            dash(rates.map(|(flops, _)| number(flops / 1e9))),
            dash(rates.map(|(_, bytes)| number(bytes / 1e9))),
            dash(study.machine.as_ref().and_then(|machine| roofline(contestant, machine))),
            memory(|row| row.host_bytes),
            memory(|row| row.device_bytes),
            memory(|row| row.peak_rss_bytes),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// FLOP/s and B/s over the device clock, medians over runs of the last evaluation.
pub fn rates(contestant: &Contestant) -> Option<(f64, f64)> {
    let rate = |figure: fn(&Row) -> Option<f64>| {
        contestant.last(|row| {
            let a_step = row.device_s.filter(|seconds| *seconds > 0.0)? / row.step as f64;
            Some(figure(row)? / a_step)
        })
    };
    Some((rate(|row| row.flops_per_step)?.median, rate(|row| row.bytes_per_step)?.median))
}

/// The share of whichever of the two limits binds: `62 % of FLOP/s`.
fn roofline(contestant: &Contestant, machine: &Machine) -> Option<String> {
    let (flops, moved) = rates(contestant)?;
    let device = if matches!(contestant.style, Style::DenseGpu | Style::LshGpu) { "gpu" } else { "cpu" };
    let compute = flops / machine.peak(device, "flops_per_s")?;
    let memory = moved / machine.peak(device, "bytes_per_s")?;
    let (share, limit) = if compute >= memory { (compute, "FLOP/s") } else { (memory, "B/s") };
    (!contestant.software).then(|| format!("{:.0} % of {limit}", share * 100.0))
}

/// What the learning-rate search saw: mean P@1 of the evaluations in the last pass of each try.
pub fn search(study: &Study, id: &str) -> Option<Table> {
    let searched = |contestant: &&Contestant| contestant.search.iter().any(|row| row.p1.is_some());
    let mut rates: Vec<f32> = study
        .panels
        .iter()
        .flat_map(|panel| panel.contestants.iter().filter(searched))
        .flat_map(|contestant| contestant.search.iter().map(|row| row.learning_rate))
        .collect();
    rates.sort_by(f32::total_cmp);
    rates.dedup();
    let columns: Vec<String> = rates.iter().map(|rate| format!("#{rate}")).collect();
    let columns: Vec<&str> = ["data", "engine"].into_iter().chain(columns.iter().map(String::as_str)).collect();
    let mut table = Table::new(
        id,
        "Learning-rate search: P@1 over the last pass of every try, on training rows held out",
        &columns,
    );
    for panel in &study.panels {
        for contestant in panel.contestants.iter().filter(searched) {
            let end = |rate: f32| {
                let rows = || contestant.search.iter().filter(|row| row.learning_rate == rate && row.p1.is_some());
                let last = rows().map(|row| row.epoch).max_by(f64::total_cmp)?;
                // By step: the last is evaluated twice, as any other and as the end.
                let late = rows().filter(|row| row.epoch > last - 0.999).map(|row| (row.step, row.p1));
                let p1: Vec<f64> = late.collect::<BTreeMap<_, _>>().into_values().flatten().collect();
                Some(p1.iter().sum::<f64>() / p1.len() as f64)
            };
            let best = rates.iter().filter_map(|&rate| end(rate)).fold(0.0, f64::max);
            let cells = rates.iter().map(|&rate| match end(rate) {
                Some(p1) if p1 == best => format!("**{}**", share(p1)).into(),
                p1 => dash(p1.map(share)),
            });
            table.rows.push([plain(&panel.dataset).into(), name(contestant)].into_iter().chain(cells).collect());
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Whatever did not run, or did not end, and why.
pub fn troubles(studies: &[Study]) -> Option<Table> {
    let mut table = Table::new(
        "troubles",
        "Skipped, failed, interrupted",
        &["experiment", "machine", "data", "engine", "what happened", "why"],
    );
    for study in studies {
        for panel in &study.panels {
            for contestant in &panel.contestants {
                for (status, reason) in contestant.reasons() {
                    table.row([
                        plain(&study.experiment).into(),
                        plain(&study.label).into(),
                        plain(&panel.dataset).into(),
                        name(contestant),
                        Cell { text: plain(status), class: Some(format!("badge {}", status_class(status))) },
                        plain(if reason.is_empty() { "no reason was recorded" } else { reason }).into(),
                    ]);
                }
            }
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

fn status_class(status: &str) -> &'static str {
    match status {
        "skipped" => "grey",
        "failed" => "red",
        _ => "amber",
    }
}

/// What each machine is.
pub fn machines(machines: &[&Machine]) -> Option<Table> {
    let columns: Vec<&str> = [""].into_iter().chain(machines.iter().map(|machine| machine.label.as_str())).collect();
    let mut table = Table::new("machine", "The machines the records come from", &columns);
    let mut fact = |title: &str, of: &dyn Fn(&Machine) -> String| {
        let cells: Vec<String> = machines.iter().map(|machine| of(machine)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let cells = cells.into_iter().map(|cell| Cell::from(plain(&cell)));
            table.rows.push([Cell::from(title)].into_iter().chain(cells).collect());
        }
    };
    fact("processor", &|m| m.cpu.model.clone());
    fact("cores", &|m| format!("{} physical, {} logical", m.cpu.physical_cores, m.cpu.logical_cores));
    fact("vector extensions", &|m| m.cpu.simd.join(", "));
    fact("caches", &|m| {
        let cache =
            |cache: &crate::record::Cache| format!("L{} {} {}", cache.level, cache.kind, bytes(cache.bytes as f64));
        m.cpu.caches.iter().map(cache).collect::<Vec<_>>().join(", ")
    });
    fact("memory", &|m| bytes(m.memory_bytes as f64));
    fact("huge pages", &|m| m.huge_pages.clone());
    fact("GPU adapters", &|m| {
        let adapter = |adapter: &crate::record::Adapter| {
            let kind = if adapter.software { "software, not a GPU" } else { adapter.kind.as_str() };
            let facts = [kind, &adapter.backend, &adapter.driver].map(str::trim);
            format!(
                "{} ({})",
                adapter.name,
                facts.iter().filter(|f| !f.is_empty()).copied().collect::<Vec<_>>().join(", ")
            )
        };
        let list = m.adapters.iter().map(adapter).collect::<Vec<_>>().join("; ");
        if list.is_empty() { "none".into() } else { list }
    });
    fact("system", &|m| [m.os.as_str(), m.kernel.as_str()].join(" ").trim().into());
    fact("slidebench", &|m| [m.build.slidebench.as_str(), m.build.revision.as_str()].join(" ").trim().into());
    fact("compiler", &|m| {
        let parts = [&m.build.rustc, &m.build.target, &m.build.profile, &m.build.rustflags];
        parts.iter().filter(|part| !part.is_empty()).map(|part| part.as_str()).collect::<Vec<_>>().join("; ")
    });
    fact("flags", &|m| m.flags.join(" "));
    fact("roofline", &|m| m.roofline.as_ref().map(peaks).unwrap_or_default());
    (!machines.is_empty()).then_some(table)
}

/// Measured peaks in words: every number of the free-form table with its dotted name.
fn peaks(table: &toml::Table) -> String {
    fn walk(prefix: &str, table: &toml::Table, found: &mut Vec<String>) {
        for (key, value) in table {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix} {key}") };
            match value {
                toml::Value::Table(inner) => walk(&name, inner, found),
                toml::Value::Float(value) => found.push(format!("{} {}", name.replace('_', " "), number(*value))),
                toml::Value::Integer(value) => found.push(format!("{} {}", name.replace('_', " "), thousands(*value))),
                other => found.push(format!("{} {other}", name.replace('_', " "))),
            }
        }
    }
    let mut found = Vec::new();
    walk("", table, &mut found);
    found.join("; ")
}

/// One row a contestant: what `cargo bench` prints at its end.
pub fn summary(study: &Study, id: &str) -> Table {
    let mut table = Table::new(
        id,
        format!("Summary of {} on {}", plain(&study.experiment), plain(&study.label)),
        &[
            "data",
            "engine",
            "#seeds",
            "#P@1",
            "#training s",
            "#CPU s",
            "#target P@1",
            "#s to target",
            "#CPU s to target",
            "#times sooner than the best dense",
        ],
    );
    for panel in &study.panels {
        let target = targets(panel).last().copied();
        for contestant in panel.contestants.iter().filter(|contestant| !contestant.runs.is_empty()) {
            let reached = |axis| dash(target.map(|target| median_text(contestant, axis, target)));
            let sooner = panel.best_dense().filter(|_| contestant.counts()).and_then(|baseline| {
                ratio(contestant, baseline, Axis::TrainSeconds, target?).map(|ratio| format!("{:.2}", ratio.median))
            });
            table.row([
                plain(&panel.dataset).into(),
                name(contestant),
                contestant.runs.len().to_string().into(),
                dash(contestant.full(|row| row.p1).or(contestant.end()).map(|p1| share(p1.median))),
                dash(contestant.last(|row| row.train_s).map(|seconds| number(seconds.median))),
                dash(contestant.last(|row| row.cpu_s).map(|seconds| number(seconds.median))),
                dash(target.map(share)),
                reached(Axis::TrainSeconds),
                reached(Axis::CpuSeconds),
                dash(sooner),
            ]);
        }
    }
    table
}

/// What a step costs: for studies that ask about nothing else.
pub fn steps(study: &Study, id: &str) -> Option<Table> {
    let mut table = Table::new(
        id,
        format!("The cost of a step: {} on {}", plain(&study.experiment), plain(&study.label)),
        &[
            "data",
            "engine",
            "#seeds",
            "#batch",
            "#threads",
            "#steps",
            "#ms a step",
            "#CPU ms a step",
            "#P@1 at the end",
        ],
    );
    for (panel, contestant) in contestants(study) {
        let cost = |clock| dash(contestant.a_step(clock).map(|spread| spread.text(|seconds| number(seconds * 1e3))));
        let whole = |figure: fn(&Row) -> u64| {
            dash(contestant.last(|row| Some(figure(row) as f64)).map(|spread| thousands(spread.median as i64)))
        };
        table.row([
            plain(&panel.dataset).into(),
            name(contestant),
            contestant.runs.len().to_string().into(),
            whole(|row| row.batch as u64),
            whole(|row| row.threads as u64),
            whole(|row| row.step),
            cost(Axis::TrainSeconds),
            if contestant.on_gpu() { "–".into() } else { cost(Axis::CpuSeconds) },
            dash(contestant.full(|row| row.p1).or(contestant.end()).map(|p1| share(p1.median))),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// A line for each engine that did not run or end: `dense-gpu on moby: skipped: no GPU adapter`.
pub fn trouble_lines(study: &Study) -> Vec<String> {
    let mut lines = Vec::new();
    for panel in &study.panels {
        for contestant in &panel.contestants {
            for (status, reason) in contestant.reasons() {
                lines.push(plain(&format!("{} on {}: {status}: {reason}", contestant.name, panel.dataset)));
            }
        }
    }
    lines
}

fn median_text(contestant: &Contestant, axis: Axis, target: f64) -> String {
    contestant.reached(axis, target).median().map_or_else(|| "not reached".into(), number)
}

fn contestants(study: &Study) -> impl Iterator<Item = (&Panel, &Contestant)> {
    let all = study.panels.iter().flat_map(|panel| panel.contestants.iter().map(move |contestant| (panel, contestant)));
    all.filter(|(_, contestant)| !contestant.runs.is_empty())
}

/// What a measurement of parts saw: a row a case and x, a column a quantity.
pub fn part(part: &Part, id: &str) -> Table {
    let quantities = part.quantities();
    let title = |(quantity, unit): &(&str, &str)| match *unit {
        "" | "share" | "probability" => format!("#{}", plain(quantity)),
        unit => format!("#{}, {}", plain(quantity), plain(unit)),
    };
    let x_name = part.x_name();
    let mut titles = vec!["case".to_string()];
    titles.extend(x_name.map(|name| format!("#{}", plain(name))));
    titles.extend(quantities.iter().map(title));
    let caption = "Medians over repeats, with the range.";
    let mut table = Table::new(id, caption, &titles.iter().map(String::as_str).collect::<Vec<_>>());
    for case in part.cases() {
        let series: Vec<_> = quantities.iter().map(|(quantity, unit)| part.series(case, quantity, unit)).collect();
        let mut xs: Vec<Option<f64>> = series.iter().flatten().map(|(x, _)| *x).collect();
        xs.sort_by(|a, b| a.unwrap_or(f64::NAN).total_cmp(&b.unwrap_or(f64::NAN)));
        xs.dedup();
        for x in xs {
            let mut row: Vec<Cell> = vec![plain(case).into()];
            row.extend(x_name.map(|_| x.map_or("–".into(), exact).into()));
            row.extend(series.iter().map(|series| -> Cell {
                let value = series.iter().find(|(at, _)| *at == x);
                value.map_or("–".into(), |(_, spread)| spread.text(number)).into()
            }));
            table.rows.push(row);
        }
    }
    table
}

/// Why cases of a measurement have no value, each reason once.
pub fn part_troubles(part: &Part) -> Vec<String> {
    let failed = part.seen.iter().filter(|one| !one.reason.is_empty());
    let mut lines: Vec<String> = failed
        .map(|one| {
            [one.case.as_str(), &one.reason].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>().join(": ")
        })
        .map(|line| plain(&line))
        .collect();
    lines.dedup();
    lines
}

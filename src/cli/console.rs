//! Progress on stderr: a bar on a terminal, plain occasional lines elsewhere, nothing with `--quiet`.

use crate::data;
use crate::harness::{Event, Observer};
use crate::record::Row;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Least time between two plain lines about one run.
const PLAIN: Duration = Duration::from_secs(10);

/// Tells how a run goes.
pub(super) struct Console {
    quiet: bool,
    terminal: bool,
    /// There while something runs on a terminal.
    bar: Option<ProgressBar>,
    /// The run that is on, counted from 1, of all.
    turn: usize,
    runs: usize,
    run: String,
    loss: Option<f64>,
    p1: Option<f64>,
    told: Instant,
    last: Option<Row>,
}

impl Console {
    /// For so many runs.
    pub(super) fn new(quiet: bool, runs: usize) -> Self {
        let (terminal, told) = (std::io::stderr().is_terminal(), Instant::now());
        Self { quiet, terminal, bar: None, turn: 0, runs, run: String::new(), loss: None, p1: None, told, last: None }
    }

    /// Prints a line above the bar.
    pub(super) fn say(&self, line: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Loss and P@1 as far as they are known.
    fn quality(&self) -> String {
        let mut parts = vec![];
        parts.extend(self.loss.map(|loss| format!("loss {loss:.3}")));
        parts.extend(self.p1.map(|p1| format!("P@1 {p1:.3}")));
        parts.join("  ")
    }
}

fn bar() -> ProgressBar {
    // No ticker thread: it would run, and count, while engines are timed.
    let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{prefix}  {bar:24}  {msg}").expect("a fixed template");
    bar.with_style(style.progress_chars("━╸ "))
}

/// Tells how far the reading or making of data has come.
pub(super) struct Reading {
    quiet: bool,
    bar: Option<ProgressBar>,
}

impl Reading {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(bar);
        Self { quiet, bar }
    }
}

impl data::Progress for Reading {
    fn advance(&self, stage: &str, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(stage.to_owned());
            bar.set_position((done * 1000).checked_div(total).unwrap_or(0));
        }
    }

    fn warn(&self, message: &str) {
        if !self.quiet {
            eprintln!("warning: {message}");
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Seconds as people say them: `0.8 s`, `42 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

impl Observer for Console {
    fn observe(&mut self, event: Event<'_>) {
        if self.quiet {
            return;
        }
        match event {
            Event::Started { engine, dataset, seed, learning_rate, stage } => {
                self.turn += 1;
                let what = if stage == "search" { format!("rate {learning_rate}") } else { format!("seed {seed}") };
                self.run = format!("{}/{}  {dataset}  {engine}  {what}", self.turn, self.runs);
                (self.loss, self.p1, self.last, self.told) = (None, None, None, Instant::now());
                if self.terminal {
                    let bar = self.bar.insert(bar());
                    bar.set_prefix(self.run.clone());
                    bar.set_message("setting up");
                } else {
                    eprintln!("{}: begins", self.run);
                }
            }
            Event::Resumed { engine, dataset, seed } => {
                self.turn += 1;
                let turn = format!("{}/{}", self.turn, self.runs);
                self.say(&format!(
                    "{turn}  {dataset}  {engine}  seed {seed}: already in the records (--fresh repeats it)"
                ));
            }
            Event::Progress { samples, seconds, done, epoch, .. } => {
                let rate = samples as f64 / seconds.max(1e-9);
                let left = if done > 0.0 { duration(seconds * (1.0 - done) / done) } else { "?".into() };
                let line = format!("{}  {rate:.0} samples/s  {left} left", self.quality());
                match &self.bar {
                    Some(bar) => {
                        bar.set_position((done * 1000.0) as u64);
                        bar.set_message(line);
                    }
                    None if self.told.elapsed() >= PLAIN => {
                        self.told = Instant::now();
                        eprintln!("{}: epoch {epoch:.2}  {line}", self.run);
                    }
                    None => {}
                }
            }
            Event::Evaluating { rows } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("{}  evaluating {rows} rows", self.quality()));
                }
            }
            Event::Row(row) => {
                self.loss = row.loss.or(self.loss);
                self.p1 = row.p1.or(self.p1);
                self.last = Some(row.clone());
            }
            Event::Ended => {
                self.bar.take().inspect(ProgressBar::finish_and_clear);
                if let Some(row) = self.last.take() {
                    self.say(&format!("{}: {}", self.run, ending(&row)));
                }
            }
        }
    }
}

/// The last row of a run in a line.
fn ending(row: &Row) -> String {
    if row.status != "ok" {
        return format!("{}: {}", row.status, row.reason);
    }
    let p1 = row.p1.map_or("nothing to evaluate".into(), |p1| format!("P@1 {p1:.4}"));
    let train = row.train_s.map_or(String::new(), |s| format!(" after {} of training", duration(s)));
    let epochs = format!("{:.2} epochs", row.epoch);
    let cpu = row.cpu_s.map_or(String::new(), |s| format!(", {} of CPU time", duration(s)));
    format!("{p1}{train} ({epochs}{cpu})")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_people_say_them() {
        let said = [0.84, 9.96, 42.4, 59.6, 200.0, 7500.0].map(duration);
        assert_eq!(said, ["0.8 s", "10 s", "42 s", "1 min 0 s", "3 min 20 s", "2 h 5 min"]);
    }
}

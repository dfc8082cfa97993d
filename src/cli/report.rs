//! `slidebench report`: from records to figures, tables and a page.

use super::End;
use crate::report;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the records are; may be given several times, to put several machines in one report
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: Vec<PathBuf>,
    /// Where the report goes
    #[arg(long, default_value = "reports", value_name = "FOLDER")]
    reports: PathBuf,
    /// Renew the parts of this file between `<!-- slidebench:NAME -->` markers, instead of writing the report
    #[arg(long, value_name = "FILE")]
    splice: Option<PathBuf>,
    /// Check that those parts of this file say what the records say, and write nothing
    #[arg(long, value_name = "FILE", conflicts_with = "splice")]
    check: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    if let Some(readme) = &arguments.check {
        report::check(readme, &arguments.results)?;
        println!("{}: agrees with the records", readme.display());
    } else if let Some(readme) = &arguments.splice {
        let changed = report::splice(readme, &arguments.results)?;
        println!("{}: {}", readme.display(), if changed { "renewed" } else { "already up to date" });
    } else {
        let summary = render(&arguments.results, &arguments.reports)?;
        println!("{}\nreport: {}", summary.verdict, summary.page.display());
    }
    Ok(End::Done)
}

/// Writes the report; what was passed over goes to standard error.
pub(super) fn render(results: &[PathBuf], reports: &Path) -> anyhow::Result<report::Summary> {
    let summary = report::render(results, reports)?;
    for warning in &summary.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(summary)
}

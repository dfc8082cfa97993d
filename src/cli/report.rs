//! `slidebench report`: from records to figures.

use super::End;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the records are
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    results: PathBuf,
    /// Where the report goes
    #[arg(long, default_value = "reports", value_name = "FOLDER")]
    reports: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<End> {
    render(&arguments.results, &arguments.reports)?;
    Ok(End::Done)
}

/// Draws the report.
pub(super) fn render(_results: &Path, _reports: &Path) -> anyhow::Result<()> {
    Ok(())
}

//! What the records mean: figures, tables, the report page. Reads records only.
//!
//! ```text
//! records ──► runs (who ran what) ──► verdict, claims, tables, figures ──► document ──► HTML, Markdown, plain text
//! ```
//!
//! Every number in the output is computed here from rows; nothing is typed in. [`render`] writes the whole report,
//! [`table`] is what `cargo bench` prints at its end, [`splice`] keeps a README's figures equal to the records.

mod axis;
mod bars;
mod canvas;
mod claims;
mod contents;
mod document;
mod figures;
mod links;
mod measured;
mod page;
mod parts;
mod plot;
mod projection;
mod published;
mod runs;
mod splice;
mod statistics;
mod style;
mod svg;
mod sweep;
mod tables;
mod verdict;

pub use splice::{check, splice};

use crate::record::{File, RecordError, Records, Row, read_dir};
use std::fs;
use std::path::{Path, PathBuf};

/// What [`render`] wrote.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// `index.html`: open this.
    pub page: PathBuf,
    /// `README.md`: the same for a forge.
    pub readme: PathBuf,
    /// Figures, as SVG and as CSV.
    pub figures: Vec<PathBuf>,
    /// Rows read.
    pub rows: usize,
    /// The verdict, without markup.
    pub verdict: String,
    /// Records that were passed over, each with file, line and reason.
    pub warnings: Vec<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("no records under {0}; run `cargo bench` or `slidebench run default` first, or name another folder")]
    NoRecords(String),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{}: {source}; check that the folder exists and is writable", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {reason}", path.display())]
    Marker { path: PathBuf, line: usize, reason: String },
    #[error("{}: {} no longer agree with the records; run `slidebench report --splice {}`", path.display(), names.join(", "), path.display())]
    Stale { path: PathBuf, names: Vec<String> },
}

impl ReportError {
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Reads every record under `results` (folders, searched in depth) and writes the report into `out`:
/// `index.html`, `README.md`, and `figures/*.svg` with `figures/*.csv` beside them.
///
/// # Errors
/// If there is no record, a folder cannot be read, or `out` cannot be written.
pub fn render(results: &[PathBuf], out: &Path) -> Result<Summary, ReportError> {
    let records = read(results)?;
    let studies = runs::studies(&records);
    let folder = out.join("figures");
    fs::create_dir_all(&folder).map_err(ReportError::io(&folder))?;
    clear(&folder)?;
    let contents = contents::Contents::of(&studies, &records, out);

    let mut figures = Vec::new();
    for figure in contents.figures() {
        for (ending, text) in [("svg", figure.svg()), ("csv", figure.csv.clone())] {
            let path = folder.join(format!("{}.{ending}", figure.name));
            write(&path, &text)?;
            figures.push(path);
        }
    }
    let (page, readme) = (out.join("index.html"), out.join("README.md"));
    write(&page, &page::html(&contents))?;
    write(&readme, &page::markdown(&contents))?;
    Ok(Summary {
        page,
        readme,
        figures,
        rows: records.files.iter().map(|file| file.rows.len() + file.observations.len()).sum(),
        verdict: document::strip(&contents.verdict),
        warnings: records.warnings,
    })
}

/// The summary of these rows as plain text: a line an engine and data set, then what did not run and the verdict.
pub fn table(rows: &[Row]) -> String {
    let records = Records { files: vec![File { rows: rows.to_vec(), ..File::default() }], warnings: Vec::new() };
    let mut text = String::new();
    for study in runs::studies(&records) {
        text += &tables::summary(&study, "").plain();
        for line in tables::trouble_lines(&study) {
            text += &format!("{}\n", document::strip(&line));
        }
        text +=
            &verdict::verdict(&study).map_or_else(String::new, |verdict| format!("\n{}\n", document::strip(&verdict)));
    }
    text
}

/// All records under several folders, as one.
fn read(results: &[PathBuf]) -> Result<Records, ReportError> {
    let mut all = Records::default();
    for folder in results.iter().filter(|folder| folder.exists()) {
        let records = read_dir(folder)?;
        all.files.extend(records.files);
        all.warnings.extend(records.warnings);
    }
    if all.files.iter().all(|file| file.rows.is_empty() && file.observations.is_empty()) {
        let names: Vec<String> = results.iter().map(|folder| folder.display().to_string()).collect();
        return Err(ReportError::NoRecords(names.join(", ")));
    }
    Ok(all)
}

/// Removes the figures of an earlier report, so that none is left of an experiment that is no longer in the records.
fn clear(folder: &Path) -> Result<(), ReportError> {
    for entry in fs::read_dir(folder).map_err(ReportError::io(folder))? {
        let path = entry.map_err(ReportError::io(folder))?.path();
        let ours = path.extension().is_some_and(|ending| ending == "svg" || ending == "csv");
        if ours && path.is_file() {
            fs::remove_file(&path).map_err(ReportError::io(&path))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    fs::write(path, text).map_err(ReportError::io(path))
}

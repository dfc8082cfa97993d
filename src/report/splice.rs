//! Keeping a README equal to the records: text between `<!-- slidebench:NAME -->` and `<!-- /slidebench:NAME -->` is
//! generated.

use super::contents::Contents;
use super::{ReportError, read, runs};
use std::fs;
use std::path::{Path, PathBuf};

const OPEN: &str = "<!-- slidebench:";
const CLOSE: &str = "<!-- /slidebench:";
const END: &str = " -->";

/// Renews every generated part of `readme` from the records under `results`; true if that changed it.
///
/// Names are `verdict`, `question`, `machine-line`, `claims-line` (how many of each verdict), `claims:S04,C12` (a table of
/// these claims), and the names of the report's tables, such as `default-summary`. All are of the machine that leads, the one
/// whose `default` is the newest; `verdict:LABEL`, `machine-line:LABEL` and tables such as `default-LABEL-summary` are of
/// that machine, whichever leads.
///
/// # Errors
/// If a marker is not closed or names nothing, the records cannot be read, or the file cannot be written.
pub fn splice(readme: &Path, results: &[PathBuf]) -> Result<bool, ReportError> {
    let text = fs::read_to_string(readme).map_err(ReportError::io(readme))?;
    let renewed = renew(readme, &text, results)?.0;
    if renewed == text {
        return Ok(false);
    }
    fs::write(readme, renewed).map_err(ReportError::io(readme))?;
    Ok(true)
}

/// Checks that every generated part of `readme` is what the records under `results` say.
///
/// # Errors
/// [`ReportError::Stale`] names the parts that differ; otherwise as [`splice`].
pub fn check(readme: &Path, results: &[PathBuf]) -> Result<(), ReportError> {
    let text = fs::read_to_string(readme).map_err(ReportError::io(readme))?;
    let (_, names) = renew(readme, &text, results)?;
    if names.is_empty() { Ok(()) } else { Err(ReportError::Stale { path: readme.into(), names }) }
}

/// The renewed text, and the names of the parts that differ.
fn renew(path: &Path, text: &str, results: &[PathBuf]) -> Result<(String, Vec<String>), ReportError> {
    let records = read(results)?;
    let studies = runs::studies(&records);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let contents = Contents::of(&studies, &records, folder);
    let wrong = |at: usize, reason: String| ReportError::Marker {
        path: path.into(),
        line: text[..at].matches('\n').count() + 1,
        reason,
    };
    let (mut renewed, mut differ, mut at) = (String::new(), Vec::new(), 0);
    while let Some(found) = text[at..].find(OPEN) {
        let open = at + found;
        let name_at = open + OPEN.len();
        let name = text[name_at..].split_once(END).map(|(name, _)| name).filter(|name| !name.contains('\n'));
        let name = name.ok_or_else(|| wrong(open, format!("a marker is not ended by `{END}`")))?;
        let start = name_at + name.len() + END.len();
        let close = format!("{CLOSE}{name}{END}");
        let stop = text[start..].find(&close).map(|found| start + found);
        let stop = stop.ok_or_else(|| wrong(open, format!("`{name}` is not closed by `{close}`")))?;
        let Some(part) = contents.part(name) else {
            let known = contents.parts().join(", ");
            return Err(wrong(open, format!("`{name}` is no part of the report; there are {known}")));
        };
        let part = format!("\n{}\n", part.trim_end());
        if text[start..stop] != part {
            differ.push(name.to_string());
        }
        renewed += &text[at..start];
        renewed += &part;
        at = stop;
    }
    renewed += &text[at..];
    Ok((renewed, differ))
}

//! Reading records back, forgiving what a killed run or another version leaves behind and saying so.

use super::{Machine, Observation, Provenance, RecordError, Row};
use std::fs;
use std::path::{Path, PathBuf};

/// What a result file holds lines of.
pub trait Line: Default + serde::Serialize + serde::de::DeserializeOwned {
    /// Columns without which a CSV file does not hold them.
    const ESSENTIAL: &[&str];
}

impl Line for Row {
    const ESSENTIAL: &[&str] = &["experiment", "dataset", "engine", "status"];
}

impl Line for Observation {
    const ESSENTIAL: &[&str] = &["experiment", "case", "quantity", "value"];
}

/// One record file with the machine it came from.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub path: PathBuf,
    /// From `machine.toml` in the same folder.
    pub machine: Option<Machine>,
    /// From the TOML file of the same name: the experiment as it was run.
    pub provenance: Option<Provenance>,
    /// Evaluations of training runs; empty in a file of measurements.
    pub rows: Vec<Row>,
    /// Measurements; empty in a file of training runs.
    pub observations: Vec<Observation>,
    /// What was passed over, each with file and line.
    pub warnings: Vec<String>,
}

/// Every record under a folder, files in path order, rows in the order they were written.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub files: Vec<File>,
    /// What was passed over, each with file and line.
    pub warnings: Vec<String>,
}

impl Records {
    /// All rows of all files.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.files.iter().flat_map(|file| &file.rows)
    }

    /// Every machine that records came from, each once, in file order.
    pub fn machines(&self) -> Vec<&Machine> {
        let mut machines: Vec<&Machine> = Vec::new();
        for machine in self.files.iter().filter_map(|file| file.machine.as_ref()) {
            if !machines.iter().any(|known| known.label == machine.label) {
                machines.push(machine);
            }
        }
        machines
    }
}

/// Reads every record file under `folder`, however deep. CSV files that are not records (no `engine` column and so
/// on) are passed over; so are rows that do not parse, with a warning.
///
/// # Errors
/// If the folder or a file in it cannot be read.
pub fn read_dir(folder: &Path) -> Result<Records, RecordError> {
    let mut records = Records::default();
    visit(folder, &mut records)?;
    Ok(records)
}

fn visit(folder: &Path, records: &mut Records) -> Result<(), RecordError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(RecordError::io(folder))? {
        entries.push(entry.map_err(RecordError::io(folder))?.path());
    }
    entries.sort();
    let machine = match Machine::load(folder) {
        Ok(machine) => machine,
        Err(error) => {
            records.warnings.push(error.to_string());
            None
        }
    };
    for path in &entries {
        if path.is_dir() {
            visit(path, records)?;
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            match read_file(path) {
                Ok(file) => {
                    records.warnings.extend(file.warnings.iter().cloned());
                    records.files.push(File { machine: machine.clone(), ..file });
                }
                Err(RecordError::Format { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Reads one record file, without its machine. A last line without its line break was torn by a kill and is left out.
///
/// # Errors
/// If the file cannot be read, or is not a record file.
pub fn read_file(path: &Path) -> Result<File, RecordError> {
    let text = fs::read(path).map_err(RecordError::io(path))?;
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut file = File { path: path.into(), ..File::default() };
    if whole < text.len() {
        file.warnings.push(format!("{}: its last line is torn and was left out", path.display()));
    }
    match Provenance::beside(path) {
        Ok(provenance) => file.provenance = provenance,
        Err(error) => file.warnings.push(error.to_string()),
    }
    if whole == 0 {
        return Ok(file);
    }
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..whole]);
    let foreign = |reason: String| RecordError::Format { path: path.into(), reason };
    let header = reader.headers().map_err(|error| foreign(error.to_string()))?.clone();
    let lacks =
        |columns: &[&'static str]| columns.iter().copied().find(|column| !header.iter().any(|name| name == *column));
    match (lacks(Row::ESSENTIAL), lacks(Observation::ESSENTIAL)) {
        (None, _) => file.rows = lines(&mut reader, &header, path, &mut file.warnings),
        (_, None) => file.observations = lines(&mut reader, &header, path, &mut file.warnings),
        (Some(column), _) => return Err(foreign(format!("not a record file: it has no column `{column}`"))),
    }
    Ok(file)
}

/// Reads a TOML file that stands beside records; none where it is not there.
pub(super) fn toml<T: serde::de::DeserializeOwned>(path: PathBuf) -> Result<Option<T>, RecordError> {
    match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map(Some).map_err(|error| RecordError::Format {
            path,
            reason: format!("{}; restore it or delete it", error.message()),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(RecordError::io(path)(error)),
    }
}

fn lines<R: Line>(
    reader: &mut csv::Reader<&[u8]>,
    header: &csv::StringRecord,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Vec<R> {
    let mut lines = Vec::new();
    for record in reader.records() {
        let row = match &record {
            Ok(record) if record.len() != header.len() => {
                Err(format!("{} cells where the header has {}", record.len(), header.len()))
            }
            Ok(record) => record.deserialize::<R>(Some(header)).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let line = record.ok().and_then(|record| record.position().map(csv::Position::line)).unwrap_or_default();
        match row {
            Ok(row) => lines.push(row),
            Err(reason) => warnings.push(format!("{}:{line}: row left out: {reason}", path.display())),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_and_newer_files_read_and_broken_rows_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.csv");
        fs::write(
            &path,
            "experiment,dataset,engine,status,seed,later\n\
             e,moby,dense-cpu,ok,1,x\n\
             e,moby,dense-cpu,ok,minus one,x\n\
             e,moby,dense-cpu\n\
             e,moby,dense-cpu,ok,2,x\n\
             e,moby,dense-cpu,ok,3",
        )
        .unwrap();
        fs::write(folder.path().join("curve.csv"), "series,x,p_at_1\nSLIDE,1,0.1\n").unwrap();
        let records = read_dir(folder.path()).unwrap();
        assert_eq!(records.rows().map(|row| row.seed).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(records.files.len(), 1);
        assert_eq!(records.warnings.len(), 3, "{:?}", records.warnings);
        assert!(records.warnings.iter().any(|warning| warning.contains("old.csv:3: row left out")));
        assert!(records.warnings.iter().any(|warning| warning.contains("torn")));
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = read_dir(Path::new("no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("no/such/folder") && error.contains("check that"), "{error}");
    }
}

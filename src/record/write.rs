//! Appending rows so that a killed run leaves every finished row readable.

use super::{Line, Machine, RecordError, Row, today};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Appends rows to one CSV file, [`Row`]s unless said otherwise. Each row is one line, handed to the system in one call
/// and synced to disk before [`append`](Writer::append) returns: `kill -9` can tear at most the line being written, and
/// the next [`open`](Writer::open) cuts a torn line off.
#[derive(Debug)]
pub struct Writer<R = Row> {
    path: PathBuf,
    file: File,
    kind: PhantomData<fn(R)>,
}

impl<R: Line> Writer<R> {
    /// Opens `<results>/<today>-<machine>/<experiment>.csv` for appending and writes `machine.toml` beside it.
    ///
    /// An existing file of the same day is continued, so that an interrupted run resumes; read it first with
    /// [`read_file`](super::read_file) to know what is there.
    ///
    /// # Errors
    /// If the folder cannot be written, or the file is not one of ours.
    pub fn create(results: &Path, machine: &Machine, experiment: &str) -> Result<Self, RecordError> {
        let folder = results.join(format!("{}-{}", today(), machine.label));
        machine.save(&folder)?;
        Self::open(&folder.join(format!("{}.csv", super::machine::slug(experiment))))
    }

    /// Opens a record file for appending, creating it and its folder where missing.
    ///
    /// # Errors
    /// If the file cannot be written, or its columns are not those of `R`.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(RecordError::io(folder))?;
        }
        let io = || RecordError::io(path);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io())?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io())?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64).map_err(io())?;
        file.seek(SeekFrom::Start(whole as u64)).map_err(io())?;

        let header = header::<R>();
        if whole == 0 {
            file.write_all(header.as_bytes()).and_then(|()| file.sync_data()).map_err(io())?;
        } else if !text.starts_with(header.as_bytes()) {
            return Err(RecordError::Format {
                path: path.into(),
                reason: "its columns are not those of this version of slidebench, so nothing is appended to it; \
                         move it aside or choose another --results folder"
                    .into(),
            });
        }
        Ok(Self { path: path.into(), file, kind: PhantomData })
    }

    /// Writes the experiment, as it is run, into the TOML file beside the rows; [`Provenance`](super::Provenance) reads
    /// it back.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn describe(&self, experiment: &impl serde::Serialize) -> Result<(), RecordError> {
        let path = self.path.with_extension("toml");
        let text = toml::to_string(experiment)
            .map_err(|error| RecordError::Format { path: path.clone(), reason: error.to_string() })?;
        let text = format!("# As it was run; `slidebench run` with the path of this file repeats it.\n{text}");
        let temporary = path.with_extension("toml.new");
        fs::write(&temporary, text).map_err(RecordError::io(&temporary))?;
        fs::rename(&temporary, &path).map_err(RecordError::io(path))
    }

    /// Where the rows go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one row and waits until it is on disk. Line breaks inside texts become spaces.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn append(&mut self, row: &R) -> Result<(), RecordError> {
        let mut line = line(row, false);
        let end = line.len() - 1;
        line[..end].iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(RecordError::io(&self.path))
    }
}

/// The columns of a record file, in their order.
pub fn columns() -> Vec<String> {
    header::<Row>().trim_end().split(',').map(str::to_owned).collect()
}

fn header<R: Line>() -> String {
    let text = line(&R::default(), true);
    let end = text.iter().position(|&byte| byte == b'\n').map_or(text.len(), |at| at + 1);
    String::from_utf8_lossy(&text[..end]).into_owned()
}

fn line<R: Line>(row: &R, header: bool) -> Vec<u8> {
    let mut csv = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
    csv.serialize(row).expect("a flat row always serialises");
    csv.into_inner().expect("writing to memory cannot fail")
}

#[cfg(test)]
mod tests {
    use super::super::{read_dir, read_file};
    use super::*;

    fn row(step: u64) -> Row {
        Row { experiment: "e".into(), engine: "dense-cpu".into(), status: "ok".into(), step, ..Row::default() }
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.csv");
        let full = Row {
            reason: "needs \"9.1 GiB\", has 8\nfree some".into(),
            loss: Some(f64::NAN),
            p1: Some(0.1 + 0.2),
            learning_rate: 3e-3,
            peak_rss_bytes: Some(u64::MAX),
            software: true,
            ..row(7)
        };
        let mut writer = Writer::<Row>::open(&path).unwrap();
        writer.append(&row(1)).unwrap();
        writer.append(&full).unwrap();
        let rows = read_file(&path).unwrap().rows;
        assert_eq!(rows[0], row(1));
        assert!(rows[1].loss.unwrap().is_nan());
        let expected = Row { loss: rows[1].loss, reason: "needs \"9.1 GiB\", has 8 free some".into(), ..full };
        assert_eq!(format!("{:?}", rows[1]), format!("{expected:?}"));
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_its_whole_lines_and_resumes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.csv");
        let mut writer = Writer::<Row>::open(&path).unwrap();
        (0..3).for_each(|step| writer.append(&row(step)).unwrap());
        let whole = fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = whole[..cut].iter().filter(|&&byte| byte == b'\n').count().saturating_sub(1);
            assert_eq!(read_file(&path).unwrap().rows.len(), lines, "cut at {cut}");
            Writer::<Row>::open(&path).unwrap().append(&row(9)).unwrap();
            let steps: Vec<u64> = read_file(&path).unwrap().rows.iter().map(|row| row.step).collect();
            let expected: Vec<u64> = (0..lines as u64).chain([9]).collect();
            assert_eq!(steps, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_foreign_file_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.csv");
        fs::write(&path, "a,b\n1,2\n").unwrap();
        let error = Writer::<Row>::open(&path).unwrap_err().to_string();
        assert!(error.contains("e.csv") && error.contains("move it aside"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a,b\n1,2\n");
    }

    #[test]
    fn create_names_folder_by_date_and_label() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine { label: "xeon-2c".into(), ..Machine::default() };
        let writer = Writer::<Row>::create(folder.path(), &machine, "default").unwrap();
        assert_eq!(writer.path(), folder.path().join(format!("{}-xeon-2c", today())).join("default.csv"));
        let records = read_dir(folder.path()).unwrap();
        assert_eq!(records.files[0].machine.as_ref().unwrap().label, "xeon-2c");
    }
}

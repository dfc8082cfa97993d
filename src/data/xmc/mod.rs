//! Text files of the [Extreme Classification Repository](http://manikvarma.org/downloads/XC/XMLRepository.html): a first
//! line `rows features labels`, then a line a row.

mod number;
mod parse;

use super::rows::Rows;
use super::{DataError, Dataset, Progress, Source, Weighting, Xmc, compressed, weighting};
use parse::{Mistake, Widths, quote};
use rayon::prelude::*;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

/// Reads both files.
pub(super) fn read(source: &Xmc, progress: &dyn Progress) -> Result<Dataset, DataError> {
    let train = read_file(&source.train, progress)?;
    let test = read_file(&source.test, progress)?;
    if (train.header.inputs, train.header.labels) != (test.header.inputs, test.header.labels) {
        return Err(DataError::file(
            &source.test,
            format!(
                "its first line says {} features and {} labels, that of {} says {} and {}",
                test.header.inputs,
                test.header.labels,
                source.train.display(),
                train.header.inputs,
                train.header.labels
            ),
            "give the two files of one set, or correct their first lines",
        ));
    }
    let (inputs, labels) = (train.header.inputs as usize, train.header.labels as usize);
    let (train, test) = match source.weighting {
        Weighting::None => (train.rows.into_split(), test.rows.into_split()),
        Weighting::TfIdf => {
            check_counts(&source.train, &train.rows)?;
            check_counts(&source.test, &test.rows)?;
            weighting::tf_idf_splits(train.rows, test.rows)
        }
    };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let provenance = format!(
        "{} and {}{}",
        name(&source.train),
        name(&source.test),
        match source.weighting {
            Weighting::None => ", values as in the files",
            Weighting::TfIdf => ", tf-idf of the counts in the files",
        }
    );
    Ok(Dataset::new(Source::Xmc(source.clone()).to_string(), inputs, labels, train, test, provenance))
}

/// Refuses values that cannot be term counts.
fn check_counts(path: &Path, rows: &Rows) -> Result<(), DataError> {
    let Some(entry) = rows.values.iter().position(|&value| value < 1.0) else { return Ok(()) };
    let row = rows.offsets.partition_point(|&offset| offset <= entry as u64) - 1;
    Err(DataError::file(
        path,
        format!(
            "line {} gives feature {} the value {}, but tf-idf is made of term counts, 1 or more",
            row + 2,
            rows.indices[entry],
            rows.values[entry]
        ),
        "leave the weighting out if the values are weights already",
    ))
}

/// The first line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    rows: u64,
    inputs: u64,
    labels: u64,
}

struct Text {
    header: Header,
    rows: Rows,
}

/// The most features or labels a file may speak of. One row of 128 weights for each is 137 GB, and a header that says
/// more is damaged.
const WIDEST: u32 = 1 << 28;

/// Bytes of text that are parsed in one go, and at least by one thread.
const BLOCK: usize = 16 << 20;
const CHUNK: usize = 128 << 10;

fn read_file(path: &Path, progress: &dyn Progress) -> Result<Text, DataError> {
    let file = compressed::open(path)?;
    let stage = format!("reading {}", path.file_name().unwrap_or_default().to_string_lossy());
    let mut lines = Lines { reader: file.reader, rest: vec![], ended: false };
    let first = lines.next_block();
    // One thread reads (and decompresses) the next blocks while the others parse this one.
    std::thread::scope(|scope| {
        let (send, blocks) = mpsc::sync_channel(1);
        if !lines.ended {
            scope.spawn(move || while lines.next_block().is_some_and(|block| send.send(block).is_ok()) {});
        } else {
            drop(send);
        }

        let mut text = None;
        for block in first.into_iter().chain(blocks) {
            let block = block.map_err(|error| DataError::io(path, error))?;
            let mut body = block.as_slice();
            if text.is_none() {
                let end = body.iter().position(|&byte| byte == b'\n').map_or(body.len(), |end| end + 1);
                text = Some(Text { header: header(path, &body[..end])?, rows: Rows::default() });
                body = &body[end..];
            }
            let text = text.as_mut().expect("the first block brought it");
            parse_block(path, body, text)?;
            progress.advance(&stage, file.done.load(Ordering::Relaxed), file.size);
        }
        let mut text = text.ok_or_else(|| no_header(path, "an empty file".into()))?;
        check_row_count(path, &mut text)?;
        Ok(text)
    })
}

/// Parses whole lines in parallel and appends their rows.
fn parse_block(path: &Path, block: &[u8], text: &mut Text) -> Result<(), DataError> {
    let widths = Widths { inputs: text.header.inputs, labels: text.header.labels };
    let mut chunks = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let end = CHUNK.min(rest.len() - 1);
        let end = rest[end..].iter().position(|&byte| byte == b'\n').map_or(rest.len(), |newline| end + newline + 1);
        let (chunk, tail) = rest.split_at(end);
        chunks.push(chunk);
        rest = tail;
    }
    let parsed: Vec<Result<Rows, Mistake>> = chunks.into_par_iter().map(|chunk| parse::rows(chunk, widths)).collect();
    for chunk in parsed {
        let rows = chunk.map_err(|Mistake { line, column, expected, found, remedy }| DataError::Syntax {
            file: path.into(),
            line: (text.rows.len() + line + 2) as u64,
            column: column as u64 + 1,
            expected,
            found,
            remedy,
        })?;
        text.rows.append(&rows);
    }
    Ok(())
}

fn header(path: &Path, line: &[u8]) -> Result<Header, DataError> {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let numbers: Option<Vec<u32>> = words.map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[rows, inputs, labels]) if inputs.max(labels) <= WIDEST => {
            Ok(Header { rows: rows.into(), inputs: inputs.into(), labels: labels.into() })
        }
        _ => Err(no_header(path, quote(line.trim_ascii_end(), 60))),
    }
}

fn no_header(path: &Path, found: String) -> DataError {
    DataError::Syntax {
        file: path.into(),
        line: 1,
        column: 1,
        expected: "three numbers: rows, features, labels (the last two up to 2^28)".into(),
        found,
        remedy: "files of the Extreme Classification Repository begin with them",
    }
}

/// Holds the header against the rows; blank lines after the last row are dropped.
fn check_row_count(path: &Path, text: &mut Text) -> Result<(), DataError> {
    let (said, found) = (text.header.rows as usize, text.rows.len());
    if found < said {
        return Err(DataError::file(
            path,
            format!("its first line says {said} rows, but there are {found}"),
            "the file is cut short or its first line wrong; fetch it again or correct the line",
        ));
    }
    if !text.rows.truncate_blank(said) {
        return Err(DataError::Syntax {
            file: path.into(),
            line: said as u64 + 2,
            column: 1,
            expected: format!("the end of the file after {said} rows, as its first line says"),
            found: format!("{found} rows"),
            remedy: "correct the first line",
        });
    }
    Ok(())
}

/// Cuts a stream into blocks of whole lines.
struct Lines {
    reader: Box<dyn Read + Send>,
    /// The beginning of the next block's first line.
    rest: Vec<u8>,
    ended: bool,
}

impl Lines {
    /// The next block, ending in a newline (one is added to a last line without); `None` after the last.
    fn next_block(&mut self) -> Option<io::Result<Vec<u8>>> {
        let mut block = std::mem::take(&mut self.rest);
        while !self.ended {
            let begin = block.len();
            let read = self.reader.by_ref().take(BLOCK as u64).read_to_end(&mut block);
            self.ended = !matches!(read, Ok(BLOCK));
            if let Err(error) = read {
                return Some(Err(error));
            }
            if let Some(newline) = block[begin..].iter().rposition(|&byte| byte == b'\n')
                && !self.ended
            {
                self.rest = block.split_off(begin + newline + 1);
                return Some(Ok(block));
            }
        }
        if block.is_empty() {
            return None;
        }
        if !block.ends_with(b"\n") {
            block.push(b'\n');
        }
        Some(Ok(block))
    }
}

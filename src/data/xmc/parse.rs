//! Whole lines of text into rows.
//!
//! A line is `label,label,… feature:value feature:value …`, its parts separated by spaces or tabs. A line that begins
//! with white space has no labels, and so has one whose first word holds a colon; a line without words is a row of
//! nothing. Labels and features may stand in any order: they are sorted. A label named twice counts once; the values of
//! a feature named twice are added, which is what readers that go through coordinate lists do.

use super::number::{self, NotAnIndex};
use crate::data::rows::Rows;

/// Above every index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    pub inputs: u64,
    pub labels: u64,
}

/// A place that does not read as it must.
#[derive(Debug)]
pub(super) struct Mistake {
    /// Lines before the one with the mistake.
    pub line: usize,
    /// Bytes before the mistake in its line.
    pub column: usize,
    pub expected: String,
    pub found: String,
    pub remedy: &'static str,
}

/// Parses lines; `text` ends with a newline.
pub(super) fn rows(text: &[u8], widths: Widths) -> Result<Rows, Mistake> {
    debug_assert!(text.ends_with(b"\n") || text.is_empty());
    let mut rows = Rows::default();
    rows.indices.reserve(text.len() / 10);
    rows.values.reserve(text.len() / 10);
    let mut start = 0;
    while start < text.len() {
        let mut line = Line { text, start, at: start, widths };
        line.row(&mut rows).map_err(|problem| {
            let Problem { at, expected, found, remedy } = *problem;
            Mistake { line: rows.len(), column: at - start, expected, found, remedy }
        })?;
        rows.end_row();
        start = line.at;
    }
    Ok(rows)
}

/// A mistake at byte `at` of the text.
struct Problem {
    at: usize,
    expected: String,
    found: String,
    remedy: &'static str,
}

const FORM: &str = "write a row as `label,label feature:value feature:value`";

/// The line that begins at `start`, read up to `at`.
struct Line<'a> {
    text: &'a [u8],
    start: usize,
    at: usize,
    widths: Widths,
}

impl Line<'_> {
    /// Reads the line with its end. Every loop stops at the newline at the latest, and every line has one.
    fn row(&mut self, rows: &mut Rows) -> Result<(), Box<Problem>> {
        self.labels(&mut rows.labels)?;
        let first = rows.indices.len();
        let mut ascending = true;
        loop {
            while matches!(self.text[self.at], b' ' | b'\t') {
                self.at += 1;
            }
            if self.ends() {
                break;
            }
            let index = self.index(self.widths.inputs, "a feature index")?;
            if self.text[self.at] != b':' {
                return Err(self.problem(self.at, "`:` and a value after the feature index", FORM));
            }
            self.at += 1;
            let value = self.value()?;
            ascending &= rows.indices.len() == first || rows.indices[rows.indices.len() - 1] < index;
            rows.indices.push(index);
            rows.values.push(value);
        }
        if !ascending && !sort_and_add(rows, first) {
            return Err(self.problem(self.start, "values whose sum a 32-bit float can hold", "correct the values"));
        }
        Ok(())
    }

    fn labels(&mut self, labels: &mut Vec<u32>) -> Result<(), Box<Problem>> {
        let first = labels.len();
        if self.text[self.at].is_ascii_whitespace() {
            return Ok(());
        }
        loop {
            let before = self.at;
            let digits = number::index(&self.text[self.at..]).map_or(0, |(_, length)| length);
            if labels.len() == first && digits > 0 && self.text[self.at + digits] == b':' {
                return Ok(());
            }
            labels.push(self.index(self.widths.labels, "a label")?);
            match self.text[self.at] {
                b',' => self.at += 1,
                b' ' | b'\t' | b'\r' | b'\n' => break,
                _ => return Err(self.problem(before, "labels separated by commas, then a space", FORM)),
            }
        }
        let row = &mut labels[first..];
        if !row.is_sorted_by(|a, b| a < b) {
            row.sort_unstable();
            let mut row = labels.split_off(first);
            row.dedup();
            labels.append(&mut row);
        }
        Ok(())
    }

    /// Whether the line ends here; then steps over its end.
    fn ends(&mut self) -> bool {
        let length = match self.text[self.at] {
            b'\n' => 1,
            b'\r' if self.text[self.at + 1] == b'\n' => 2,
            _ => return false,
        };
        self.at += length;
        true
    }

    fn index(&mut self, below: u64, what: &str) -> Result<u32, Box<Problem>> {
        match number::index(&self.text[self.at..]) {
            Ok((index, length)) if u64::from(index) < below => {
                self.at += length;
                Ok(index)
            }
            Ok(_) | Err(NotAnIndex::TooLarge) => Err(self.problem(
                self.at,
                &format!("{what} below {below}, as the first line of the file says"),
                "indices count from 0; correct the index or the first line",
            )),
            Err(NotAnIndex::Missing) => Err(self.problem(self.at, what, FORM)),
        }
    }

    fn value(&mut self) -> Result<f32, Box<Problem>> {
        match number::float(&self.text[self.at..]) {
            Some((value, length)) if value.is_finite() => {
                self.at += length;
                Ok(value)
            }
            Some(_) => {
                Err(self.problem(self.at, "a finite value that a 32-bit float can hold", "correct or drop the value"))
            }
            None => Err(self.problem(self.at, "a value", FORM)),
        }
    }

    fn problem(&self, at: usize, expected: &str, remedy: &'static str) -> Box<Problem> {
        Box::new(Problem { at, expected: expected.into(), found: word(&self.text[at..]), remedy })
    }
}

/// The word at the front of `text`, for an error message.
fn word(text: &[u8]) -> String {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(text.len());
    match text.first() {
        Some(b' ' | b'\t') => "a space".into(),
        _ => quote(&text[..end], 24),
    }
}

/// At most so many bytes of `text`, as they can be shown.
pub(super) fn quote(text: &[u8], most: usize) -> String {
    match text.get(..most) {
        _ if text.is_empty() => "the end of the line".into(),
        Some(front) => format!("`{}…`", front.escape_ascii()),
        None => format!("`{}`", text.escape_ascii()),
    }
}

/// Sorts the entries from `first` on and adds up values of equal indices, in the order of the file; tells whether all
/// sums are finite.
#[cold]
fn sort_and_add(rows: &mut Rows, first: usize) -> bool {
    let mut entries: Vec<(u32, f32)> = rows.indices.drain(first..).zip(rows.values.drain(first..)).collect();
    entries.sort_by_key(|(index, _)| *index);
    for entry in entries.chunk_by(|a, b| a.0 == b.0) {
        rows.indices.push(entry[0].0);
        rows.values.push(entry.iter().map(|(_, value)| value).sum());
    }
    rows.values[first..].iter().all(|value| value.is_finite())
}

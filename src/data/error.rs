//! What can be wrong with data, said so that the reader can mend it.

use std::path::{Path, PathBuf};

/// Why a data set could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The name of a source could not be read.
    #[error("`{text}` names no data source: {problem}; write {}", super::Source::FORMS)]
    Source { text: String, problem: String },
    /// The program was built without its two embedded data sets.
    #[error("`{name}` is not in this build; build with the feature `embedded-data` (on by default)")]
    NotEmbedded { name: &'static str },
    /// The operating system refused.
    #[error("{}: {source}; {remedy}", file.display())]
    Io { file: PathBuf, source: std::io::Error, remedy: &'static str },
    /// A place in a text file does not read as it must. Line and column count from 1, columns in bytes.
    #[error("{}:{line}:{column}: expected {expected}, found {found}; {remedy}", file.display())]
    Syntax { file: PathBuf, line: u64, column: u64, expected: String, found: String, remedy: &'static str },
    /// A file as a whole contradicts itself, its partner or its format.
    #[error("{}: {problem}; {remedy}", file.display())]
    File { file: PathBuf, problem: String, remedy: &'static str },
}

impl DataError {
    pub(super) fn io(file: &Path, source: std::io::Error) -> Self {
        let remedy = match source.kind() {
            std::io::ErrorKind::NotFound => "check the path",
            std::io::ErrorKind::PermissionDenied => "check who may read it",
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                "the file is damaged; fetch it again"
            }
            _ => "check the disk and the path",
        };
        Self::Io { file: file.into(), source, remedy }
    }

    /// Whether a file that was named is not there.
    pub fn is_missing_file(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    pub(super) fn file(file: &Path, problem: impl Into<String>, remedy: &'static str) -> Self {
        Self::File { file: file.into(), problem: problem.into(), remedy }
    }
}

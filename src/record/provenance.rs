//! What was asked when a record was made: the experiment as it was run, kept beside the record as TOML.

use super::RecordError;
use serde::Deserialize;
use std::path::Path;

/// The part of an experiment's file that a reader of its records needs. What else the file holds is passed over, so
/// that records of other versions read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Provenance {
    /// A heading, where the experiment gives one.
    pub title: Option<String>,
    /// What it answers, in prose.
    pub question: String,
    /// Which figures it feeds; all where none is named.
    pub renders: Vec<String>,
    #[serde(rename = "engine")]
    pub engines: Vec<Competitor>,
}

/// An engine of the experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Competitor {
    /// As the registry knows it.
    pub name: String,
    /// As records and curves know it, where that differs.
    pub label: Option<String>,
}

impl Provenance {
    /// Reads the file beside a record, if it is there.
    ///
    /// # Errors
    /// If it cannot be read or is no TOML.
    pub fn beside(record: &Path) -> Result<Option<Self>, RecordError> {
        super::read::toml(record.with_extension("toml"))
    }

    /// The registry's name for an engine that records call `label`; `label` itself where the file does not tell.
    pub fn engine<'a>(&'a self, label: &'a str) -> &'a str {
        let known = self.engines.iter().find(|one| one.label.as_deref().unwrap_or(&one.name) == label);
        known.map_or(label, |one| &one.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_passed_over() {
        let text =
            "name = 'e'\nquestion = 'Why?'\nlater = 1\n[[engine]]\nname = 'lsh-cpu'\nlabel = 'few'\noptions = {}";
        let read: Provenance = toml::from_str(text).unwrap();
        assert_eq!((read.question.as_str(), read.engine("few"), read.engine("x")), ("Why?", "lsh-cpu", "x"));
    }
}

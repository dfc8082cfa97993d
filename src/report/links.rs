//! Where things are found: the sections of studies and measurements, and the record files as seen from the report.

use super::document::plain;
use super::parts::Part;
use super::runs::Study;
use std::path::{Component, Path};

/// Knows every section there is.
pub struct Links<'a> {
    pub studies: &'a [Study],
    pub parts: &'a [Part],
    /// The folder that the report lies in.
    pub out: &'a Path,
}

impl Links<'_> {
    /// The name of a study's section; starts those of its figures and tables.
    pub fn study(&self, study: &Study) -> String {
        self.id(&study.experiment, &study.label)
    }

    /// The name of a measurement's section.
    pub fn part(&self, part: &Part) -> String {
        self.id(&part.experiment, &part.label)
    }

    /// The leading machine's sections have the experiment's name, so that it stays theirs when another machine's come.
    fn id(&self, experiment: &str, label: &str) -> String {
        let leads = self.machines(experiment).next().is_none_or(|leader| leader == label);
        if leads { experiment.into() } else { format!("{experiment}-{label}") }
    }

    /// Whether one machine alone ran an experiment.
    pub fn is_alone(&self, experiment: &str) -> bool {
        self.machines(experiment).nth(1).is_none()
    }

    /// Every experiment and the machine that leads it.
    pub fn leads(&self) -> Vec<(String, String)> {
        let studies = self.studies.iter().map(|study| (&study.experiment, &study.label));
        let all = studies.chain(self.parts.iter().map(|part| (&part.experiment, &part.label)));
        let leading = all.filter(|(experiment, label)| self.id(experiment, label) == **experiment);
        leading.map(|(experiment, label)| (experiment.clone(), label.clone())).collect()
    }

    /// The machines that ran an experiment, the leading one first.
    fn machines(&self, experiment: &str) -> impl Iterator<Item = &str> {
        let studies = self.studies.iter().map(|study| (&study.experiment, &study.label));
        let all = studies.chain(self.parts.iter().map(|part| (&part.experiment, &part.label)));
        all.filter(move |(other, _)| *other == experiment).map(|(_, label)| label.as_str())
    }

    /// A record file as a link that says `text`.
    pub fn file(&self, path: &Path, text: &str) -> String {
        let target = relative(self.out, path);
        let target = target.replace('%', "%25").replace(' ', "%20").replace('(', "%28").replace(')', "%29");
        format!("[{}]({target})", plain(text))
    }
}

/// `path` as a link from a file in `folder`.
fn relative(folder: &Path, path: &Path) -> String {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (folder, path) = (whole(folder), whole(path));
    let (from, to): (Vec<Component>, Vec<Component>) = (folder.components().collect(), path.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let ups = std::iter::repeat_n("..".to_string(), from.len() - shared);
    let downs = to[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    ups.chain(downs).collect::<Vec<_>>().join("/")
}

//! The ledger of claims about SLIDE, each with a verdict computed from records.
//!
//! `ledger.toml` says what was claimed and what would measure it; [`rules`] are code over records. A claim without a
//! rule, or without the records that its rule reads, is "not measured".

mod rules;

use super::document::{Block, Cell, Table, plain};
use super::links::Links;
use super::parts::Part;
use super::runs::Study;
use crate::record::Machine;
use serde::Deserialize;
use std::collections::BTreeSet;

/// One line of the ledger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `S01`, `O01`, `C01` …: SLIDE 2020, its sequel, its critics.
    pub id: String,
    pub source: String,
    /// What is claimed, in our words.
    pub claim: String,
    /// The figure as published.
    pub published: String,
    /// What measures it: an experiment of the catalogue; only its records are read.
    pub experiment: String,
    /// Further experiments whose records say something to it.
    #[serde(default)]
    pub also: Vec<String>,
    /// Code in [`rules`]; none where no records decide yet.
    rule: Option<rules::Rule>,
    /// Whom the hashed engine is compared with.
    baseline: Option<String>,
    /// The published figure as a number.
    figure: Option<f64>,
    /// How far from it still holds.
    #[serde(default)]
    tolerance: f64,
    /// Part of the name of the data set, for a claim about one.
    dataset: Option<String>,
}

/// What records say to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Holds,
    InPart,
    DoesNotHold,
    /// The records lack what would decide it.
    NotMeasured,
    /// No run of this suite on these machines could decide it.
    NotMeasurable,
}

impl Verdict {
    pub const ALL: [Verdict; 5] =
        [Verdict::Holds, Verdict::InPart, Verdict::DoesNotHold, Verdict::NotMeasured, Verdict::NotMeasurable];

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::InPart => "holds in part",
            Verdict::DoesNotHold => "does not hold",
            Verdict::NotMeasured => "not measured",
            Verdict::NotMeasurable => "not measurable here",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Verdict::Holds => "badge green",
            Verdict::InPart => "badge amber",
            Verdict::DoesNotHold => "badge red",
            Verdict::NotMeasured | Verdict::NotMeasurable => "badge grey",
        }
    }

    /// Of several data sets or machines: what all of them say, else in part.
    fn of_all(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let all: Vec<Verdict> = verdicts.into_iter().collect();
        // A machine that cannot tell has no say where another can.
        let mut can = all.iter().copied().filter(|verdict| *verdict != Verdict::NotMeasurable);
        match can.next() {
            None => all.first().copied().unwrap_or(Verdict::NotMeasured),
            Some(first) if can.all(|verdict| verdict == first) => first,
            Some(_) => Verdict::InPart,
        }
    }
}

/// A claim with its verdict and the figures behind it.
#[derive(Clone, Debug)]
pub struct Ruling {
    pub claim: Claim,
    pub verdict: Verdict,
    /// Measured figures, data set by data set; what it would take where there are none.
    pub measured: String,
    /// The sections and the rows it rests on, as links; the experiment that is wanted where there are none.
    pub evidence: String,
}

/// The ledger, in order.
pub fn ledger() -> Vec<Claim> {
    #[derive(Deserialize)]
    struct Ledger {
        claim: Vec<Claim>,
    }
    toml::from_str::<Ledger>(include_str!("ledger.toml")).expect("a test reads the ledger").claim
}

/// Rules on every claim.
pub fn rulings(links: &Links, machines: &[&Machine]) -> Vec<Ruling> {
    ledger().into_iter().map(|claim| claim.judge(links, machines)).collect()
}

impl Claim {
    /// Whether an experiment's records, at whatever scale, are asked about this claim.
    fn reads(&self, experiment: &str) -> bool {
        let named = |name: &String| {
            let rest = experiment.strip_prefix(name.as_str());
            rest.is_some_and(|scale| ["", "-smoke", "-paper"].contains(&scale))
        };
        named(&self.experiment) || self.also.iter().any(named)
    }

    fn judge(self, links: &Links, machines: &[&Machine]) -> Ruling {
        let studies: Vec<&Study> = links.studies.iter().filter(|study| self.reads(&study.experiment)).collect();
        let parts: Vec<&Part> = links.parts.iter().filter(|part| self.reads(&part.experiment)).collect();
        let labels = studies.iter().map(|study| &study.label).chain(parts.iter().map(|part| &part.label));
        let several = labels.collect::<BTreeSet<_>>().len() > 1;
        let names = studies.iter().map(|study| &study.experiment).chain(parts.iter().map(|part| &part.experiment));
        let many = names.collect::<BTreeSet<_>>().len() > 1;
        let mut verdicts = Vec::new();
        let mut measured = Vec::new();
        let mut evidence = Vec::new();
        let mut note = |experiment: &str, dataset: &str, machine: &str, found: rules::Found| {
            let place = [(many, experiment), (!dataset.is_empty(), dataset), (several, machine)];
            let place: Vec<String> = place.iter().filter(|(told, _)| *told).map(|(_, name)| plain(name)).collect();
            let place = place.join(", ");
            verdicts.push(found.verdict);
            measured.push(if place.is_empty() { found.words } else { format!("{place}: {}", found.words) });
        };
        if let Some(rule) = self.rule {
            for study in &studies {
                let of_study = rule.of_study(&self, study).map(|found| (String::new(), found));
                let ours = |dataset: &str| self.dataset.as_ref().is_none_or(|name| dataset.contains(name));
                let panels = study.panels.iter().filter(|panel| ours(&panel.dataset));
                let of_panels = panels.filter_map(|panel| Some((panel.dataset.clone(), rule.apply(&self, panel)?)));
                let found: Vec<_> = of_study.into_iter().chain(of_panels).collect();
                if !found.is_empty() {
                    evidence.push(cite(links, &study.experiment, &links.study(study), &study.files));
                }
                found.into_iter().for_each(|(dataset, found)| note(&study.experiment, &dataset, &study.label, found));
            }
            for part in &parts {
                if let Some(found) = rule.of_part(&self, part, &studies) {
                    evidence.push(cite(links, &part.experiment, &links.part(part), std::slice::from_ref(&part.file)));
                    note(&part.experiment, "", &part.label, found);
                }
            }
        }
        let mut verdict = Verdict::of_all(verdicts);
        if verdict == Verdict::NotMeasured {
            let (impossible, needs) = self.lacking(machines);
            if impossible {
                verdict = Verdict::NotMeasurable;
            }
            measured.push(needs);
            evidence.push(self.wanted(links, &studies, &parts));
        }
        Ruling { claim: self, verdict, measured: measured.join("; "), evidence: evidence.join("; ") }
    }

    /// What it would take to decide it, and whether that is out of reach on these machines.
    fn lacking(&self, machines: &[&Machine]) -> (bool, String) {
        if let Some(reason) = self.experiment.strip_prefix("none: ") {
            return (true, reason.into());
        }
        let needs = match &self.rule {
            Some(rule) => rule.needs(self),
            None => return (false, format!("needs experiment `{}`", self.experiment)),
        };
        let gpu = self.baseline.as_ref().is_some_and(|baseline| baseline.contains("-gpu")) || needs.contains(" GPU");
        let absent = !machines.iter().flat_map(|machine| &machine.adapters).any(|adapter| !adapter.software);
        let data = self.dataset.as_ref().map_or_else(String::new, |dataset| format!(" on data like {dataset}"));
        (gpu && absent, format!("needs {needs}{data}"))
    }

    /// The experiment that would decide it: its section, where it has one.
    fn wanted(&self, links: &Links, studies: &[&Study], parts: &[&Part]) -> String {
        match (studies.first(), parts.first()) {
            _ if self.experiment.starts_with("none: ") => "–".into(),
            (Some(study), _) => cite(links, &study.experiment, &links.study(study), &study.files),
            (None, Some(part)) => cite(links, &part.experiment, &links.part(part), std::slice::from_ref(&part.file)),
            (None, None) => plain(&self.experiment),
        }
    }
}

/// A section and its rows: `[default](#default) ([rows](…))`.
fn cite(links: &Links, experiment: &str, id: &str, files: &[std::path::PathBuf]) -> String {
    let rows: Vec<String> = files.iter().map(|file| links.file(file, "rows")).collect();
    format!("[{}](#{id}) ({})", plain(experiment), rows.join(", "))
}

/// How many verdicts of each kind there are, in a line.
pub fn counts(rulings: &[Ruling]) -> String {
    let count = |verdict| rulings.iter().filter(|ruling| ruling.verdict == verdict).count();
    let counts: Vec<String> =
        Verdict::ALL.into_iter().map(|verdict| format!("{} {}", count(verdict), verdict.name())).collect();
    format!("{} claims of the papers and of their critics: {}.", rulings.len(), counts.join(", "))
}

/// Chosen claims (`S04,C12`) as a table: verdict, claim, what was measured. None if one is not in the ledger.
pub fn chosen(rulings: &[Ruling], ids: &str) -> Option<Table> {
    let mut table = Table::new("claims", "Chosen claims", &["id", "verdict", "claim", "published", "measured"]);
    for id in ids.split(',') {
        let Ruling { claim, verdict, measured, .. } = rulings.iter().find(|ruling| ruling.claim.id == id)?;
        table.row([
            plain(&claim.id).into(),
            verdict.name().into(),
            plain(&claim.claim).into(),
            plain(&claim.published).into(),
            measured.clone().into(),
        ]);
    }
    Some(table)
}

/// The section of the report.
pub fn blocks(rulings: &[Ruling], links: &Links) -> Vec<Block> {
    let mut table = Table::new(
        "claims-table",
        "Claims and what the records say",
        &["id", "verdict", "claim", "published", "measured", "evidence", "source"],
    );
    for Ruling { claim, verdict, measured, evidence } in rulings {
        table.row([
            plain(&claim.id).into(),
            Cell { text: verdict.name().into(), class: Some(verdict.class().into()) },
            plain(&claim.claim).into(),
            plain(&claim.published).into(),
            measured.clone().into(),
            evidence.clone().into(),
            plain(&claim.source).into(),
        ]);
    }
    let contestants = links.studies.iter().flat_map(|study| &study.panels).flat_map(|panel| &panel.contestants);
    let few = contestants.filter(|contestant| contestant.counts()).any(|contestant| contestant.runs.len() < 3);
    let mut text = format!(
        "{} A verdict is of this data and these machines; published \
         figures are of other ones. What lacks a record is not measured; what no record of these machines could decide is \
         not measurable here. What differs between data sets holds in part, and so does a gain in the direction \
         claimed but short of its size. Ratios of time are the other engine's seconds over the hashed one's to the P@1 \
         at which the other ends, less {}: above 1, hashing is sooner.",
        counts(rulings),
        super::verdict::SLACK
    );
    if few {
        text += " **Some of these runs have fewer than three seeds: their verdicts are provisional.**";
    }
    vec![Block::Section { id: "claims".into(), title: "Claims".into() }, Block::Text(text), Block::Table(table)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_is_whole() {
        let ledger = ledger();
        let has = |id: &str| ledger.iter().filter(|claim| claim.id == id).count() == 1;
        for (letter, last) in [("S", 35), ("O", 8), ("C", 18)] {
            for i in 1..=last {
                assert!(has(&format!("{letter}{i:02}")), "{letter}{i:02} is missing or occurs twice");
            }
        }
        for claim in &ledger {
            assert!(!claim.claim.is_empty() && !claim.published.is_empty() && !claim.experiment.is_empty());
            let missing = claim.rule.and_then(|rule| rule.lacks(claim));
            assert_eq!(missing, None, "{}", claim.id);
        }
    }

    #[test]
    fn several_verdicts_make_one() {
        use Verdict::{DoesNotHold, Holds, InPart, NotMeasurable, NotMeasured};
        assert_eq!(Verdict::of_all([]), NotMeasured);
        assert_eq!(Verdict::of_all([Holds, Holds]), Holds);
        assert_eq!(Verdict::of_all([Holds, DoesNotHold]), InPart);
        assert_eq!(Verdict::of_all([DoesNotHold, DoesNotHold]), DoesNotHold);
        assert_eq!(Verdict::of_all([NotMeasurable, Holds, NotMeasurable]), Holds);
        assert_eq!(Verdict::of_all([NotMeasurable]), NotMeasurable);
    }
}

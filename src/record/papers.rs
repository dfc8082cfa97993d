//! Where an experiment belongs, by its name: `slide20-fig5-time-accuracy` regenerates figure 5 of SLIDE 2020.

/// What an experiment regenerates, in the order of lists and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paper {
    /// The suite's own question.
    Suite,
    Slide2020,
    Slide2021,
    Criticism,
    Rest,
}

/// The figures and tables of SLIDE 2020 in reading order: both series ascend.
const SLIDE_2020: [&str; 14] = [
    "table1", "fig4", "fig5", "table2", "fig6", "fig7", "fig8", "fig9", "table3", "fig10", "table4", "fig11", "fig12",
    "fig13",
];

/// Scales that records name; `quick` goes without.
const SCALES: [&str; 2] = ["smoke", "paper"];

impl Paper {
    pub const ALL: [Paper; 5] = [Paper::Suite, Paper::Slide2020, Paper::Slide2021, Paper::Criticism, Paper::Rest];

    /// A heading.
    pub fn title(self) -> &'static str {
        match self {
            Paper::Suite => "The question",
            Paper::Slide2020 => "SLIDE, MLSys 2020",
            Paper::Slide2021 => "Its sequel, MLSys 2021",
            Paper::Criticism => "The criticisms",
            Paper::Rest => "Further experiments",
        }
    }
}

/// The place of an experiment, by its name in records: papers in order, their figures and tables in order, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub paper: Paper,
    /// Its figure or table; what has none comes last.
    item: usize,
    name: String,
    /// 0 for `quick`.
    scale: usize,
}

impl Place {
    pub fn of(experiment: &str) -> Self {
        let scaled = SCALES.iter().enumerate().find_map(|(i, scale)| {
            let name = experiment.strip_suffix(scale)?.strip_suffix('-')?;
            Some((name, i + 1))
        });
        let (name, scale) = scaled.unwrap_or((experiment, 0));
        let (first, rest) = name.split_once('-').unwrap_or((name, ""));
        let number = |text: &str| text.get(1..).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        let paper = match first {
            _ if name == "default" => Paper::Suite,
            "slide20" => Paper::Slide2020,
            "slide21" => Paper::Slide2021,
            c if c.starts_with('c') && number(c) => Paper::Criticism,
            _ => Paper::Rest,
        };
        let item = rest.split('-').next().unwrap_or_default();
        let item = SLIDE_2020.iter().position(|known| paper == Paper::Slide2020 && *known == item);
        Self { paper, item: item.unwrap_or(SLIDE_2020.len()), name: name.into(), scale }
    }

    /// A heading made of the name: `Figure 5: time accuracy`, `C12: break even`, `amazon step`.
    pub fn title(&self) -> String {
        let words = |text: &str| text.replace('-', " ");
        let (first, rest) = self.name.split_once('-').unwrap_or((&self.name, ""));
        let title = match (self.paper, SLIDE_2020.get(self.item)) {
            (Paper::Slide2020, Some(item)) => {
                let digits = item.find(|c: char| c.is_ascii_digit()).unwrap_or(item.len());
                let kind = if item.starts_with("fig") { "Figure" } else { "Table" };
                let subject = words(rest.strip_prefix(item).unwrap_or(rest).trim_start_matches('-'));
                let colon = if subject.is_empty() { "" } else { ": " };
                format!("{kind} {}{colon}{subject}", &item[digits..])
            }
            (Paper::Slide2020 | Paper::Slide2021, _) => sentence(&words(rest)),
            (Paper::Criticism, _) => format!("{}: {}", first.to_uppercase(), words(rest)),
            (Paper::Suite, _) => "The default experiment".into(),
            (Paper::Rest, _) => sentence(&words(&self.name)),
        };
        match self.scale.checked_sub(1) {
            Some(scale) => format!("{title} (scale {})", SCALES[scale]),
            None => title,
        }
    }
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_stand_in_the_order_of_the_papers() {
        let mut names = [
            "amazon-step",
            "c12-break-even",
            "c02-clocks",
            "costs",
            "slide21-ladder",
            "slide20-races",
            "slide20-fig11-selection",
            "slide20-fig5-time-accuracy-smoke",
            "slide20-fig5-time-accuracy",
            "slide20-table3-insertion",
            "default",
        ];
        names.sort_by_key(|name| Place::of(name));
        assert_eq!(
            names,
            [
                "default",
                "slide20-fig5-time-accuracy",
                "slide20-fig5-time-accuracy-smoke",
                "slide20-table3-insertion",
                "slide20-fig11-selection",
                "slide20-races",
                "slide21-ladder",
                "c02-clocks",
                "c12-break-even",
                "amazon-step",
                "costs",
            ]
        );
    }

    #[test]
    fn names_make_headings() {
        for (name, title) in [
            ("slide20-fig5-time-accuracy", "Figure 5: time accuracy"),
            ("slide20-table1", "Table 1"),
            ("slide20-races-smoke", "Races (scale smoke)"),
            ("c12-break-even", "C12: break even"),
            ("amazon-step", "Amazon step"),
            ("default-paper", "The default experiment (scale paper)"),
            ("", ""),
        ] {
            assert_eq!(Place::of(name).title(), title);
        }
        assert_eq!(Place::of("costs").paper, Paper::Rest);
    }
}

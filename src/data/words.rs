//! The two real data sets in the box: `moby` and `webster`.
//!
//! Both come out of two public-domain texts, Grady Ward's Moby Thesaurus (30,260 entries `root, synonym, synonym …`) and
//! Webster's dictionary of 1913, which the crates `thesaurus-moby` and `webster` carry.
//!
//! - **moby**: a row is an entry's root that some other entry lists. Its features are the entries that list it, each of
//!   value 1; its labels are the root itself and the synonyms under it, kept at two training rows or more. In-links and
//!   out-links overlap, so it is easy: it shows time to accuracy at large L.
//! - **webster**: a row is a word that some entry lists and Webster defines. Its features are the definition's runs of
//!   three or more letters a–z, in lower case, weighted by tf-idf; its labels are the entries that list the word, kept
//!   at three training rows or more. It is hard: it shows whether a method generalises.
//!
//! In both, features are kept where two rows or more have them, rows get length 1, and a row left without features or
//! without labels is dropped. A seeded shuffle of the words makes 80 % of them training rows, so no word stands on both
//! sides. Which features are kept is settled before the split, for it takes no label to see a word; what they weigh and
//! which labels are kept is learned from the training rows alone.

use super::rows::Rows;
use super::{Dataset, order, weighting};
use std::collections::{BTreeMap, BTreeSet};

/// The Moby data set. The same seed gives the same bytes.
pub(super) fn moby(seed: u64) -> Dataset {
    let text = thesaurus_moby::uncompress();
    let thesaurus = Thesaurus::parse(&text);
    let rows = thesaurus.listed.iter().filter_map(|(&root, listed)| {
        let features = thesaurus.listing.get(root)?.iter().map(|entry| (*entry, 1)).collect();
        let labels = listed.iter().copied().chain([root]).collect();
        Some(Raw { features, labels })
    });
    let made = assemble(rows.collect(), 2, seed);
    let (train, test) = (weighting::unit_split(made.train), weighting::unit_split(made.test));
    let provenance = format!(
        "Moby Thesaurus (crate thesaurus-moby 0.2): entries listing a word -> the words in its own entry; 80/20 by \
         seed {seed}"
    );
    Dataset::new("moby".into(), made.inputs, made.labels, train, test, provenance)
}

/// The Webster data set. The same seed gives the same bytes.
pub(super) fn webster(seed: u64) -> Dataset {
    let text = thesaurus_moby::uncompress();
    let thesaurus = Thesaurus::parse(&text);
    let definitions: Vec<(&str, String)> =
        thesaurus.listing.keys().filter_map(|&word| Some((word, webster::dictionary(word)?.to_lowercase()))).collect();
    let rows = definitions.iter().map(|(word, definition)| {
        let mut counts = BTreeMap::new();
        for run in definition.split(|c: char| !c.is_ascii_lowercase()).filter(|run| run.len() >= 3) {
            *counts.entry(run).or_insert(0) += 1;
        }
        Raw { features: counts.into_iter().collect(), labels: thesaurus.listing[word].clone() }
    });
    let made = assemble(rows.collect(), 3, seed);
    let (train, test) = weighting::tf_idf_splits(made.train, made.test, made.inputs);
    let provenance = format!(
        "Webster 1913 and Moby Thesaurus (crates webster 0.3, thesaurus-moby 0.2): words of a definition -> entries \
         listing the word; tf-idf; 80/20 by seed {seed}"
    );
    Dataset::new("webster".into(), made.inputs, made.labels, train, test, provenance)
}

/// The thesaurus, read both ways.
struct Thesaurus<'a> {
    /// By root: the words under it, without the root itself.
    listed: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// By word: the roots whose entries list it.
    listing: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Thesaurus<'a> {
    /// Reads lines `root|word|word`; a root that heads several lines has one entry.
    fn parse(text: &'a str) -> Self {
        let mut thesaurus = Self { listed: BTreeMap::new(), listing: BTreeMap::new() };
        for line in text.lines() {
            let mut words = line.split('|').map(str::trim).filter(|word| !word.is_empty());
            let Some(root) = words.next() else { continue };
            let listed = thesaurus.listed.entry(root).or_default();
            for word in words.filter(|&word| word != root) {
                listed.insert(word);
                thesaurus.listing.entry(word).or_default().insert(root);
            }
        }
        thesaurus
    }
}

/// A row before features and labels have numbers.
struct Raw<'a> {
    /// Each with its count.
    features: Vec<(&'a str, u32)>,
    labels: BTreeSet<&'a str>,
}

/// Numbered rows, with counts as values.
struct Assembled {
    inputs: usize,
    labels: usize,
    train: Rows,
    test: Rows,
}

/// Numbers features and labels in alphabetical order, keeps what occurs often enough and splits the rows.
fn assemble(mut rows: Vec<Raw>, label_rows: usize, seed: u64) -> Assembled {
    let features = numbered(rows.iter().flat_map(|row| row.features.iter().map(|(feature, _)| *feature)), 2);
    rows.retain(|row| row.features.iter().any(|(feature, _)| features.contains_key(feature)));
    let shuffled = order::sample(rows.len(), rows.len(), seed);
    let (train, test) = shuffled.split_at(rows.len() * 4 / 5);
    let labels = numbered(train.iter().flat_map(|&r| rows[r as usize].labels.iter().copied()), label_rows);

    let gather = |side: &[u32]| {
        let mut gathered = Rows::default();
        for row in side.iter().map(|&r| &rows[r as usize]) {
            let first = gathered.labels.len();
            gathered.labels.extend(row.labels.iter().filter_map(|label| labels.get(label)));
            if gathered.labels.len() == first {
                continue;
            }
            for (feature, count) in &row.features {
                if let Some(&index) = features.get(feature) {
                    gathered.indices.push(index);
                    gathered.values.push(*count as f32);
                }
            }
            gathered.end_row();
        }
        gathered
    };
    Assembled { inputs: features.len(), labels: labels.len(), train: gather(train), test: gather(test) }
}

/// Numbers from 0, in alphabetical order, for the names that occur at least `least` times.
fn numbered<'a>(names: impl Iterator<Item = &'a str>, least: usize) -> BTreeMap<&'a str, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_insert(0usize) += 1;
    }
    counts.into_iter().filter(|(_, count)| *count >= least).map(|(name, _)| name).zip(0..).collect()
}

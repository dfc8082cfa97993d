//! The real data sets in the box: `moby`, `webster` and `webster-text`.
//!
//! All come out of two public-domain texts, Grady Ward's Moby Thesaurus (30,260 entries `root, synonym, synonym …`) and
//! Webster's dictionary of 1913, which the crates `thesaurus-moby` and `webster` carry.
//!
//! - **moby**: a row is an entry's root that some other entry lists. Its features are the entries that list it, each of
//!   value 1; its labels are the root itself and the synonyms under it, kept at two training rows or more. In-links and
//!   out-links overlap, so it is easy: it shows time to accuracy at large L.
//! - **webster**: a row is a word that some entry lists and Webster defines. Its features are the definition's runs of
//!   three or more letters a–z, in lower case, weighted by tf-idf; its labels are the entries that list the word, kept
//!   at three training rows or more. It is hard: it shows whether a method generalises.
//!
//! - **webster-text**: a row is a word of running text, all definitions that can be reached from Moby's words; its feature
//!   is the word itself, of value 1, and its labels are the distinct words at most two places away in the same
//!   definition: the word2vec task of SLIDE's sequel. Words are runs of letters a–z in lower case, kept where the
//!   training text has them five times or more, and read as if the others were not there. 98 % of the definitions are
//!   training text.
//!
//! In the first two, features are kept where two rows or more have them, rows get length 1, and a row left without features or
//! without labels is dropped. A seeded shuffle of the words makes 80 % of them training rows, so no word stands on both
//! sides. Which features are kept is settled before the split, for it takes no label to see a word; what they weigh and
//! which labels are kept is learned from the training rows alone. With seed 0:
//!
//! | | N train/test | I | L | features, labels a row | P@1 of the top label |
//! |---|---|---|---|---|---|
//! | moby | 23,456/5,865 | 30,149 | 90,441 | 56.3, 85.4 | .034 |
//! | webster | 24,372/6,086 | 24,440 | 29,619 | 11.6, 40.2 | .024 |
//! | webster-text | 587,901/11,993 | 12,114 | 12,114 | 1.0, 3.6 | .219 |

use super::rows::Rows;
use super::{Dataset, order, weighting};
use std::collections::{BTreeMap, HashMap};

/// The Moby data set. The same seed gives the same bytes.
pub(super) fn moby(seed: u64) -> Dataset {
    let text = thesaurus_moby::uncompress();
    let thesaurus = Thesaurus::parse(&text);
    let rows = thesaurus.roots().filter(|&root| !thesaurus.listing[root].is_empty()).map(|root| {
        let features = thesaurus.listing[root].iter().map(|&entry| (entry, 1)).collect();
        let labels = thesaurus.listed[root].iter().copied().chain([root as u32]).collect();
        Row { features, labels }
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
    let definitions: Vec<(usize, String)> = (0..thesaurus.words.len())
        .filter(|&word| !thesaurus.listing[word].is_empty())
        .filter_map(|word| Some((word, webster::dictionary(thesaurus.words[word])?.to_lowercase())))
        .collect();
    let mut runs = Names::default();
    let mut rows: Vec<Row> = definitions
        .iter()
        .map(|(word, definition)| {
            let found = letter_runs(definition).filter(|run| run.len() >= 3);
            let features = found.map(|run| (runs.id(run), 1)).collect();
            Row { features, labels: thesaurus.listing[*word].clone() }
        })
        .collect();
    let (_, ranks) = runs.sorted();
    for row in &mut rows {
        row.features.iter_mut().for_each(|(run, _)| *run = ranks[*run as usize]);
        row.features.sort_unstable();
        row.features.dedup_by(|again, first| {
            again.0 == first.0 && {
                first.1 += 1;
                true
            }
        });
    }
    let made = assemble(rows, 3, seed);
    let (train, test) = weighting::tf_idf_splits(made.train, made.test);
    let provenance = format!(
        "Webster 1913 and Moby Thesaurus (crates webster 0.3, thesaurus-moby 0.2): words of a definition -> entries \
         listing the word; tf-idf; 80/20 by seed {seed}"
    );
    Dataset::new("webster".into(), made.inputs, made.labels, train, test, provenance)
}

/// Places between a word and the furthest word of its context.
const WINDOW: usize = 2;

/// Webster's text as a task for word2vec: a word -> the words around it. The same seed gives the same bytes.
pub(super) fn webster_text(seed: u64) -> Dataset {
    let text = thesaurus_moby::uncompress();
    let thesaurus = Thesaurus::parse(&text);
    // The crate looks words up and lists none: ask for the thesaurus' words, then for those of every definition found.
    let mut definitions: BTreeMap<String, Option<String>> = BTreeMap::new();
    let mut asked: Vec<String> = thesaurus.words.iter().map(|&word| word.into()).collect();
    while let Some(word) = asked.pop() {
        if definitions.contains_key(&word) {
            continue;
        }
        let definition = webster::dictionary(&word).map(str::to_lowercase);
        asked.extend(definition.iter().flat_map(|definition| letter_runs(definition)).map(str::to_owned));
        definitions.insert(word, definition);
    }
    let definitions: Vec<String> = definitions.into_values().flatten().collect();
    let mut names = Names::default();
    let texts: Vec<Vec<u32>> =
        definitions.iter().map(|definition| letter_runs(definition).map(|run| names.id(run)).collect()).collect();
    let (_, ranks) = names.sorted();
    let shuffled = order::sample(texts.len(), texts.len(), seed);
    let (train, test) = shuffled.split_at(texts.len() * 98 / 100);
    let in_training = train.iter().flat_map(|&text| texts[text as usize].iter().map(|&id| ranks[id as usize]));
    let (count, numbers) = kept(in_training, 5);
    let number = |id: u32| *numbers.get(ranks[id as usize] as usize)?;
    let gather = |side: &[u32]| {
        let mut rows = Rows::default();
        for &text in side {
            let text: Vec<u32> = texts[text as usize].iter().filter_map(|&id| number(id)).collect();
            for (place, &word) in text.iter().enumerate() {
                let around = place.saturating_sub(WINDOW)..(place + WINDOW + 1).min(text.len());
                let mut context: Vec<u32> = around.filter(|&other| other != place).map(|other| text[other]).collect();
                if context.is_empty() {
                    continue;
                }
                context.sort_unstable();
                context.dedup();
                rows.indices.push(word);
                rows.values.push(1.0);
                rows.labels.extend(context);
                rows.end_row();
            }
        }
        rows.into_split()
    };
    let provenance = format!(
        "Webster 1913 (crate webster 0.3): a word of a definition -> the words at most {WINDOW} places away; 98/2 by \
         seed {seed}"
    );
    Dataset::new("webster-text".into(), count, count, gather(train), gather(test), provenance)
}

/// The runs of letters a–z in a text of lower case.
fn letter_runs(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_lowercase()).filter(|run| !run.is_empty())
}

/// Names and their numbers, in order of appearance.
#[derive(Default)]
struct Names<'a> {
    ids: HashMap<&'a str, u32>,
}

impl<'a> Names<'a> {
    fn id(&mut self, name: &'a str) -> u32 {
        let next = self.ids.len() as u32;
        *self.ids.entry(name).or_insert(next)
    }

    /// The names in alphabetical order, and the place there of every number given out.
    fn sorted(self) -> (Vec<&'a str>, Vec<u32>) {
        let mut pairs: Vec<(&str, u32)> = self.ids.into_iter().collect();
        pairs.sort_unstable();
        let mut ranks = vec![0; pairs.len()];
        for (rank, (_, id)) in pairs.iter().enumerate() {
            ranks[*id as usize] = rank as u32;
        }
        (pairs.into_iter().map(|(name, _)| name).collect(), ranks)
    }
}

/// The thesaurus, read both ways. A word is its place in the alphabetical order of all words.
struct Thesaurus<'a> {
    words: Vec<&'a str>,
    is_root: Vec<bool>,
    /// By root: the words under it, ascending, without the root itself.
    listed: Vec<Vec<u32>>,
    /// By word: the roots whose entries list it, ascending.
    listing: Vec<Vec<u32>>,
}

impl<'a> Thesaurus<'a> {
    /// Reads lines `root|word|word`; a root that heads several lines has one entry.
    fn parse(text: &'a str) -> Self {
        let mut names = Names::default();
        let (mut roots, mut links) = (vec![], vec![]);
        for line in text.lines() {
            let mut words = line.split('|').map(str::trim).filter(|word| !word.is_empty());
            let Some(root) = words.next() else { continue };
            let root = names.id(root);
            roots.push(root);
            links.extend(words.map(|word| (root, names.id(word))).filter(|(root, word)| root != word));
        }
        let (words, ranks) = names.sorted();
        let rank = |id: u32| ranks[id as usize];
        let mut links: Vec<(u32, u32)> = links.into_iter().map(|(root, word)| (rank(root), rank(word))).collect();
        links.sort_unstable();
        links.dedup();

        let mut is_root = vec![false; words.len()];
        roots.into_iter().for_each(|root| is_root[rank(root) as usize] = true);
        let (mut listed, mut listing) = (vec![vec![]; words.len()], vec![vec![]; words.len()]);
        for (root, word) in links {
            listed[root as usize].push(word);
            listing[word as usize].push(root);
        }
        Self { words, is_root, listed, listing }
    }

    fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.words.len()).filter(|&word| self.is_root[word])
    }
}

/// A row before it is known which features and labels are kept.
struct Row {
    /// Ascending, each with its count.
    features: Vec<(u32, u32)>,
    labels: Vec<u32>,
}

/// Rows with their final numbers and with counts as values.
struct Assembled {
    inputs: usize,
    labels: usize,
    train: Rows,
    test: Rows,
}

/// Keeps the features and labels that occur often enough, numbers them in their old order and splits the rows.
fn assemble(mut rows: Vec<Row>, label_rows: usize, seed: u64) -> Assembled {
    let (inputs, features) = kept(rows.iter().flat_map(|row| row.features.iter().map(|(feature, _)| *feature)), 2);
    rows.retain(|row| row.features.iter().any(|(feature, _)| features[*feature as usize].is_some()));
    let shuffled = order::sample(rows.len(), rows.len(), seed);
    let (train, test) = shuffled.split_at(rows.len() * 4 / 5);
    let (label_count, labels) = kept(train.iter().flat_map(|&r| rows[r as usize].labels.iter().copied()), label_rows);

    let gather = |side: &[u32]| {
        let mut gathered = Rows::default();
        for row in side.iter().map(|&r| &rows[r as usize]) {
            let first = gathered.labels.len();
            gathered.labels.extend(row.labels.iter().filter_map(|&label| *labels.get(label as usize)?));
            if gathered.labels.len() == first {
                continue;
            }
            gathered.labels[first..].sort_unstable();
            for &(feature, count) in &row.features {
                if let Some(index) = features[feature as usize] {
                    gathered.indices.push(index);
                    gathered.values.push(count as f32);
                }
            }
            gathered.end_row();
        }
        gathered
    };
    Assembled { inputs, labels: label_count, train: gather(train), test: gather(test) }
}

/// How many ids occur at least `least` times, and the new number of each that does; both in the old order.
fn kept(ids: impl Iterator<Item = u32>, least: usize) -> (usize, Vec<Option<u32>>) {
    let mut counts: Vec<usize> = vec![];
    for id in ids {
        if counts.len() <= id as usize {
            counts.resize(id as usize + 1, 0);
        }
        counts[id as usize] += 1;
    }
    let mut next = 0;
    let numbers = counts.into_iter().map(|count| {
        (count >= least).then(|| {
            next += 1;
            next - 1
        })
    });
    let numbers = numbers.collect();
    (next as usize, numbers)
}

//! Where data comes from, as typed on the command line or in TOML.

use super::{DataError, synthetic::Published};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A data set by name. Reads from a string (see [`Source::FORMS`]) or, for text files, from a TOML table
/// `{ train = "...", test = "...", weighting = "tf-idf" }`; prints the same string back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum Source {
    /// The Moby thesaurus: entries that list a word → the words in its own entry.
    Moby,
    /// Webster's dictionary of 1913: words of a definition → thesaurus entries that list the word.
    Webster,
    /// Webster's dictionary as running text: a word → the words around it.
    WebsterText,
    /// Planted structure in the shape of a published set.
    Synthetic(Synthetic),
    /// Text files of the Extreme Classification Repository.
    Xmc(Xmc),
    /// A folder with the four IDX files of MNIST or one of its kin.
    Idx(PathBuf),
}

/// `synthetic:NAME[@SCALE][?train=ROWS&test=ROWS&features=MEAN]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    pub published: Published,
    /// Multiplies N, D and L, not the counts a row; above 0.
    pub scale: f64,
    /// Makes only the first so many training rows, for timings that need no whole epoch.
    pub train: Option<usize>,
    /// Makes only the first so many test rows.
    pub test: Option<usize>,
    /// Mean number of distinct features a row, in place of the published one.
    pub features: Option<usize>,
}

/// `xmc:TRAIN,TEST[?weighting=tf-idf]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xmc {
    pub train: PathBuf,
    pub test: PathBuf,
    pub weighting: Weighting,
}

/// What becomes of the values in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// They are used as they are.
    #[default]
    None,
    /// They are term counts tf, and become (1 + ln tf) · ln(N/df), fitted on the training rows; rows get length 1.
    TfIdf,
}

impl Source {
    /// The forms a source is written in.
    pub const FORMS: &str = "`moby`, `webster`, `webster-text`, `synthetic:amazon-670k`, `synthetic:delicious-200k` or \
         `synthetic:wikilshtc-325k` (with `@0.1` for a tenth of the size, `?train=20000&test=2000` for fewer rows, \
         `?features=300` for other features a row), \
         `xmc:TRAIN,TEST` (with `?weighting=tf-idf` for raw counts), or `idx:FOLDER`";

    /// Whether another seed gives other data.
    pub fn is_seeded(&self) -> bool {
        !matches!(self, Source::Xmc(_) | Source::Idx(_))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Moby => f.write_str("moby"),
            Source::Webster => f.write_str("webster"),
            Source::WebsterText => f.write_str("webster-text"),
            Source::Idx(folder) => write!(f, "idx:{}", folder.display()),
            Source::Xmc(Xmc { train, test, weighting }) => {
                write!(f, "xmc:{},{}", train.display(), test.display())?;
                match weighting {
                    Weighting::None => Ok(()),
                    Weighting::TfIdf => f.write_str("?weighting=tf-idf"),
                }
            }
            Source::Synthetic(Synthetic { published, scale, train, test, features }) => {
                write!(f, "synthetic:{}", published.name())?;
                if *scale != 1.0 {
                    write!(f, "@{scale}")?;
                }
                let given = [("train", train), ("test", test), ("features", features)];
                let given = given.iter().filter_map(|(key, value)| Some((key, (*value).as_ref()?)));
                for (index, (key, value)) in given.enumerate() {
                    write!(f, "{}{key}={value}", if index == 0 { '?' } else { '&' })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Source {
    type Err = DataError;

    fn from_str(text: &str) -> Result<Self, DataError> {
        parse(text).map_err(|problem| DataError::Source { text: text.into(), problem })
    }
}

fn parse(text: &str) -> Result<Source, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "moby" | "webster" | "webster-text" if text.contains(':') => Err(format!("`{kind}` takes nothing after it")),
        "moby" => Ok(Source::Moby),
        "webster" => Ok(Source::Webster),
        "webster-text" => Ok(Source::WebsterText),
        "synthetic" => synthetic(rest),
        "xmc" => xmc(rest),
        "idx" if rest.is_empty() => Err("the folder is missing".into()),
        "idx" => Ok(Source::Idx(rest.into())),
        _ => Err(format!("`{kind}` is no kind of source")),
    }
}

fn synthetic(rest: &str) -> Result<Source, String> {
    let (head, options) = rest.split_once('?').unwrap_or((rest, ""));
    let (name, scale) = head.split_once('@').unwrap_or((head, "1"));
    let published = Published::find(name).ok_or_else(|| format!("`{name}` is not among the published sets"))?;
    let scale = match scale.parse::<f64>() {
        Ok(scale) if scale > 0.0 && scale <= 100.0 => scale,
        _ => return Err(format!("the scale `{scale}` is not a number above 0 and up to 100")),
    };
    let mut made = Synthetic { published, scale, train: None, test: None, features: None };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let limit = match key {
            "train" => &mut made.train,
            "test" => &mut made.test,
            "features" => &mut made.features,
            _ => return Err(format!("`{key}` is neither `train` nor `test` nor `features`")),
        };
        *limit = Some(value.parse().map_err(|_| format!("`{value}` is no number of rows or features"))?);
    }
    Ok(Source::Synthetic(made))
}

fn xmc(rest: &str) -> Result<Source, String> {
    let (files, weighting) = match rest.rsplit_once("?weighting=") {
        None => (rest, Weighting::None),
        Some((files, "none")) => (files, Weighting::None),
        Some((files, "tf-idf")) => (files, Weighting::TfIdf),
        Some((_, other)) => return Err(format!("the weighting `{other}` is neither `none` nor `tf-idf`")),
    };
    match files.split_once(',') {
        Some((train, test)) if !train.is_empty() && !test.is_empty() => {
            Ok(Source::Xmc(Xmc { train: train.into(), test: test.into(), weighting }))
        }
        _ => Err("two files are needed, separated by a comma".into()),
    }
}

/// How a source stands in TOML or JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a source as a string, or a table with `train`, `test` and perhaps `weighting`")]
enum Form {
    Text(String),
    Files(Files),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Files {
    train: PathBuf,
    test: PathBuf,
    #[serde(default)]
    weighting: Weighting,
}

impl TryFrom<Form> for Source {
    type Error = DataError;

    fn try_from(form: Form) -> Result<Self, DataError> {
        match form {
            Form::Text(text) => text.parse(),
            Form::Files(Files { train, test, weighting }) => Ok(Source::Xmc(Xmc { train, test, weighting })),
        }
    }
}

impl From<Source> for Form {
    fn from(source: Source) -> Self {
        match source {
            Source::Xmc(Xmc { train, test, weighting }) => Form::Files(Files { train, test, weighting }),
            other => Form::Text(other.to_string()),
        }
    }
}

//! From a [`Source`] to a [`Dataset`].

use super::cache::{self, Unusable};
use super::{DataError, Dataset, Source, Xmc, idx, synthetic, xmc};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use xxhash_rust::xxh3::xxh3_64;

/// How a data set is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Where built data sets are kept as binary files; `None` builds them anew each time and keeps nothing.
    pub cache_dir: Option<PathBuf>,
    /// Seed of the split and of synthetic rows.
    pub seed: u64,
    /// Hears how far the work has come.
    pub progress: Arc<dyn Progress>,
}

impl Default for OpenOptions {
    /// The cache in the folder `SLIDEBENCH_CACHE` names, else in `target/slidebench-data` under the current folder, so
    /// that `cargo clean` removes it; seed 0; silent.
    fn default() -> Self {
        let folder = std::env::var_os("SLIDEBENCH_CACHE").filter(|folder| !folder.is_empty());
        let folder = folder.map_or_else(|| PathBuf::from("target/slidebench-data"), PathBuf::from);
        Self { cache_dir: Some(folder), seed: 0, progress: Arc::new(Silent) }
    }
}

/// Hears of the work of [`open`]; called from one thread at a time.
pub trait Progress: Send + Sync {
    /// `done` of `total` units (bytes or rows) of a stage such as `reading train.txt`; `total` is 0 where unknown.
    fn advance(&self, stage: &str, done: u64, total: u64);

    /// Something went wrong that does not harm the data, such as a cache that could not be written.
    fn warn(&self, _message: &str) {}
}

/// Keeps quiet.
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _stage: &str, _done: u64, _total: u64) {}
}

impl<F: Fn(&str, u64, u64) + Send + Sync> Progress for F {
    fn advance(&self, stage: &str, done: u64, total: u64) {
        self(stage, done, total);
    }
}

/// Opens a data set: from its cache where that is sound and still true, else by building it (and caching it).
///
/// # Errors
/// [`DataError`] where the source cannot be read. A cache that cannot be read or written is no error: the data set is
/// built, and `progress` is warned.
pub fn open(source: &Source, options: &OpenOptions) -> Result<Dataset, DataError> {
    let recipe = recipe(source, options.seed)?;
    let file = options.cache_dir.as_ref().map(|folder| folder.join(file_name(source, options.seed)));
    if let Some(file) = &file {
        options.progress.advance("reading the cache", 0, 0);
        match cache::read(file, &recipe) {
            Ok(data) => return Ok(data),
            Err(Unusable::Missing | Unusable::Stale) => {}
            Err(Unusable::Damaged) => {
                options.progress.warn(&format!("the cache {} is damaged and is built anew", file.display()));
            }
        }
    }
    let data = build(source, options)?;
    if let Some(file) = &file {
        options.progress.advance("writing the cache", 0, 0);
        if let Err(error) = cache::write(file, &recipe, &data) {
            options.progress.warn(&format!(
                "the cache {} cannot be written ({error}); the data will be built anew next time",
                file.display()
            ));
        }
    }
    Ok(data)
}

/// Everything the content depends on. Files count by size and time of change.
fn recipe(source: &Source, seed: u64) -> Result<String, DataError> {
    let mut recipe = identity(source, seed);
    for file in files(source)? {
        let meta = std::fs::metadata(&file).map_err(|error| DataError::io(&file, error))?;
        let changed = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        recipe += &format!("; {}: {} bytes, changed {}", file.display(), meta.len(), changed.as_nanos());
    }
    Ok(recipe)
}

/// The source and, where it matters, the seed; paths in full.
fn identity(source: &Source, seed: u64) -> String {
    let full = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    match source {
        Source::Xmc(Xmc { train, test, weighting }) => {
            Source::Xmc(Xmc { train: full(train), test: full(test), weighting: *weighting }).to_string()
        }
        Source::Idx(folder) => Source::Idx(full(folder)).to_string(),
        _ => format!("{source} seed {seed}"),
    }
}

/// The files a source is read from.
fn files(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    Ok(match source {
        Source::Xmc(Xmc { train, test, .. }) => vec![train.clone(), test.clone()],
        Source::Idx(folder) => idx::files(folder)?.into(),
        Source::Moby | Source::Webster | Source::WebsterText | Source::Synthetic(_) => vec![],
    })
}

/// A name for the cache of a source: its beginning, to be read, and a hash, to be the only one.
fn file_name(source: &Source, seed: u64) -> String {
    let identity = identity(source, seed);
    let readable = identity.chars().take(32).map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
    format!("{}-{:016x}.bin", readable.collect::<String>(), xxh3_64(identity.as_bytes()))
}

fn build(source: &Source, options: &OpenOptions) -> Result<Dataset, DataError> {
    match source {
        #[cfg(feature = "embedded-data")]
        Source::Moby => Ok(super::words::moby(options.seed)),
        #[cfg(feature = "embedded-data")]
        Source::Webster => Ok(super::words::webster(options.seed)),
        #[cfg(feature = "embedded-data")]
        Source::WebsterText => Ok(super::words::webster_text(options.seed)),
        #[cfg(not(feature = "embedded-data"))]
        Source::Moby => Err(DataError::NotEmbedded { name: "moby" }),
        #[cfg(not(feature = "embedded-data"))]
        Source::Webster => Err(DataError::NotEmbedded { name: "webster" }),
        #[cfg(not(feature = "embedded-data"))]
        Source::WebsterText => Err(DataError::NotEmbedded { name: "webster-text" }),
        Source::Synthetic(synthetic) => Ok(synthetic::generate(synthetic, options.seed, &*options.progress)),
        Source::Xmc(files) => xmc::read(files, &*options.progress),
        Source::Idx(folder) => idx::read(folder, &*options.progress),
    }
}

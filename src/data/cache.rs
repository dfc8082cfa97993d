//! Built data sets as binary files that are memory-mapped: believed only where every byte is as written and the recipe
//! is still the same.
//!
//! | bytes | content |
//! |---|---|
//! | 0..8 | `slidedat` |
//! | 8..16 | xxh3 (64 bits) of everything from byte 16 to the end |
//! | 16..24 | version of this layout |
//! | 24..32 | length of the description |
//! | 32.. | the description in JSON: [`Description`] |
//! | … | the arrays, each from a multiple of 64 bytes, zeros between |
//!
//! Numbers are little-endian, as on every machine this runs on. The file is written under another name and renamed, so nobody reads half of one. Nothing here ever writes into a finished file; who does so under a running program changes its data.

use super::{Array, Csr, Dataset, Features, LabelLists, Split};
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: &[u8] = b"slidedat";
/// To be raised whenever the layout, a recipe, the parser or the generator gives other bytes.
const VERSION: u64 = 1;
const ALIGN: usize = 64;
const PREAMBLE: usize = 32;

/// What the arrays are.
#[derive(Serialize, Deserialize)]
struct Description {
    /// Everything the content depends on: source, seed, sizes and times of the files it was read from.
    recipe: String,
    name: String,
    provenance: String,
    fingerprint: u64,
    inputs: usize,
    labels: usize,
    train: SplitForm,
    test: SplitForm,
    /// Length in bytes of every array, in order: for train, then for test, the features' offsets (u64), indices (u32)
    /// and values (f32), or their values alone where dense; then the labels' offsets (u64) and the labels (u32).
    arrays: Vec<usize>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SplitForm {
    Sparse,
    Dense { width: usize },
}

/// Writes `data` so that [`read`] with the same `recipe` finds it.
pub(super) fn write(file: &Path, recipe: &str, data: &Dataset) -> io::Result<()> {
    let (train, mut arrays) = arrays(&data.train);
    let (test, test_arrays) = self::arrays(&data.test);
    arrays.extend(test_arrays);
    let description = serde_json::to_vec(&Description {
        recipe: recipe.into(),
        name: data.name.clone(),
        provenance: data.provenance.clone(),
        fingerprint: data.fingerprint,
        inputs: data.inputs,
        labels: data.labels,
        train,
        test,
        arrays: arrays.iter().map(|bytes| bytes.len()).collect(),
    })?;

    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    static WRITES: AtomicU32 = AtomicU32::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let unfinished = file.with_extension(format!("{}-{write}.tmp", std::process::id()));
    let written = (|| {
        let mut out = Hashed { out: BufWriter::with_capacity(1 << 20, File::create(&unfinished)?), hash: Xxh3::new() };
        out.out.write_all(&[0; 16])?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&(description.len() as u64).to_le_bytes())?;
        out.put(&description)?;
        let mut end = PREAMBLE + description.len();
        for bytes in arrays {
            let start = end.next_multiple_of(ALIGN);
            out.put(&[0; ALIGN][..start - end])?;
            out.put(bytes)?;
            end = start + bytes.len();
        }
        out.out.seek(SeekFrom::Start(0))?;
        out.out.write_all(MAGIC)?;
        out.out.write_all(&out.hash.digest().to_le_bytes())?;
        // No sync: what a power cut leaves behind fails the checksum.
        drop(out.out.into_inner()?);
        fs::rename(&unfinished, file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written
}

/// The form of a split and the bytes of its arrays, in the file's order.
fn arrays(split: &Split) -> (SplitForm, Vec<&[u8]>) {
    let (form, mut arrays): (_, Vec<&[u8]>) = match &split.features {
        Features::Sparse(Csr { offsets, indices, values }) => (
            SplitForm::Sparse,
            vec![bytemuck::cast_slice(offsets), bytemuck::cast_slice(indices), bytemuck::cast_slice(values)],
        ),
        Features::Dense { width, values } => (SplitForm::Dense { width: *width }, vec![bytemuck::cast_slice(values)]),
    };
    arrays.extend([bytemuck::cast_slice(&split.labels.offsets), bytemuck::cast_slice(&split.labels.labels)]);
    (form, arrays)
}

/// Writes and hashes.
struct Hashed {
    out: BufWriter<File>,
    hash: Xxh3,
}

impl Hashed {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.out.write_all(bytes)
    }
}

/// Why a cache is not used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// There is none.
    Missing,
    /// It was made from something else, or by another version; nothing is wrong with it.
    Stale,
    /// It is not as it was written.
    Damaged,
}

/// Maps what [`write`] wrote, after checking all of it. Dense features are copied out of the map, the rest stays there.
pub(super) fn read(file: &Path, recipe: &str) -> Result<Dataset, Unusable> {
    let open = File::open(file).map_err(|_| Unusable::Missing)?;
    // SAFETY: this program never writes to a finished cache file, only renames new ones into place; a map of the old
    // one keeps its bytes.
    let map = Arc::new(unsafe { Mmap::map(&open) }.map_err(|_| Unusable::Damaged)?);
    let number = |at: usize| Some(u64::from_le_bytes(map.get(at..at + 8)?.try_into().ok()?));
    let intact = map.starts_with(MAGIC) && number(8) == map.get(16..).map(xxh3_64);
    if !intact {
        return Err(Unusable::Damaged);
    }
    if number(16) != Some(VERSION) {
        return Err(Unusable::Stale);
    }
    decode(&map, number(24).unwrap_or(0) as usize, recipe).unwrap_or(Err(Unusable::Damaged))
}

fn decode(map: &Arc<Mmap>, description_bytes: usize, recipe: &str) -> Option<Result<Dataset, Unusable>> {
    let mut end = PREAMBLE.checked_add(description_bytes)?;
    let description: Description = serde_json::from_slice(map.get(PREAMBLE..end)?).ok()?;
    if description.recipe != recipe {
        return Some(Err(Unusable::Stale));
    }
    let mut lengths = description.arrays.iter();
    let mut next = || {
        let (start, bytes) = (end.next_multiple_of(ALIGN), *lengths.next()?);
        end = start.checked_add(bytes)?;
        Some((start, bytes))
    };
    fn array<T: bytemuck::Pod>(map: &Arc<Mmap>, place: Option<(usize, usize)>) -> Option<Array<T>> {
        let (start, bytes) = place?;
        Array::mapped(map, start, bytes)
    }
    let mut split = |form| {
        let features = match form {
            SplitForm::Sparse => {
                Features::Sparse(Csr::from_arrays(array(map, next())?, array(map, next())?, array(map, next())?)?)
            }
            SplitForm::Dense { width } => Features::Dense { width, values: array(map, next())?.to_vec() },
        };
        Some(Split { features, labels: LabelLists::from_arrays(array(map, next())?, array(map, next())?)? })
    };
    let (train, test) = (split(description.train)?, split(description.test)?);
    Some(Ok(Dataset {
        name: description.name,
        inputs: description.inputs,
        labels: description.labels,
        train,
        test,
        provenance: description.provenance,
        fingerprint: description.fingerprint,
    }))
}

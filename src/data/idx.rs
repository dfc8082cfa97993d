//! Images in IDX files (MNIST, Fashion-MNIST, USPS): dense input, bytes 0..=255 scaled to 0..=1, one label a row.
//!
//! A folder holds four files, told apart by their names: `images` or `labels`, and `train`, `test` or `t10k`, with or
//! without `.gz`, `.zst` or `.xz`. An IDX file begins with two zeros, the type (8: bytes), the number of dimensions and
//! each dimension as a big-endian `u32`; the values follow, the last dimension fastest.

use super::{DataError, Dataset, Features, LabelLists, Progress, Source, Split, compressed};
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// The four files: training images and labels, test images and labels.
pub(super) fn files(folder: &Path) -> Result<[PathBuf; 4], DataError> {
    let fail = |error| DataError::io(folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
    }
    let find = |what: &str, sides: &[&str]| {
        let mut found = names.iter().filter(|name| name.contains(what) && sides.iter().any(|side| name.contains(side)));
        match (found.next(), found.next()) {
            (Some(name), None) => Ok(folder.join(name)),
            (None, _) => Err(DataError::file(
                folder,
                format!("no file has `{what}` and `{}` in its name", sides.join("` or `")),
                "give the folder that holds the four IDX files, named as MNIST's are",
            )),
            (Some(one), Some(other)) => Err(DataError::file(
                folder,
                format!("{one} and {other} could both be the {} {what}", sides[0]),
                "leave one of them in the folder",
            )),
        }
    };
    let (train, test): (&[&str], &[&str]) = (&["train"], &["test", "t10k"]);
    Ok([find("images", train)?, find("labels", train)?, find("images", test)?, find("labels", test)?])
}

/// Reads a folder.
pub(super) fn read(folder: &Path, progress: &dyn Progress) -> Result<Dataset, DataError> {
    let [train_images, train_labels, test_images, test_labels] = files(folder)?;
    let train = split(&train_images, &train_labels, progress)?;
    let test = split(&test_images, &test_labels, progress)?;
    let (inputs, test_inputs) = (width(&train), width(&test));
    if inputs != test_inputs {
        return Err(DataError::file(
            &test_images,
            format!("its images have {test_inputs} values, those of {} have {inputs}", train_images.display()),
            "give the four files of one set",
        ));
    }
    let top = [&train, &test].into_iter().flat_map(|split| split.labels.labels()).max();
    let labels = top.map_or(0, |&top| top as usize + 1);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let provenance = format!("IDX images of {name}, bytes divided by 255");
    Ok(Dataset::new(Source::Idx(folder.into()).to_string(), inputs, labels, train, test, provenance))
}

fn width(split: &Split) -> usize {
    match &split.features {
        Features::Dense { width, .. } => *width,
        Features::Sparse(_) => unreachable!("images are dense"),
    }
}

fn split(images: &Path, labels: &Path, progress: &dyn Progress) -> Result<Split, DataError> {
    let (shape, pixels) = array(images, progress)?;
    let (label_shape, ids) = array(labels, progress)?;
    let (&rows, sides) = shape.split_first().expect("an array has a dimension");
    if label_shape.len() != 1 || label_shape[0] != rows {
        return Err(DataError::file(
            labels,
            format!("its shape is {label_shape:?}, but {} holds {rows} images", images.display()),
            "labels are one byte an image; give the four files of one set",
        ));
    }
    let values = pixels.par_iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let labels = LabelLists::new((0..=rows as u64).collect(), ids.into_iter().map(u32::from).collect());
    Ok(Split { features: Features::Dense { width: sides.iter().product(), values }, labels })
}

/// Shape and bytes of an IDX file.
fn array(path: &Path, progress: &dyn Progress) -> Result<(Vec<usize>, Vec<u8>), DataError> {
    const REMEDY: &str = "give an IDX file of bytes, as MNIST's are; if it is one, it is damaged";
    let mut file = compressed::open(path)?;
    let fail = |error| DataError::io(path, error);
    let mut magic = [0; 4];
    file.reader.read_exact(&mut magic).map_err(fail)?;
    let &[0, 0, 8, dimensions @ 1..=8] = &magic else {
        let problem = format!("it begins with the bytes {magic:02x?}, not with 00 00 08 and a number of dimensions");
        return Err(DataError::file(path, problem, REMEDY));
    };
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let mut side = [0; 4];
        file.reader.read_exact(&mut side).map_err(fail)?;
        shape.push(u32::from_be_bytes(side) as usize);
    }
    let size = shape.iter().try_fold(1usize, |size, &side| size.checked_mul(side));
    // What the header promises is not reserved before it is there.
    let mut bytes = Vec::new();
    file.reader.read_to_end(&mut bytes).map_err(fail)?;
    if size != Some(bytes.len()) {
        let problem = format!("its shape is {shape:?}, but {} bytes follow", bytes.len());
        return Err(DataError::file(path, problem, REMEDY));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    progress.advance(&format!("reading {name}"), file.done.load(Ordering::Relaxed), file.size);
    Ok((shape, bytes))
}

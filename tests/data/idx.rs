//! IDX images.

use super::*;
use slidebench::data::{DataError, Inputs};

/// An IDX file of bytes.
fn idx(shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|side| file.extend(side.to_be_bytes()));
    file.extend(values);
    file
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn open(folder: &tempfile::TempDir) -> Result<Dataset, DataError> {
    let cache_dir = Some(folder.path().join("cache"));
    data::open(&Source::Idx(folder.path().into()), &OpenOptions { cache_dir, ..OpenOptions::default() })
}

fn small() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("train-images-idx3-ubyte", idx(&[2, 2, 3], &[0, 51, 255, 1, 2, 3, 4, 5, 6, 7, 8, 9])),
        ("train-labels-idx1-ubyte", idx(&[2], &[3, 0])),
        ("t10k-images-idx3-ubyte", idx(&[1, 2, 3], &[9, 0, 0, 0, 0, 255])),
        ("t10k-labels-idx1-ubyte", idx(&[1], &[4])),
    ]
}

#[test]
fn images_become_dense_rows_between_0_and_1() {
    let folder = folder(&small());
    let data = open(&folder).unwrap();
    assert_invariants(&data);
    assert_eq!((data.inputs, data.labels, data.train.rows(), data.test.rows()), (6, 5, 2, 1));
    let Features::Dense { values, .. } = &data.train.features else { panic!("images are dense") };
    assert_eq!(values[..4], [0.0, 0.2, 1.0, 1.0 / 255.0]);
    assert_eq!(data.train.labels.row(0), [3]);
    assert_eq!(data.test.labels.row(0), [4]);
    assert_eq!(open(&folder).unwrap(), data, "the cache gives the same");

    let mut batch = data::Batch::default();
    data.train.fill(&[1, 0], &mut batch);
    let Inputs::Dense { width: 6, values: filled } = &batch.inputs else { panic!("{batch:?}") };
    assert_eq!(filled[..6], values[6..]);
}

#[test]
fn names_and_packing_may_vary() {
    let plain = open(&folder(&small())).unwrap();
    let packed: Vec<(&str, Vec<u8>)> = small()
        .into_iter()
        .zip(["usps-train-images.idx3-ubyte", "usps-train-labels.gz", "usps-test-images.zst", "usps-test-labels"])
        .map(|((_, content), name)| match name.rsplit_once('.') {
            Some((_, "gz")) => {
                let mut gz = vec![];
                std::io::Read::read_to_end(
                    &mut flate2::read::GzEncoder::new(&content[..], flate2::Compression::fast()),
                    &mut gz,
                )
                .unwrap();
                (name, gz)
            }
            Some((_, "zst")) => (name, zstd::encode_all(&content[..], 1).unwrap()),
            _ => (name, content),
        })
        .collect();
    let packed = open(&folder(&packed)).unwrap();
    assert_eq!((packed.train, packed.test), (plain.train, plain.test));
}

#[test]
fn what_is_wrong_is_said() {
    let with = |name: &str, content: Option<Vec<u8>>| {
        let mut files = small();
        files.retain(|file| file.0 != name);
        let folder = folder(&files);
        if let Some(content) = content {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        open(&folder).unwrap_err().to_string()
    };
    let images = "train-images-idx3-ubyte";
    for (name, content, expected) in [
        (images, None, "no file has `images` and `train`"),
        ("train-labels-extra", Some(vec![]), "could both be the train labels"),
        (images, Some(vec![]), "damaged"),
        (images, Some(vec![0, 0, 8]), "damaged"),
        (images, Some(vec![1, 0, 8, 3]), "begins with the bytes [01, 00, 08, 03]"),
        (images, Some(vec![0, 0, 13, 3]), "not with 00 00 08"),
        (images, Some(vec![0, 0, 8, 0]), "not with 00 00 08"),
        (images, Some(idx(&[2, 2, 3], &[1; 11])), "11 bytes follow"),
        (images, Some(idx(&[2, 2, 3], &[1; 13])), "13 bytes follow"),
        (images, Some(idx(&[u32::MAX; 8], &[1; 13])), "13 bytes follow"),
        (images, Some(idx(&[2, 5], &[1; 10])), "have 6 values"),
        ("t10k-labels-idx1-ubyte", Some(idx(&[2], &[1, 1])), "holds 1 images"),
        ("t10k-labels-idx1-ubyte", Some(idx(&[1, 1], &[1])), "one byte an image"),
    ] {
        let message = with(name, content);
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert!(data::open(&source("idx:/no/such/folder"), &OpenOptions::default()).is_err());
}

//! The binary cache is used when sound and true, and rebuilt otherwise.

use super::*;
use slidebench::data::Progress;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use xxhash_rust::xxh3::xxh3_64;

/// Remembers what [`data::open`] told.
#[derive(Default)]
struct Log {
    stages: Mutex<Vec<String>>,
    warnings: Mutex<Vec<String>>,
}

impl Progress for Log {
    fn advance(&self, stage: &str, _done: u64, _total: u64) {
        self.stages.lock().unwrap().push(stage.into());
    }

    fn warn(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.into());
    }
}

/// Two text files and a cache folder.
struct Desk {
    folder: tempfile::TempDir,
    cache: PathBuf,
}

/// What one call of [`data::open`] did.
struct Opened {
    data: Dataset,
    built: bool,
    warnings: Vec<String>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.txt"), "3 4 5\n1,4 0:0.5 3:-2\n 2:1e-3\n2,3\n").unwrap();
        std::fs::write(folder.path().join("test.txt"), "1 4 5\n1 1:1\n").unwrap();
        let cache = folder.path().join("cache/inner");
        Self { folder, cache }
    }

    fn open(&self) -> Opened {
        let path = self.folder.path().display();
        let log = Arc::new(Log::default());
        let options = OpenOptions { cache_dir: Some(self.cache.clone()), progress: log.clone(), seed: 0 };
        let data = data::open(&source(&format!("xmc:{path}/train.txt,{path}/test.txt")), &options);
        let stages = log.stages.lock().unwrap();
        Opened {
            data: data.unwrap_or_else(|error| panic!("{error}")),
            built: stages.iter().any(|stage| stage == "reading train.txt"),
            warnings: log.warnings.lock().unwrap().clone(),
        }
    }

    /// The one file in the cache folder.
    fn file(&self) -> PathBuf {
        let files: Vec<PathBuf> = std::fs::read_dir(&self.cache).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }
}

#[test]
fn the_second_open_reads_what_the_first_wrote() {
    let desk = Desk::new();
    let first = desk.open();
    assert!(first.built && first.warnings.is_empty());
    let second = desk.open();
    assert!(!second.built && second.warnings.is_empty());
    assert_eq!(first.data, second.data);
    assert_invariants(&second.data);
    desk.file();
}

#[test]
fn every_array_begins_on_a_cache_line() {
    let desk = Desk::new();
    desk.open();
    let mapped = desk.open().data;
    let starts = [
        sparse(&mapped.train).indices().as_ptr() as usize,
        sparse(&mapped.train).values().as_ptr() as usize,
        mapped.train.labels.labels().as_ptr() as usize,
        sparse(&mapped.test).indices().as_ptr() as usize,
    ];
    assert!(starts.iter().all(|start| start % 64 == 0), "{starts:?}");
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let desk = Desk::new();
    let sound = desk.open().data;
    let bytes = std::fs::read(desk.file()).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(desk.file(), damaged).unwrap();
        let opened = desk.open();
        assert!(opened.built, "byte {at}");
        assert_eq!(opened.data, sound, "byte {at}");
        assert!(opened.warnings[0].contains("damaged"), "byte {at}: {:?}", opened.warnings);
    }
    assert_eq!(std::fs::read(desk.file()).unwrap(), bytes, "the last open wrote a sound cache again");
}

#[test]
fn a_cache_cut_short_or_grown_is_noticed() {
    let desk = Desk::new();
    let sound = desk.open().data;
    let bytes = std::fs::read(desk.file()).unwrap();
    for length in (0..bytes.len()).step_by(7) {
        std::fs::write(desk.file(), &bytes[..length]).unwrap();
        let opened = desk.open();
        assert!(opened.built && opened.data == sound, "{length} bytes");
    }
    std::fs::write(desk.file(), [&bytes[..], &[0]].concat()).unwrap();
    assert!(desk.open().built);
    assert!(!desk.open().built);
}

/// Changes a sound cache and makes its checksum fit again.
fn forge(file: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    let sum = xxh3_64(&bytes[16..]).to_le_bytes();
    bytes[8..16].copy_from_slice(&sum);
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn another_version_is_rebuilt() {
    let desk = Desk::new();
    let sound = desk.open().data;
    forge(&desk.file(), |_| {});
    assert!(!desk.open().built, "a forged checksum passes, so the next cases show what they should");
    forge(&desk.file(), |bytes| bytes[16] += 1);
    let opened = desk.open();
    assert!(opened.built && opened.warnings.is_empty());
    assert_eq!(opened.data, sound);
}

#[test]
fn a_description_that_does_not_fit_the_arrays_is_rebuilt() {
    let desk = Desk::new();
    let sound = desk.open().data;
    for (from, to) in [
        ("\"arrays\":[32", "\"arrays\":[40"),
        ("\"arrays\":[32", "\"arrays\":[31"),
        ("\"train\":\"sparse\"", "\"train\":\"sparsf\""),
        ("\"arrays\"", "\"arrayz\""),
    ] {
        forge(&desk.file(), |bytes| {
            let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        });
        let opened = desk.open();
        assert!(opened.built, "{to}");
        assert_eq!(opened.data, sound);
    }
    forge(&desk.file(), |bytes| bytes[24..32].copy_from_slice(&u64::MAX.to_le_bytes()));
    assert_eq!(desk.open().data, sound);
}

#[test]
fn a_changed_source_file_is_read_again() {
    let desk = Desk::new();
    let before = desk.open().data;
    std::fs::write(desk.folder.path().join("test.txt"), "1 4 5\n2 1:1.5\n").unwrap();
    let after = desk.open();
    assert!(after.built && after.warnings.is_empty());
    assert_ne!(before.fingerprint, after.data.fingerprint);
    assert_eq!(after.data.test.labels.row(0), [2]);
    assert!(!desk.open().built);
    desk.file();
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let mut desk = Desk::new();
    desk.cache = desk.folder.path().join("train.txt/cache");
    let opened = desk.open();
    assert!(opened.built);
    assert!(opened.warnings[0].contains("cannot be written"), "{:?}", opened.warnings);
}

#[test]
fn opening_at_once_from_many_threads_is_safe() {
    let desk = Desk::new();
    let sound = desk.open().data;
    std::fs::remove_file(desk.file()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(desk.open().data, sound));
        }
    });
    assert!(!desk.open().built);
    desk.file();
}

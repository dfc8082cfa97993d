//! Text files of the Extreme Classification Repository: what is read, and what is refused by name.

use super::*;
use proptest::prelude::*;
use slidebench::data::{Csr, DataError, LabelLists, Weighting, Xmc};
use std::io::Write;

/// A folder with one file, which serves as both sides.
struct OneFile {
    folder: tempfile::TempDir,
}

impl OneFile {
    fn new(content: &[u8]) -> Self {
        let file = Self { folder: tempfile::tempdir().unwrap() };
        file.write(content);
        file
    }

    /// Cuts the file to size after writing: to empty it first would make some file systems wait for the disk.
    fn write(&self, content: &[u8]) {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(self.path()).unwrap();
        file.write_all(content).unwrap();
        file.set_len(content.len() as u64).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("rows.txt")
    }

    fn open(&self, weighting: Weighting) -> Result<Dataset, DataError> {
        let source = Source::Xmc(Xmc { train: self.path(), test: self.path(), weighting });
        data::open(&source, &OpenOptions { cache_dir: None, ..OpenOptions::default() })
    }
}

fn read(content: &[u8]) -> Result<Dataset, DataError> {
    OneFile::new(content).open(Weighting::None)
}

fn rows(content: &str) -> Dataset {
    let data = read(content.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    assert_invariants(&data);
    data
}

#[test]
fn a_file_becomes_rows() {
    let data = rows("3 4 5\n1,4 0:0.5 3:-2\n0 2:1e-3\n2,3 1:7 2:8 3:9\n");
    assert_eq!((data.inputs, data.labels), (4, 5));
    let features = Csr::new(vec![0, 2, 3, 6], vec![0, 3, 2, 1, 2, 3], vec![0.5, -2.0, 1e-3, 7.0, 8.0, 9.0]);
    let labels = LabelLists::new(vec![0, 2, 3, 5], vec![1, 4, 0, 2, 3]);
    assert_eq!(data.train, Split { features: Features::Sparse(features), labels });
    assert_eq!(data.test, data.train);
}

#[test]
fn rows_may_lack_labels_or_features_or_both() {
    let data = rows("6 4 5\n 0:1\n3\n2 \n \n\n1:2 3:4\n");
    let lengths: Vec<_> =
        (0..6).map(|r| (data.train.labels.row(r).len(), sparse(&data.train).row(r).0.len())).collect();
    assert_eq!(lengths, [(0, 1), (1, 0), (1, 0), (0, 0), (0, 0), (0, 2)]);
}

#[test]
fn layout_does_not_matter() {
    let plain = rows("2 4 5\n1,2 0:1 2:3\n 1:1\n");
    for other in [
        "2 4 5\r\n1,2 0:1 2:3\r\n 1:1\r\n",
        "2 4 5\n1,2 0:1 2:3\n 1:1",
        "2 4 5\r\n1,2 0:1 2:3\r\n 1:1\r",
        "2 4 5\n1,2 0:1 2:3\n 1:1\n\n \n\t\n\r\n",
        "2\t4  5 \n1,2\t0:1   2:3 \n\t1:1\t\n",
        "2 4 5\n2,1 2:3 0:1\n 1:1\n",
        "2 4 5\n2,1,2,1 2:1 0:1 2:2\n 1:1\n",
        "02 004 5\n01,2 0:1.0 02:3e0\n 1:+1\n",
    ] {
        assert_eq!(rows(other).train, plain.train, "{other:?}");
    }
}

#[test]
fn a_mistake_is_named_with_its_place() {
    for (content, line, column, expected) in [
        ("", 1, 1, "three numbers"),
        ("\n", 1, 1, "three numbers"),
        ("1,2 0:1\n", 1, 1, "three numbers"),
        ("1 2\n", 1, 1, "three numbers"),
        ("1 2 3 4\n", 1, 1, "three numbers"),
        ("-1 2 3\n", 1, 1, "three numbers"),
        ("1 99999999999999999999 3\n", 1, 1, "three numbers"),
        ("1 268435457 3\n", 1, 1, "up to 2^28"),
        ("1 3 4294967295\n", 1, 1, "up to 2^28"),
        ("2 4 5\n1 0:1\n1 4:1\n", 3, 3, "a feature index below 4"),
        ("1 4 5\n1 99999999999999999999:1\n", 2, 3, "a feature index below 4"),
        ("1 4 5\n0,5 0:1\n", 2, 3, "a label below 5"),
        ("1 4 5\n-1 0:1\n", 2, 1, "a label"),
        ("1 4 5\n1.5 0:1\n", 2, 1, "labels separated by commas"),
        ("1 4 5\n1, 0:1\n", 2, 3, "a label"),
        ("1 4 5\nx 0:1\n", 2, 1, "a label"),
        ("1 4 5\n1 2\n", 2, 4, "`:` and a value"),
        ("1 4 5\n1 2=3\n", 2, 4, "`:` and a value"),
        ("1 4 5\n1 :3\n", 2, 3, "a feature index"),
        ("1 4 5\n1 2:\n", 2, 5, "a value"),
        ("1 4 5\n1 2: 3\n", 2, 5, "a value"),
        ("1 4 5\n1 2:3:4\n", 2, 5, "a value"),
        ("1 4 5\n1 2:three\n", 2, 5, "a value"),
        ("1 4 5\n1 0:1 2:nan\n", 2, 9, "a finite value"),
        ("1 4 5\n1 2:-inf\n", 2, 5, "a finite value"),
        ("1 4 5\n1 2:1e39\n", 2, 5, "a finite value"),
        ("1 4 5\n1 2:3e38 2:3e38\n", 2, 1, "values whose sum"),
        ("1 4 5\n1 0:1\n2 0:1\n", 3, 1, "the end of the file after 1 rows"),
        ("1 4 5\n1 0:1\n\n2 0:1\n", 3, 1, "the end of the file after 1 rows"),
    ] {
        match read(content.as_bytes()) {
            Err(DataError::Syntax { file, line: l, column: c, expected: e, remedy, .. }) => {
                assert!(file.ends_with("rows.txt"));
                assert_eq!((l, c), (line, column), "{content:?}: {e}");
                assert!(e.contains(expected), "{content:?}: {e}");
                assert!(!remedy.is_empty());
            }
            other => panic!("{content:?}: {other:?}"),
        }
    }
}

#[test]
fn what_was_found_is_quoted_and_kept_short() {
    let message = read(b"1 4 5\n1 2:\xff\x00\n").unwrap_err().to_string();
    assert!(message.contains(r"rows.txt:2:5: expected a value, found `\xff\x00`"), "{message}");
    let long = format!("1 4 5\n1 2:{}\n", "x".repeat(1_000_000));
    assert!(read(long.as_bytes()).unwrap_err().to_string().len() < 400);
}

/// Large enough that it is read in several blocks, each parsed in many chunks.
#[test]
fn places_far_into_a_large_file_are_right() {
    let mut content = String::from("200000 10 10\n");
    let space = " ".repeat(180);
    for row in 0..200_000 {
        let value = if row == 189_012 { "x" } else { "0.25" };
        content.push_str(&format!("{}{space}{}:{value}\n", row % 10, row % 7));
    }
    match read(content.as_bytes()) {
        Err(DataError::Syntax { line, column, .. }) => assert_eq!((line, column), (189_014, 184)),
        other => panic!("{other:?}"),
    }
    let data = rows(&content.replace('x', "1"));
    for r in 0..200_000 {
        let value = if r == 189_012 { 1.0 } else { 0.25 };
        assert_eq!(sparse(&data.train).row(r), (&[r as u32 % 7][..], &[value][..]));
        assert_eq!(data.train.labels.row(r), [r as u32 % 10]);
    }
}

#[test]
fn a_header_that_disagrees_is_refused() {
    let message = read(b"3 4 5\n1 0:1\n2 0:1\n").unwrap_err().to_string();
    assert!(message.contains("says 3 rows, but there are 2"), "{message}");

    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (folder.path().join("train.txt"), folder.path().join("test.txt"));
    std::fs::write(&train, "1 4 5\n1 0:1\n").unwrap();
    std::fs::write(&test, "1 4 6\n1 0:1\n").unwrap();
    let source = Source::Xmc(Xmc { train, test, weighting: Weighting::None });
    let message = data::open(&source, &OpenOptions::default()).unwrap_err().to_string();
    assert!(message.contains("test.txt") && message.contains("6 labels"), "{message}");
}

#[test]
fn a_header_may_promise_more_than_memory_holds() {
    let message = read(b"4294967295 4 5\n1 0:1\n").unwrap_err().to_string();
    assert!(message.contains("says 4294967295 rows, but there are 1"), "{message}");
    let data = rows("1 268435456 268435456\n3 5:1\n");
    assert_eq!((data.inputs, data.labels), (1 << 28, 1 << 28));
}

#[test]
fn a_missing_or_damaged_file_is_an_error_with_a_remedy() {
    let file = OneFile::new(b"");
    std::fs::remove_file(file.path()).unwrap();
    let message = file.open(Weighting::None).unwrap_err().to_string();
    assert!(message.contains("rows.txt") && message.contains("check the path"), "{message}");

    let text = "1 4 5\n1 0:1\n".repeat(1000);
    let packed = gzip(text.as_bytes());
    file.write(&packed[..packed.len() / 2]);
    let message = file.open(Weighting::None).unwrap_err().to_string();
    assert!(message.contains("damaged"), "{message}");
    assert!(data::open(&source("xmc:/,/"), &OpenOptions::default()).is_err());
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// With a window of 2 GiB, as `zstd --long=31` writes.
fn zstd_long(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
    encoder.window_log(31).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_read_as_plain_ones() {
    let text = "2 3 4\n1,2 0:1 2:0.5\n 1:1\n";
    let plain = rows(text);
    let (front, back) = text.as_bytes().split_at(11);
    // `xz` of the same text.
    let xz = "fd377a585a000004e6d6b4460200210116000000742fe5a301001832203320340a312c3220303a3120323a302e350a20313a31\
              0a00000000daab84a3755e4d6900013119591ab0821fb6f37d010000000004595a";
    let xz = (0..xz.len()).step_by(2).map(|at| u8::from_str_radix(&xz[at..at + 2], 16).unwrap()).collect();
    for packed in [gzip(text.as_bytes()), [gzip(front), gzip(back)].concat(), zstd_long(text.as_bytes()), xz] {
        assert_eq!(read(&packed).unwrap().train, plain.train);
    }
}

#[test]
fn tf_idf_is_fitted_on_the_training_rows() {
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (folder.path().join("train.txt"), folder.path().join("test.txt"));
    std::fs::write(&train, "4 3 1\n0 0:1 1:3\n0 0:2\n0 0:1\n0 1:1\n").unwrap();
    std::fs::write(&test, "2 3 1\n0 0:2 1:1 2:5\n0\n").unwrap();
    let source = Source::Xmc(Xmc { train, test, weighting: Weighting::TfIdf });
    let data = data::open(&source, &OpenOptions { cache_dir: None, ..OpenOptions::default() }).unwrap();

    // Features 0, 1 and 2 are in 3, 2 and none (taken as 1) of the 4 training rows.
    let idf = [4.0f64 / 3.0, 2.0, 4.0].map(f64::ln);
    let weights = [(1.0 + 2.0f64.ln()) * idf[0], idf[1], (1.0 + 5.0f64.ln()) * idf[2]];
    let length = weights.iter().map(|w| w * w).sum::<f64>().sqrt();
    let (indices, values) = sparse(&data.test).row(0);
    assert_eq!(indices, [0, 1, 2]);
    for (value, weight) in values.iter().zip(weights) {
        approx::assert_relative_eq!(f64::from(*value), weight / length, max_relative = 1e-5);
    }
    assert_unit_rows(&data.train);
    assert_eq!(sparse(&data.test).row(1), (&[][..], &[][..]));

    let weights = OneFile::new(b"2 3 1\n0 0:1\n0 0:2 1:0.25\n").open(Weighting::TfIdf);
    let message = weights.unwrap_err().to_string();
    assert!(message.contains("line 3") && message.contains("0.25") && message.contains("weighting"), "{message}");
}

/// A small valid file, then changes that keep it nearly valid, which is where parsers break.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![Just("1".to_string()), any::<f32>().prop_map(|v| v.to_string()), "[0-9]{1,3}\\.[0-9]{0,9}"];
    let row = (proptest::collection::vec(0u32..12, 0..4), proptest::collection::vec((0u32..12, value), 0..5));
    let file = proptest::collection::vec(row, 0..6).prop_map(|rows| {
        let mut text = format!("{} 12 12\n", rows.len());
        for (labels, features) in rows {
            let labels: Vec<String> = labels.iter().map(u32::to_string).collect();
            text += &labels.join(",");
            features.iter().for_each(|(index, value)| text += &format!(" {index}:{value}"));
            text.push('\n');
        }
        text.into_bytes()
    });
    let piece = proptest::sample::select(vec![
        &b"\n"[..],
        b"\r\n",
        b" ",
        b",",
        b":",
        b"-",
        b".",
        b"e",
        b"0",
        b"\xff",
        b"\0",
        b"nan",
        b"inf",
        b"4294967295",
        b"99999999999999999999",
        b"1e99",
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
    ]);
    let change = (any::<prop::sample::Index>(), 0usize..4, piece);
    (file, proptest::collection::vec(change, 0..4)).prop_map(|(mut text, changes)| {
        for (place, removed, inserted) in changes {
            let at = place.index(text.len() + 1);
            let end = text.len().min(at + removed);
            text.splice(at..end, inserted.iter().copied());
        }
        text
    })
}

#[test]
fn ten_thousand_mutated_files_end_in_data_or_a_named_error() {
    let file = OneFile::new(b"");
    let (read, refused) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&(mutated(), any::<bool>()), |(content, counts)| {
        file.write(&content);
        match file.open(if counts { Weighting::TfIdf } else { Weighting::None }) {
            Ok(data) => {
                assert_invariants(&data);
                read.set(read.get() + 1);
            }
            Err(error) => {
                prop_assert!(error.to_string().contains("rows.txt"), "{error}");
                refused.set(refused.get() + 1);
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(read.get() > 500 && refused.get() > 500, "{} read, {} refused", read.get(), refused.get());
}

/// The speed of the parser in text a second of CPU time: `cargo test --release --test data parser_speed -- --ignored
/// --nocapture`. Not run otherwise, for it writes half a gigabyte and asserts no time.
#[cfg(unix)]
#[test]
#[ignore = "a measurement"]
fn parser_speed() {
    let data = build("synthetic:amazon-670k?test=1", 0);
    let file = OneFile::new(b"");
    let mut text = std::io::BufWriter::new(std::fs::File::create(file.path()).unwrap());
    writeln!(text, "{} {} {}", data.train.rows(), data.inputs, data.labels).unwrap();
    for r in 0..data.train.rows() {
        let labels: Vec<String> = data.train.labels.row(r).iter().map(u32::to_string).collect();
        write!(text, "{}", labels.join(",")).unwrap();
        let (features, values) = sparse(&data.train).row(r);
        for (feature, value) in features.iter().zip(values) {
            write!(text, " {feature}:{value:.6}").unwrap();
        }
        writeln!(text).unwrap();
    }
    text.into_inner().unwrap();

    let megabytes = 2.0 * std::fs::metadata(file.path()).unwrap().len() as f64 / 1e6;
    let (cpu, clock) = (cpu_seconds(), std::time::Instant::now());
    let read = file.open(Weighting::None).unwrap();
    let (cpu, wall) = (cpu_seconds() - cpu, clock.elapsed().as_secs_f64());
    assert_eq!(read.train.labels, data.train.labels);
    println!(
        "{megabytes:.0} MB: {:.0} MB/s of CPU time, {:.0} MB/s of wall time on {} threads",
        megabytes / cpu,
        megabytes / wall,
        rayon::current_num_threads()
    );
}

/// CPU seconds of this process, all threads, user and system.
#[cfg(unix)]
fn cpu_seconds() -> f64 {
    // SAFETY: `getrusage` fills the structure it is given, and zeros are a valid one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &mut usage), 0);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

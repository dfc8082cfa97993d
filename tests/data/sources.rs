//! Names of sources.

use super::*;
use serde::Deserialize;
use slidebench::data::{DataError, Weighting, Xmc};

#[test]
fn names_print_as_they_were_typed() {
    for text in [
        "moby",
        "webster",
        "synthetic:amazon-670k",
        "synthetic:delicious-200k@0.1",
        "synthetic:wikilshtc-325k@2?train=20000&test=2000",
        "synthetic:amazon-670k?test=5",
        "synthetic:amazon-670k?test=5&features=300",
        "xmc:a/train.txt,b/test.txt.gz",
        "xmc:train.txt,test.txt?weighting=tf-idf",
        "idx:some/folder",
    ] {
        assert_eq!(source(text).to_string(), text);
    }
    assert_eq!(source("synthetic:amazon-670k@1.0"), source("synthetic:amazon-670k"));
    assert_eq!(source("xmc:a,b?weighting=none"), source("xmc:a,b"));
}

#[test]
fn a_wrong_name_is_refused_with_its_fault_and_the_right_forms() {
    for (text, fault) in [
        ("", "`` is no kind of source"),
        ("mobby", "`mobby` is no kind of source"),
        ("moby:x", "`moby` takes nothing after it"),
        ("synthetic:amazon", "`amazon` is not among the published sets"),
        ("synthetic:amazon-670k@0", "the scale `0`"),
        ("synthetic:amazon-670k@-1", "the scale `-1`"),
        ("synthetic:amazon-670k@nan", "the scale `nan`"),
        ("synthetic:amazon-670k@inf", "the scale `inf`"),
        ("synthetic:amazon-670k?rows=3", "`rows` is neither `train` nor `test`"),
        ("synthetic:amazon-670k?train=many", "`many` is no number of rows"),
        ("xmc:one.txt", "two files are needed"),
        ("xmc:one.txt,", "two files are needed"),
        ("xmc:a,b?weighting=bm25", "the weighting `bm25`"),
        ("idx:", "the folder is missing"),
    ] {
        let error = text.parse::<Source>().expect_err(text);
        assert!(matches!(error, DataError::Source { .. }));
        let message = error.to_string();
        assert!(message.contains(fault), "{text}: {message}");
        assert!(message.contains("synthetic:amazon-670k"), "{message}");
    }
}

#[derive(Debug, Deserialize)]
struct Table {
    data: Source,
}

#[test]
fn toml_takes_a_string_or_a_table() {
    let table: Table = toml::from_str("data = 'moby'").unwrap();
    assert_eq!(table.data, Source::Moby);
    let table: Table = toml::from_str("data = { train = 'a,b.txt', test = 'c?d.txt', weighting = 'tf-idf' }").unwrap();
    let expected = Source::Xmc(Xmc { train: "a,b.txt".into(), test: "c?d.txt".into(), weighting: Weighting::TfIdf });
    assert_eq!(table.data, expected);

    for source in [expected, source("synthetic:amazon-670k@0.5")] {
        let json = serde_json::to_string(&source).unwrap();
        assert_eq!(serde_json::from_str::<Source>(&json).unwrap(), source);
    }
    let error = toml::from_str::<Table>("data = 'mobby'").unwrap_err().to_string();
    assert!(error.contains("no kind of source"), "{error}");
    assert!(toml::from_str::<Table>("data = { train = 'a', test = 'b', wait = 1 }").is_err());
}

#[cfg(not(feature = "embedded-data"))]
#[test]
fn a_build_without_the_embedded_sets_says_so() {
    for text in ["moby", "webster"] {
        let error = data::open(&source(text), &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, DataError::NotEmbedded { .. }));
        assert!(error.to_string().contains("embedded-data"), "{error}");
    }
}

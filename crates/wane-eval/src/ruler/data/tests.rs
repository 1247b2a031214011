//! Data sets are read strictly and named by what is in them.

use std::fs;

use super::*;
use crate::ruler::jsonl::line;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ruler");

/// The fixtures as a data set: NVIDIA's files, counted with cl100k.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for task in ["niah_single_1", "niah_multikey_2"] {
        fs::create_dir(dir.path().join(task)).unwrap();
        fs::copy(format!("{FIXTURES}/{task}.jsonl"), dir.path().join(task).join("validation.jsonl")).unwrap();
    }
    dir
}

#[test]
fn nvidias_files_are_a_data_set() {
    let dir = folder();
    let all = DataSet::open::<&str>(dir.path(), &[]).unwrap();
    assert_eq!(all.tasks().iter().map(|t| t.name).collect::<Vec<_>>(), ["niah_single_1", "niah_multikey_2"]);
    assert_eq!((all.most_samples(), all.longest()), (3, Some(4093)));
    all.check_lengths(&Tokenizer::cl100k().unwrap()).unwrap();
    let one = DataSet::open(dir.path(), &["niah_single_1"]).unwrap();
    assert_ne!(one.hash(), all.hash());
    assert_eq!(one.samples("niah_single_1").unwrap().len(), 3);
    assert!(one.samples("niah_multikey_2").is_err());
}

#[test]
fn another_tokenizer_is_noticed() {
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/attention");
    let data = DataSet::open::<&str>(folder().path(), &[]).unwrap();
    let error = data.check_lengths(&Tokenizer::open(other).unwrap()).unwrap_err().to_string();
    assert!(error.contains("line 1: field `length`: 4093 was counted with another tokenizer"), "{error}");
}

#[test]
fn what_is_not_a_data_set() {
    let dir = folder();
    let error = DataSet::open(dir.path(), &["niah_single_3"]).unwrap_err().to_string();
    assert!(
        error.contains("has no niah_single_3/validation.jsonl; it has niah_multikey_2, niah_single_1"),
        "{error}"
    );
    let error = DataSet::open(dir.path(), &["niah_singel_1"]).unwrap_err().to_string();
    assert!(error.contains("did you mean `niah_single_1`"), "{error}");
    let path = dir.path().join("niah_single_1/validation.jsonl");
    let samples = jsonl::read(&path).unwrap();
    fs::write(&path, [line(&samples[0]).unwrap(), line(&samples[0]).unwrap()].concat()).unwrap();
    let error = DataSet::open::<&str>(dir.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("line 2: field `index`: duplicate"), "{error}");
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("x")).unwrap();
    fs::write(other.path().join("x/validation.jsonl"), "").unwrap();
    let error = DataSet::open::<&str>(other.path(), &[]).unwrap_err().to_string();
    assert!(error.contains("none of its data sets (x) is a task"), "{error}");
}

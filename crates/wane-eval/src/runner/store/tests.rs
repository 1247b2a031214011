//! Resuming, half-written lines, foreign folders.

use super::*;
use crate::runner::record::{Bytes, Seconds};

pub(crate) fn record(model: &str, method: &str, sample: usize, score: f64) -> Record {
    Record {
        version: 1,
        model: model.into(),
        model_hash: format!("hash of {model}"),
        memory: model == "memory",
        method: method.into(),
        task: "niah_single_1".into(),
        seed: 42,
        sample,
        context: 512,
        tokenizer: "t".into(),
        haystack: "h".into(),
        wordlist: "3.0.1".into(),
        prompt_form: PromptForm::Prefix,
        device: "cpu".into(),
        prediction: "1\n".into(),
        references: vec!["1".into()],
        scores: [("string_match_all".to_owned(), score), ("comma_set".to_owned(), score)].into(),
        prompt_tokens: 300,
        new_tokens: 4,
        max_new_tokens: 128,
        seconds: Seconds { prefill: 1.0, decode: 0.5, batch: 1 },
        bytes: Bytes {
            read_per_step: 1 << 20,
            summaries_per_step: 1 << 10,
            resident: 1 << 21,
            peak: 1 << 21,
        },
        flops: None,
    }
}

fn settings() -> Settings {
    let (haystack, wordlist) = ("h".into(), "3.0.1".into());
    Settings {
        context: 512,
        seed: 42,
        haystack,
        wordlist,
        prompt_form: PromptForm::Prefix,
        max_new_tokens: None,
    }
}

#[test]
fn a_killed_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &settings(), Existing::Refuse).unwrap();
    store.append(record("m", "dense", 0, 1.0)).unwrap();
    store.append(record("m", "dense", 1, 0.0)).unwrap();
    let path = store.path().to_owned();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();

    let error = Store::open(dir.path(), &settings(), Existing::Refuse).unwrap_err().to_string();
    assert!(error.contains("holds 1 records: pass --resume"), "{error}");
    let mut store = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    assert!(store.contains(&record("m", "dense", 0, 1.0).key()));
    assert!(!store.contains(&record("m", "dense", 1, 0.0).key()));
    store.append(record("m", "dense", 1, 0.0)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(read(&path).unwrap(), store.records());
}

#[test]
fn other_settings_and_broken_lines_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    store.append(record("m", "dense", 0, 1.0)).unwrap();
    let other = Settings { context: 1024, ..settings() };
    let error = Store::open(dir.path(), &other, Existing::Resume).unwrap_err().to_string();
    assert!(error.contains("belongs to another run"), "{error}");
    std::fs::write(store.path(), "{}\n").unwrap();
    let error = Store::open(dir.path(), &settings(), Existing::Resume).unwrap_err().to_string();
    assert!(error.contains("records.jsonl, line 1: expected a record"), "{error}");
}

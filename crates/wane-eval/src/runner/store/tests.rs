//! Resuming, half-written lines, foreign folders.

use super::*;
use crate::ruler::prompt::PromptForm;
use crate::runner::identity::{Cell, Origin};
use crate::runner::record::{Bytes, Seconds};

/// A value with something changed.
pub(crate) fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

/// Of prompts in the form `prefix`.
fn recipe() -> Recipe {
    let (haystack, wordlist) = ("h".into(), "3.0.1".into());
    Recipe { haystack, wordlist, data: None, prompt_form: PromptForm::Prefix, template: None }
}

/// What identifies a line about a model under a method, of a context of 512 tokens.
pub(crate) fn identity(model: &str, method: &str) -> (Cell, Origin) {
    let cell = Cell {
        version: 1,
        model: model.into(),
        model_hash: format!("hash of {model}"),
        memory: model == "memory",
        method: method.into(),
        task: "niah_single_1".into(),
        seed: 42,
    };
    let origin = Origin { context: 512, tokenizer: "t".into(), recipe: recipe(), device: "cpu".into() };
    (cell, origin)
}

pub(crate) fn record(model: &str, method: &str, sample: usize, score: f64) -> Record {
    let (cell, origin) = identity(model, method);
    Record {
        cell,
        origin,
        sample,
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
    Settings { context: 512, seed: 42, recipe: recipe(), max_new_tokens: None }
}

#[test]
fn settings_keep_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let full = with(settings(), |s| {
        s.recipe.data = Some("d".into());
        s.recipe.template = Some("own@1".into());
        s.max_new_tokens = Some(4);
    });
    let plain = r#"{
  "context": 512,
  "seed": 42,
  "haystack": "h",
  "wordlist": "3.0.1",
  "prompt_form": "prefix",
  "max_new_tokens": null
}
"#;
    let more = plain
        .replace("\"prompt_form\"", "\"data\": \"d\",\n  \"prompt_form\"")
        .replace("\"max_new_tokens\": null", "\"template\": \"own@1\",\n  \"max_new_tokens\": 4");
    for (settings, text) in [(settings(), plain), (full, &more)] {
        Store::open(dir.path(), &settings, Existing::Refuse).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("run.json")).unwrap(), text);
        assert_eq!(serde_json::from_str::<Settings>(text).unwrap(), settings);
    }
    let error = serde_json::from_str::<Settings>(&plain.replace("haystack", "text")).unwrap_err().to_string();
    assert!(error.contains("missing field `haystack`"), "{error}");
}

#[test]
fn a_killed_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &settings(), Existing::Refuse).unwrap();
    store.append(&record("m", "dense", 0, 1.0)).unwrap();
    store.append(&record("m", "dense", 1, 0.0)).unwrap();
    let path = store.path().to_owned();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();

    let half = std::fs::read(&path).unwrap();
    let error = Store::open(dir.path(), &settings(), Existing::Refuse).unwrap_err().to_string();
    assert!(error.contains("holds 1 records: pass --resume"), "{error}");
    // A folder that is refused is not touched.
    assert_eq!(std::fs::read(&path).unwrap(), half);
    let mut store = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    assert_eq!(store.repaired(), half.len() - whole.len() / 2);
    assert!(store.contains(&record("m", "dense", 0, 1.0).key()));
    assert!(!store.contains(&record("m", "dense", 1, 0.0).key()));
    store.append(&record("m", "dense", 1, 0.0)).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(read(&path).unwrap(), [record("m", "dense", 0, 1.0), record("m", "dense", 1, 0.0)]);
    let again = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    assert_eq!((store.examples(), again.examples(), again.repaired()), (2, 2, 0));
}

#[test]
fn other_settings_and_broken_lines_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    store.append(&record("m", "dense", 0, 1.0)).unwrap();
    let other = Settings { context: 1024, ..settings() };
    let error = Store::open(dir.path(), &other, Existing::Resume).unwrap_err().to_string();
    assert!(error.contains("another run (context is 512 there and 1024 here): choose"), "{error}");
    // Of what was appended, and of what was there.
    for store in [&store, &Store::open(dir.path(), &settings(), Existing::Resume).unwrap()] {
        store.check_model("m", "hash of m").unwrap();
        store.check_model("n", "hash of n").unwrap();
        let error = store.check_model("m", "hash of n").unwrap_err().to_string();
        assert!(error.contains("another model that was called m too"), "{error}");
    }
    std::fs::write(store.path(), "{}\n").unwrap();
    let error = Store::open(dir.path(), &settings(), Existing::Resume).unwrap_err().to_string();
    assert!(error.contains("records.jsonl, line 1: expected a record"), "{error}");
}

#[test]
fn examples_that_are_there_twice_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), &settings(), Existing::Resume).unwrap();
    store.append(&record("m", "dense", 0, 1.0)).unwrap();
    store.append(&record("m", "dense", 0, 0.0)).unwrap();
    let error = Store::open(dir.path(), &settings(), Existing::Resume).unwrap_err().to_string();
    assert!(error.contains("line 2: sample 0 of niah_single_1 under dense was in line 1 already"), "{error}");
}

#[test]
fn a_score_that_was_not_recorded_is_computed() {
    let mut made = record("m", "dense", 0, 0.25);
    assert_eq!(
        (made.score("string_match_all"), made.score("string_match_part"), made.score("best")),
        (0.25, 1.0, 0.0)
    );
    made.references.push("2".into());
    assert_eq!(made.score("string_match_mean"), 0.5);
}

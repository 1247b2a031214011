//! What NLTK itself decides, with tables made for the purpose, on generated text (fixtures/ruler/punkt.json),
//! and rules that can be checked by hand.

use std::path::{Path, PathBuf};

use super::{Punkt, Tables};

#[derive(serde::Deserialize)]
struct Fixture {
    tables: std::collections::BTreeMap<String, String>,
    cases: Vec<(String, Vec<String>)>,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/ruler/punkt.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The fixture's tables as files below a folder.
fn tables(below: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join(below);
    std::fs::create_dir_all(&place).unwrap();
    for (name, text) in fixture().tables {
        std::fs::write(place.join(name), text).unwrap();
    }
    (dir, place)
}

#[test]
fn nltk_decides_the_same() {
    let (dir, _) = tables("tokenizers/punkt_tab/english");
    let punkt = Punkt::new(Tables::read(dir.path()).unwrap());
    let (cases, mut sentences) = (fixture().cases, 0);
    for (text, expected) in &cases {
        let split: Vec<&str> = punkt.split(text).into_iter().map(|r| &text[r]).collect();
        assert_eq!(split, *expected, "{text:?}");
        sentences += expected.len();
    }
    assert!(cases.len() >= 200 && sentences > 1000, "{} cases, {sentences} sentences", cases.len());
}

#[test]
fn edges() {
    let punkt = Punkt::new(Tables::default());
    let split = |text: &'static str| punkt.split(text).into_iter().map(|r| &text[r]).collect::<Vec<_>>();
    assert_eq!(split(""), [] as [&str; 0]);
    assert_eq!(split("No stop at all "), ["No stop at all"]);
    assert_eq!(split("(One.) \"Two!\" Three"), ["(One.)", "\"Two!\"", "Three"]);
    assert_eq!(split("Very bad!!! I promise."), ["Very bad!!!", "I promise."]);
}

#[test]
fn files_that_cannot_be_used_are_said() {
    let empty = tempfile::tempdir().unwrap();
    let error = |path: &Path| Tables::read(path).unwrap_err().to_string();
    assert!(error(empty.path()).contains("no Punkt tables in it"));
    let (_dir, place) = tables("english");
    std::fs::write(place.join("ortho_context.tab"), "word\t12\nother\tmany\n").unwrap();
    assert!(error(&place).contains("line 2: expected a word, a tab and a number, got the number `many`"));
    std::fs::write(place.join("collocations.tab"), "one\n").unwrap();
    assert!(error(&place).contains("line 1: expected two fields"));
    std::fs::remove_file(place.join("sent_starters.txt")).unwrap();
    std::fs::write(place.join("collocations.tab"), "").unwrap();
    assert!(error(&place).contains("cannot read") && error(&place).contains("sent_starters.txt"));
}

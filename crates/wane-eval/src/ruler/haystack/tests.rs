//! Words, repetition and files.

use super::Haystack;
use crate::ruler::sentences::Splitter;

#[test]
fn the_first_words_and_repetition() {
    let h = Haystack::from_text("t", "One two.\n\nThree  four. Five", Splitter::Simple).unwrap();
    assert_eq!((h.words(), h.name()), (5, "t/simple"));
    assert_eq!(*h.sentences(3), ["One two.", "Three"]);
    assert_eq!(*h.sentences(7), ["One two.", "Three four.", "Five One two."]);
    assert_eq!(*h.sentences(0), [] as [String; 0]);
}

#[test]
fn bad_files() {
    assert!(Haystack::from_text("t", " \n ", Splitter::Simple).unwrap_err().to_string().contains("no words"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.json");
    std::fs::write(&path, "{\"texts\": 1}").unwrap();
    assert!(Haystack::read(&path, Splitter::Simple).unwrap_err().to_string().contains("under `text`"));
    std::fs::write(&path, "{\"text\": \"A b.\"}").unwrap();
    assert_eq!(Haystack::read(&path, Splitter::Simple).unwrap().words(), 2);
    assert!(
        Haystack::read(&dir.path().join("none"), Splitter::Simple)
            .unwrap_err()
            .to_string()
            .contains("cannot read")
    );
}

#[test]
fn the_shipped_one_is_long_enough() {
    let h = Haystack::shipped(Splitter::Simple);
    assert!(h.words() > 150_000);
    assert!(h.sentences(3000).len() > 80);
}

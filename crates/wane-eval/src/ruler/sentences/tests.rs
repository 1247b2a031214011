//! Sentences that a rule gets wrong easily.

use super::Splitter;

fn split(text: &str) -> Vec<&str> {
    Splitter::Simple.split(text).into_iter().map(|r| &text[r]).collect()
}

#[test]
fn ends_of_sentences() {
    assert_eq!(split("One. Two? \"Three!\" Four"), ["One.", "Two?", "\"Three!\"", "Four"]);
    assert_eq!(
        split("Mr. Truman met Dr. No in the U.S. Senate. John F. Kennedy too."),
        ["Mr. Truman met Dr. No in the U.S. Senate.", "John F. Kennedy too."]
    );
    assert_eq!(
        split("It cost 3.5 dollars... and more. Then 12 came."),
        ["It cost 3.5 dollars... and more.", "Then 12 came."]
    );
}

#[test]
fn edges() {
    assert_eq!(split(""), [] as [&str; 0]);
    assert_eq!(split("no stop at all "), ["no stop at all"]);
    assert_eq!(split("End. "), ["End."]);
}

//! Cutting never changes the ids: cl100k and a toy tokenizer.

use super::{Grain, Pieces};
use crate::Result;
use crate::ruler::tokens::Encode;
use std::sync::Arc;
use wane_model::tokenizer::Tokenizer;

const TEXT: &str = "A special magic number is hidden.\nOne of the special magic numbers for x-rated-ratepayer is: 1234567.\n\
    They're here -- \"it's 12 o'clock\", he said; caf\u{e9}  two spaces \n\n new. bdd640fb-0667-4ad1-9c80-317fa3b1799d?";

/// One token a character, except that the ends of the text are marked: cannot be cut.
struct Marked;

impl Encode for Marked {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(std::iter::once(1).chain(text.chars().map(u32::from)).collect())
    }
    fn name(&self) -> String {
        "marked".into()
    }
}

#[test]
fn cl100k_is_cut_at_words() {
    let tokenizer = Arc::new(Tokenizer::cl100k().unwrap());
    let mut pieces = Pieces::new(tokenizer.clone(), TEXT).unwrap();
    assert_eq!(pieces.grain(), Grain::Words);
    for text in [TEXT, "", " ", "a\nb", "\n", "1 2 3", " \u{a0} x", "a.\n\nB. \n C"] {
        let (mut cached, mut shared) = (Vec::new(), Vec::new());
        pieces.encode(text, &mut cached).unwrap();
        pieces.encode_shared(text, &mut shared).unwrap();
        let whole = tokenizer.encode(text).unwrap();
        assert_eq!((&cached, &shared), (&whole, &whole), "{text:?}");
    }
}

#[test]
fn a_tokenizer_that_cannot_be_cut_is_used_whole() {
    let mut pieces = Pieces::new(Arc::new(Marked), TEXT).unwrap();
    assert_eq!(pieces.grain(), Grain::Whole);
    assert_eq!(pieces.count("two words").unwrap(), 10);
}

//! Fast encoding of text that is made of the same words again and again: the text is cut where the
//! tokenizer never joins, and each piece is encoded once.
//!
//! How finely a tokenizer may be cut is found by trying: the finest [`Grain`] under which a battery
//! of benchmark text (haystack, needles, numbers, uuids) encodes to the same ids as in one go. For
//! the pre-tokenizers in use (GPT-2's, cl100k's, Llama-3's, Qwen's expressions) word cuts are exact
//! on any text: none of their pieces has a space behind a non-space, or a character behind a line
//! break. A tokenizer that fails the trial is used whole, which is slower and always right.
//!
//! Does not do: normalizers that look across words on text unlike the battery.

use std::collections::HashMap;
use std::sync::Arc;

use super::tokens::Encode;
use crate::Result;

/// Where a text may be cut, finest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Between runs of letters, single digits and runs of punctuation; a space goes with what follows, except before a digit.
    Fine,
    /// Before a space that follows a non-space, and after a line break.
    Words,
    /// Nowhere.
    Whole,
}

/// More pieces than this are not kept.
const CACHE: usize = 1 << 19;

/// A tokenizer with the pieces it has seen.
pub struct Pieces {
    tokenizer: Arc<dyn Encode>,
    grain: Grain,
    seen: HashMap<Box<str>, (u32, u32), rustc_hash::FxBuildHasher>,
    pool: Vec<u32>,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces")
            .field("grain", &self.grain)
            .field("seen", &self.seen.len())
            .finish_non_exhaustive()
    }
}

impl Pieces {
    /// Finds the finest grain that the battery allows.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn new(tokenizer: Arc<dyn Encode>, battery: &str) -> Result<Self> {
        let whole = tokenizer.encode(battery)?;
        for grain in [Grain::Fine, Grain::Words] {
            let mut pieces = Self::with_grain(tokenizer.clone(), grain);
            let mut ids = Vec::with_capacity(whole.len());
            pieces.encode(battery, &mut ids)?;
            if ids == whole {
                return Ok(pieces);
            }
        }
        Ok(Self::with_grain(tokenizer, Grain::Whole))
    }

    fn with_grain(tokenizer: Arc<dyn Encode>, grain: Grain) -> Self {
        Self { tokenizer, grain, seen: HashMap::default(), pool: Vec::new() }
    }

    /// The grain found.
    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// The tokenizer itself.
    pub fn tokenizer(&self) -> &Arc<dyn Encode> {
        &self.tokenizer
    }

    /// Appends the ids of a text, and keeps the pieces that were new.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn encode(&mut self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut(rest, self.grain));
            rest = after;
            if let Some(&(start, len)) = self.seen.get(piece) {
                ids.extend_from_slice(&self.pool[start as usize..(start + len) as usize]);
                continue;
            }
            let new = self.tokenizer.encode(piece)?;
            if self.seen.len() < CACHE && self.grain != Grain::Whole {
                self.seen.insert(piece.into(), (self.pool.len() as u32, new.len() as u32));
                self.pool.extend_from_slice(&new);
            }
            ids.extend(new);
        }
        Ok(())
    }

    /// As [`encode`](Self::encode), without keeping anything: many threads may share it.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn encode_shared(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cut(rest, self.grain));
            rest = after;
            match self.seen.get(piece) {
                Some(&(start, len)) => {
                    ids.extend_from_slice(&self.pool[start as usize..(start + len) as usize])
                }
                None => ids.extend(self.tokenizer.encode(piece)?),
            }
        }
        Ok(())
    }

    /// The number of ids of a text.
    ///
    /// # Errors
    /// The tokenizer's own.
    pub fn count(&mut self, text: &str) -> Result<usize> {
        let mut ids = Vec::new();
        self.encode(text, &mut ids)?;
        Ok(ids.len())
    }
}

/// The length in bytes of the first piece of a text that is not empty.
fn cut(text: &str, grain: Grain) -> usize {
    match grain {
        Grain::Whole => text.len(),
        Grain::Words => word(text),
        Grain::Fine => {
            let word = &text[..word(text)];
            if word.is_ascii() { fine(word.as_bytes()) } else { word.len() }
        }
    }
}

fn word(text: &str) -> usize {
    let bytes = text.as_bytes();
    for i in 1..bytes.len() {
        let (before, here) = (bytes[i - 1], bytes[i]);
        // Unicode spaces never equal these bytes; a word that holds one is just cut later.
        let cut = (here == b' ' && !before.is_ascii_whitespace() && before.is_ascii())
            || (before == b'\n' && here.is_ascii_graphic());
        if cut {
            return i;
        }
    }
    bytes.len()
}

/// Inside one word, which is ASCII: the word starts with at most a run of white space.
fn fine(word: &[u8]) -> usize {
    let run =
        |from: usize, class: fn(&u8) -> bool| from + word[from..].iter().take_while(|b| class(b)).count();
    let punctuation = |b: &u8| b.is_ascii_graphic() && !b.is_ascii_alphanumeric();
    let start = usize::from(word[0] == b' ' && word.len() > 1);
    let first = word[start];
    if first.is_ascii_alphabetic() {
        run(start, u8::is_ascii_alphabetic)
    } else if first.is_ascii_digit() {
        start.max(1)
    } else if punctuation(&first) {
        let end = run(start, punctuation);
        // A contraction: the letters belong to the apostrophe.
        if word[end - 1] == b'\'' { run(end, u8::is_ascii_alphabetic) } else { end }
    } else if word.len() == 1 || (word[0] == b'\n' && word.get(1).is_some_and(u8::is_ascii_graphic)) {
        1
    } else {
        word.len()
    }
}

#[cfg(test)]
mod tests;

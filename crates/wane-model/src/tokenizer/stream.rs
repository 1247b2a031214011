//! Decoding while tokens arrive: text is handed out once no later token can change it.
//!
//! A token may end in the middle of a character, and some decoders drop the space before the first
//! word of a sequence. So each piece is the difference of two decodings that begin at the same
//! earlier token, held back while it ends in U+FFFD.

use super::{SpecialTokens, Tokenizer};
use crate::Result;

/// See [`Tokenizer::stream`].
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    special: SpecialTokens,
    // Tokens of the last piece handed out (context), then those still held back.
    ids: Vec<u32>,
    handed_out: usize,
}

impl<'a> StreamDecoder<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, special: SpecialTokens) -> Self {
        Self { tokenizer, special, ids: Vec::new(), handed_out: 0 }
    }

    /// Takes the next token; returns the text that became certain (often empty).
    ///
    /// # Errors
    /// The tokenizer's decoder failed.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.tokenizer.decode(&self.ids, self.special)?;
        if text.ends_with('\u{fffd}') && self.ids.len() - self.handed_out < 8 {
            return Ok(String::new());
        }
        let piece = self.piece(&text)?;
        self.ids.drain(..self.handed_out);
        self.handed_out = self.ids.len();
        Ok(piece)
    }

    /// The text still held back at the end.
    ///
    /// # Errors
    /// The tokenizer's decoder failed.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.tokenizer.decode(&self.ids, self.special)?;
        let piece = self.piece(&text)?;
        self.handed_out = self.ids.len();
        Ok(piece)
    }

    fn piece(&self, text: &str) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.handed_out], self.special)?;
        let shared = text.char_indices().zip(before.chars()).take_while(|((_, a), b)| a == b);
        let start = shared.last().map_or(0, |((at, c), _)| at + c.len_utf8());
        Ok(text[start..].to_owned())
    }
}

//! What RULER needs from a tokenizer: the ids of a text without special tokens.

use wane_model::tokenizer::Tokenizer;

use crate::{Error, Result};

/// A tokenizer, as far as the benchmark sees it.
pub trait Encode: Send + Sync {
    /// The ids of a text; no special tokens are added.
    ///
    /// # Errors
    /// The tokenizer's own.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// A name for records.
    fn name(&self) -> String;
}

impl Encode for Tokenizer {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text).map_err(|e| Error::Tokenizer(e.to_string()))
    }

    fn name(&self) -> String {
        format!("{}@{}", self.path().display(), &self.hash()[..12])
    }
}

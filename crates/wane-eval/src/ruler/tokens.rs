//! What RULER needs from a tokenizer: the ids of a text without special tokens.

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

/// OpenAI's `cl100k_base`, from the crate `tiktoken-rs`.
pub struct Cl100k(tiktoken_rs::CoreBPE);

impl std::fmt::Debug for Cl100k {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cl100k")
    }
}

impl Cl100k {
    /// Builds the vocabulary (100,256 entries).
    ///
    /// # Errors
    /// The crate's own, if its vocabulary is broken.
    pub fn new() -> Result<Self> {
        tiktoken_rs::cl100k_base().map(Self).map_err(|e| Error::Tokenizer(e.to_string()))
    }
}

impl Encode for Cl100k {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.0.encode_ordinary(text))
    }

    fn name(&self) -> String {
        "cl100k".into()
    }
}

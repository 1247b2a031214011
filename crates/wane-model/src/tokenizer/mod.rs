//! Text to token ids and back.
//!
//! Three sources, one type: a Hugging Face `tokenizer.json` (run by the `tokenizers` crate), the
//! vocabulary of a GGUF file (turned into the same), and `cl100k` (OpenAI's byte-level BPE, built
//! in; it counts tokens for the benchmark). Training a tokenizer is not done here.

mod cl100k;
pub(crate) mod gguf;
mod hash;
mod stream;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};

pub(crate) use hash::hex;
pub use hash::sha256_hex;
pub use stream::StreamDecoder;

use crate::{Error, Result};
use cl100k::Cl100k;

/// What decoding does with special tokens such as the end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Spelled out.
    Keep,
    /// Left out.
    Skip,
}

enum Engine {
    HuggingFace(Box<tokenizers::Tokenizer>),
    Cl100k(Cl100k),
}

/// A tokenizer; cheap to share behind an `Arc`, usable from many threads.
pub struct Tokenizer {
    engine: Engine,
    path: PathBuf,
    hash: String,
    vocab_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "tokenizer of {} ids from {}", self.vocab_size, self.path.display())
    }
}

impl Tokenizer {
    /// A directory with a `tokenizer.json`, such a file, a `.gguf` file, or `cl100k`.
    ///
    /// # Errors
    /// Nothing is there, or it is no tokenizer.
    pub fn open(spec: &str) -> Result<Self> {
        if spec == "cl100k" || spec == "cl100k_base" {
            return Self::cl100k();
        }
        let path = Path::new(spec);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return crate::checkpoint::gguf::open_tokenizer(path);
        }
        let file = if path.is_file() {
            path.to_owned()
        } else {
            crate::checkpoint::find_directory(path)?.join("tokenizer.json")
        };
        Self::from_file(&file)
    }

    /// OpenAI's `cl100k_base`.
    ///
    /// # Errors
    /// The built-in vocabulary is damaged.
    pub fn cl100k() -> Result<Self> {
        let engine = Cl100k::new()?;
        let vocab_size = engine.vocab_size();
        Ok(Self {
            engine: Engine::Cl100k(engine),
            path: "cl100k".into(),
            hash: sha256_hex(b"cl100k_base"),
            vocab_size,
        })
    }

    /// A `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read or is no tokenizer.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        Self::from_json(&bytes, path)
    }

    /// The content of a `tokenizer.json` that came from `path`.
    ///
    /// # Errors
    /// The content is no tokenizer.
    pub fn from_json(json: &[u8], path: &Path) -> Result<Self> {
        let mut engine =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| Error::tokenizer(path, error))?;
        // Files often carry the settings of the last call: they would cut prompts short.
        engine.with_truncation(None).map_err(|error| Error::tokenizer(path, error))?;
        engine.with_padding(None);
        let vocab_size = engine.get_vocab(true).values().max().map_or(0, |&largest| largest as usize + 1);
        Ok(Self {
            engine: Engine::HuggingFace(Box::new(engine)),
            path: path.to_owned(),
            hash: sha256_hex(json),
            vocab_size,
        })
    }

    /// Token ids of `text`, nothing added. Special tokens spelled out in `text` become their ids
    /// (not with `cl100k`, which treats all text as text).
    ///
    /// # Errors
    /// The tokenizer cannot represent `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_inner(text, false)
    }

    /// Token ids of `text` with the tokens that the tokenizer's own template adds (often a first
    /// one).
    ///
    /// # Errors
    /// The tokenizer cannot represent `text`.
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>> {
        self.encode_inner(text, true)
    }

    fn encode_inner(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        match &self.engine {
            Engine::HuggingFace(engine) => Ok(engine
                .encode_fast(text, add_special)
                .map_err(|error| Error::tokenizer(&self.path, error))?
                .get_ids()
                .to_vec()),
            Engine::Cl100k(engine) => Ok(engine.encode(text)),
        }
    }

    /// How many tokens [`Tokenizer::encode`] gives.
    ///
    /// # Errors
    /// The tokenizer cannot represent `text`.
    pub fn count(&self, text: &str) -> Result<usize> {
        match &self.engine {
            Engine::HuggingFace(engine) => Ok(engine
                .encode_fast(text, false)
                .map_err(|error| Error::tokenizer(&self.path, error))?
                .len()),
            Engine::Cl100k(engine) => Ok(engine.count(text)),
        }
    }

    /// Token ids of `text`, nothing added, each with the range of characters (not bytes) it covers.
    /// Tokens that share a character both cover it.
    ///
    /// # Errors
    /// The tokenizer cannot represent `text`.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        match &self.engine {
            Engine::HuggingFace(engine) => {
                let encoding = engine
                    .encode_char_offsets(text, false)
                    .map_err(|error| Error::tokenizer(&self.path, error))?;
                Ok(encoding
                    .get_ids()
                    .iter()
                    .zip(encoding.get_offsets())
                    .map(|(&id, &(start, end))| (id, start..end))
                    .collect())
            }
            Engine::Cl100k(engine) => engine.encode_with_offsets(text),
        }
    }

    /// Text of `ids`; bytes that are no UTF-8 become U+FFFD. Ids outside the vocabulary (a model's
    /// embedding may have more rows) give no text.
    ///
    /// # Errors
    /// The tokenizer's decoder failed.
    pub fn decode(&self, ids: &[u32], special: SpecialTokens) -> Result<String> {
        match &self.engine {
            Engine::HuggingFace(engine) => engine
                .decode(ids, special == SpecialTokens::Skip)
                .map_err(|error| Error::tokenizer(&self.path, error)),
            Engine::Cl100k(engine) => engine.decode(ids, special),
        }
    }

    /// A decoder that is fed one id at a time and returns text as soon as it is complete.
    pub fn stream(&self, special: SpecialTokens) -> StreamDecoder<'_> {
        StreamDecoder::new(self, special)
    }

    /// The id of a token's text, for example `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match &self.engine {
            Engine::HuggingFace(engine) => engine.token_to_id(token),
            Engine::Cl100k(engine) => engine.token_id(token),
        }
    }

    /// The text of an id in the vocabulary's own spelling.
    pub fn token(&self, id: u32) -> Option<String> {
        match &self.engine {
            Engine::HuggingFace(engine) => engine.id_to_token(id),
            Engine::Cl100k(_) => self.decode(&[id], SpecialTokens::Keep).ok(),
        }
    }

    /// One more than the largest id. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// SHA-256 of the tokenizer's definition, in hexadecimal: names it in records and shards.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Where it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of an equivalent `tokenizer.json`.
    ///
    /// # Errors
    /// `cl100k` has none.
    pub fn to_json(&self) -> Result<String> {
        match &self.engine {
            Engine::HuggingFace(engine) => {
                engine.to_string(true).map_err(|error| Error::tokenizer(&self.path, error))
            }
            Engine::Cl100k(_) => Err(Error::tokenizer(&self.path, "cl100k has no tokenizer.json")),
        }
    }
}

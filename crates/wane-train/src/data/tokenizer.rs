//! Training of a byte-level BPE tokenizer (`tokenizers` crate): every digit is a token of its own, any
//! byte can be encoded, one end token. Written as a Hugging Face folder.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer, TokenizerBuilder};

use super::text::documents;
use crate::{Error, Result};

/// The end token of tokenizers trained here.
pub const END: &str = "<|end|>";

/// SHA-256 of `tokenizer.json`: shards and checkpoints name the tokenizer by it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenizerHash(pub [u8; 32]);

impl TokenizerHash {
    /// Of the `tokenizer.json` in `folder`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        Ok(Self(Sha256::digest(&bytes).into()))
    }
}

impl fmt::Display for TokenizerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenizerHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What to train on.
#[derive(Debug, Clone)]
pub struct TokenizerOptions {
    /// Text files (see [`documents`]).
    pub inputs: Vec<PathBuf>,
    /// Size of the vocabulary, the 256 bytes and the end token included.
    pub vocab_size: usize,
    /// Folder to write.
    pub output: PathBuf,
    /// Largest context, for `tokenizer_config.json`.
    pub model_max_length: usize,
}

/// Trains the tokenizer and writes `tokenizer.json` and `tokenizer_config.json`.
///
/// # Errors
/// Unreadable or empty text, a vocabulary below 257, or a folder that cannot be written.
pub fn train(options: &TokenizerOptions) -> Result<TokenizerHash> {
    if options.vocab_size < 257 {
        return Err(Error::Tokenizer(format!(
            "a vocabulary of {} cannot hold the 256 bytes and the end token",
            options.vocab_size
        )));
    }
    let mut pieces = Vec::new();
    for input in &options.inputs {
        for document in documents(input, None)? {
            pieces.extend(split_pieces(&document));
        }
    }
    if pieces.is_empty() {
        return Err(Error::Tokenizer("the input files hold no text".to_owned()));
    }
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(options.vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let byte_level = ByteLevel::new(false, true, true);
    let before = Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level),
    ]);
    let failed = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let mut builder = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(None::<tokenizers::NormalizerWrapper>)
        .with_pre_tokenizer(Some(before))
        .with_post_processor(None::<tokenizers::PostProcessorWrapper>)
        .with_decoder(Some(byte_level))
        .build()
        .map_err(failed)?;
    builder.train(&mut trainer, pieces.into_iter()).map_err(failed)?;
    let tokenizer: Tokenizer = builder.into();
    write(&tokenizer, options)
}

fn write(tokenizer: &Tokenizer, options: &TokenizerOptions) -> Result<TokenizerHash> {
    let folder = &options.output;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let json = tokenizer.to_string(true).map_err(|e| Error::Tokenizer(e.to_string()))?;
    let path = folder.join("tokenizer.json");
    std::fs::write(&path, json).map_err(Error::io(&path))?;
    let settings = serde_json::json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": options.model_max_length,
    });
    let path = folder.join("tokenizer_config.json");
    std::fs::write(&path, format!("{settings:#}\n")).map_err(Error::io(&path))?;
    TokenizerHash::of_folder(folder)
}

/// Pieces of about 10,000 characters, cut at line ends: the trainer counts words, and whole books as one
/// sequence would be tokenized by one thread.
fn split_pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let last = pieces.len() - 1;
        pieces[last].push_str(line);
        if pieces[last].len() > 10_000 {
            pieces.push(String::new());
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A tokenizer read from a folder.
#[derive(Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    end: u32,
    hash: TokenizerHash,
}

impl Encoder {
    /// Reads `tokenizer.json`; `end` is the name of the end token, by default that of
    /// `tokenizer_config.json`.
    ///
    /// # Errors
    /// Missing or damaged files; no such token.
    pub fn open(folder: &Path, end: Option<&str>) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.is_file() {
            return Err(Error::Tokenizer(format!(
                "{} does not exist; make one with `wane tokenizer train`",
                path.display()
            )));
        }
        let tokenizer = Tokenizer::from_file(&path).map_err(|e| Error::Tokenizer(e.to_string()))?;
        let end = match end {
            Some(end) => end.to_owned(),
            None => end_token(folder)?,
        };
        let id = tokenizer.token_to_id(&end);
        let end = id.ok_or_else(|| Error::Tokenizer(format!("has no token `{end}`")))?;
        Ok(Self { tokenizer, end, hash: TokenizerHash::of_folder(folder)? })
    }

    /// Ids of a text, without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.tokenizer.encode_fast(text, false).map_err(|e| Error::Tokenizer(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Text of ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, true).map_err(|e| Error::Tokenizer(e.to_string()))
    }

    /// The end token.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// Ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Hash of the file.
    pub fn hash(&self) -> &TokenizerHash {
        &self.hash
    }
}

/// `eos_token` of `tokenizer_config.json`: a string, or an object with `content`.
fn end_token(folder: &Path) -> Result<String> {
    let path = folder.join("tokenizer_config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| Error::data(&path, e))?;
    let token = &value["eos_token"];
    let token = token.as_str().or_else(|| token["content"].as_str());
    token.map(str::to_owned).ok_or_else(|| Error::data(&path, "names no eos_token"))
}

//! GGUF files: weights (also quantized), configuration, tokenizer and chat template from one file.
//!
//! Types: F32, F16, BF16, and Q8_0, Q4_0, Q4_1, Q4_K, Q6_K, which stay quantized. Architectures:
//! llama (with Mistral and SmolLM2), qwen2, qwen3, olmo2. Anything else is refused by name.

mod config;
mod header;
#[cfg(test)]
pub(super) mod tests;
mod weights;

use std::path::Path;

use super::Checkpoint;
use super::source::{Bytes, assemble, map};
use crate::chat::ChatTemplate;
use crate::tokenizer::{self, Tokenizer};
use crate::{Error, Result};

pub(crate) use header::{Header, Value};

/// Reads the whole model.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    open_bytes(map(path)?, path)
}

/// Reads a model from the content of a file.
pub(super) fn open_bytes(data: Bytes, path: &Path) -> Result<Checkpoint> {
    let header = parse((*data).as_ref(), path)?;
    let config = config::read(&header, (*data).as_ref(), path)?;
    let weights = assemble(&config, weights::read(&header, &config, &data, path)?, path)?;
    let tokenizer = header
        .metadata
        .contains_key("tokenizer.ggml.model")
        .then(|| tokenizer::gguf::build(&header.metadata, path))
        .transpose()?;
    let chat_template = chat_template(&header);
    Ok(Checkpoint { config, weights, tokenizer, chat_template, path: path.to_owned() })
}

/// Reads only the tokenizer.
pub(crate) fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    let data = map(path)?;
    tokenizer::gguf::build(&parse((*data).as_ref(), path)?.metadata, path)
}

/// Reads only the chat template.
pub(super) fn open_chat_template(path: &Path) -> Result<Option<ChatTemplate>> {
    let data = map(path)?;
    Ok(chat_template(&parse((*data).as_ref(), path)?))
}

fn parse(content: &[u8], path: &Path) -> Result<Header> {
    header::parse(content).map_err(|problem| Error::format("GGUF", path, problem))
}

fn chat_template(header: &Header) -> Option<ChatTemplate> {
    let text = |key: &str| {
        let id = header.metadata.get(key)?.as_u64()?;
        let tokens = header.metadata.get("tokenizer.ggml.tokens")?.as_array()?;
        tokens.get(usize::try_from(id).ok()?)?.as_text().map(str::to_owned)
    };
    Some(ChatTemplate {
        source: header.metadata.get("tokenizer.chat_template")?.as_text()?.to_owned(),
        bos_token: text("tokenizer.ggml.bos_token_id"),
        eos_token: text("tokenizer.ggml.eos_token_id"),
    })
}

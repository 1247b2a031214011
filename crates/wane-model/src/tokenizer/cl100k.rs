//! OpenAI's `cl100k_base`, run by the `tiktoken-rs` crate with its built-in vocabulary.

use std::ops::Range;

use tiktoken_rs::CoreBPE;

use super::SpecialTokens;
use crate::{Error, Result};

const SPECIAL: [(&str, u32); 5] = [
    ("<|endoftext|>", 100_257),
    ("<|fim_prefix|>", 100_258),
    ("<|fim_middle|>", 100_259),
    ("<|fim_suffix|>", 100_260),
    ("<|endofprompt|>", 100_276),
];

pub(super) struct Cl100k(CoreBPE);

impl Cl100k {
    pub(super) fn new() -> Result<Self> {
        tiktoken_rs::cl100k_base().map(Self).map_err(|error| Error::tokenizer("cl100k".as_ref(), error))
    }

    pub(super) fn vocab_size(&self) -> usize {
        100_277
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode_ordinary(text)
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.0.count_ordinary(text)
    }

    pub(super) fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>> {
        let ids = self.encode(text);
        // The character that each byte belongs to.
        let mut character = Vec::with_capacity(text.len());
        for (index, c) in text.chars().enumerate() {
            character.extend(std::iter::repeat_n(index, c.len_utf8()));
        }
        let mut start = 0;
        let mut result = Vec::with_capacity(ids.len());
        for id in ids {
            let end = start + self.bytes(&[id])?.len();
            result.push((id, character[start]..character[end - 1] + 1));
            start = end;
        }
        Ok(result)
    }

    fn bytes(&self, ids: &[u32]) -> Result<Vec<u8>> {
        self.0.decode_bytes(ids).map_err(|error| Error::tokenizer("cl100k".as_ref(), error))
    }

    pub(super) fn decode(&self, ids: &[u32], special: SpecialTokens) -> Result<String> {
        let kept: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| match SPECIAL.iter().any(|(_, s)| s == id) {
                true => special == SpecialTokens::Keep,
                false => *id < SPECIAL[0].1 - 1,
            })
            .collect();
        Ok(String::from_utf8_lossy(&self.bytes(&kept)?).into_owned())
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        if let Some((_, id)) = SPECIAL.iter().find(|(text, _)| *text == token) {
            return Some(*id);
        }
        match self.encode(token)[..] {
            [id] => Some(id),
            _ => None,
        }
    }
}

//! The tokenizer inside a GGUF file, turned into a `tokenizer.json`.
//!
//! `gpt2` is byte-level BPE with a named splitting rule; `llama` is SentencePiece's BPE, whose
//! merges are not in the file: they follow from the vocabulary and its scores (a token can be made
//! from every pair of tokens that spell it, better scores first). Unigram and word-piece
//! vocabularies are refused, and so are splitting rules without a name here.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::Tokenizer;
use crate::checkpoint::gguf::Value;
use crate::{Error, Result};

type Metadata = BTreeMap<String, Value>;

/// Builds the tokenizer that the metadata of the file at `path` describes.
pub(crate) fn build(metadata: &Metadata, path: &Path) -> Result<Tokenizer> {
    let json = definition(metadata).map_err(|problem| Error::tokenizer(path, problem))?;
    Tokenizer::from_json(json.to_string().as_bytes(), path)
}

fn get<'a>(metadata: &'a Metadata, key: &str) -> Option<&'a Value> {
    metadata.get(&format!("tokenizer.ggml.{key}"))
}

fn texts<'a>(metadata: &'a Metadata, key: &str) -> std::result::Result<Vec<&'a str>, String> {
    get(metadata, key)
        .and_then(Value::as_array)
        .and_then(|values| values.iter().map(Value::as_text).collect())
        .ok_or_else(|| format!("tokenizer.ggml.{key} must be a list of strings"))
}

fn definition(metadata: &Metadata) -> std::result::Result<Json, String> {
    let tokens = texts(metadata, "tokens")?;
    let kinds: Vec<u64> = get(metadata, "token_type")
        .and_then(Value::as_array)
        .map(|values| values.iter().map(|value| value.as_u64().unwrap_or(1)).collect())
        .unwrap_or_default();
    let kind = |id: usize| kinds.get(id).copied().unwrap_or(1);
    let added: Vec<Json> = tokens
        .iter()
        .enumerate()
        // 3: control, 4: defined by the user, both kept whole; 2: unknown.
        .filter(|(id, token)| matches!(kind(*id), 2..=4) && !token.is_empty())
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind(id) != 4,
            })
        })
        .collect();
    let vocab: Map<String, Json> =
        tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), json!(id))).collect();
    let model = get(metadata, "model").and_then(Value::as_text).unwrap_or("(none)");
    let mut definition = match model {
        "gpt2" => byte_level(metadata, vocab)?,
        "llama" => sentence_piece(metadata, &tokens, vocab)?,
        other => return Err(format!("vocabularies of kind {other:?} are not read (known: gpt2, llama)")),
    };
    let flag = |key: &str| get(metadata, key).and_then(Value::as_bool);
    let id = |key: &str| get(metadata, key).and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
    let token = |key: &str| id(key).and_then(|id| Some((id, *tokens.get(id)?)));
    let begin = flag("add_bos_token").unwrap_or(model == "llama").then(|| token("bos_token_id")).flatten();
    let end = flag("add_eos_token").unwrap_or(false).then(|| token("eos_token_id")).flatten();
    definition["version"] = json!("1.0");
    definition["truncation"] = Json::Null;
    definition["padding"] = Json::Null;
    definition["added_tokens"] = json!(added);
    definition["post_processor"] = template(begin, end);
    Ok(definition)
}

/// What is put around a text when special tokens are added.
fn template(begin: Option<(usize, &str)>, end: Option<(usize, &str)>) -> Json {
    if begin.is_none() && end.is_none() {
        return Json::Null;
    }
    let special = |token: Option<(usize, &str)>| {
        token.map(|(_, text)| json!({ "SpecialToken": { "id": text, "type_id": 0 } }))
    };
    let sequence = |id: &str| Some(json!({ "Sequence": { "id": id, "type_id": 0 } }));
    let single: Vec<Json> = [special(begin), sequence("A"), special(end)].into_iter().flatten().collect();
    let pair: Vec<Json> =
        [special(begin), sequence("A"), sequence("B"), special(end)].into_iter().flatten().collect();
    let mut tokens = Map::new();
    for (id, text) in [begin, end].into_iter().flatten() {
        tokens.insert(text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    }
    json!({ "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens })
}

fn byte_level(metadata: &Metadata, vocab: Map<String, Json>) -> std::result::Result<Json, String> {
    let merges: Vec<Json> = texts(metadata, "merges")?
        .iter()
        .map(|merge| {
            merge
                .split_once(' ')
                .map(|(left, right)| json!([left, right]))
                .ok_or_else(|| format!("merge {merge:?} must be two tokens"))
        })
        .collect::<std::result::Result<_, _>>()?;
    let rule = get(metadata, "pre").and_then(Value::as_text).unwrap_or("default");
    let splitting = Splitting::named(rule)?;
    Ok(json!({
        "normalizer": if splitting.compose { json!({ "type": "NFC" }) } else { Json::Null },
        "pre_tokenizer": splitting.pre_tokenizer(),
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": splitting.whole_words, "vocab": vocab, "merges": merges,
        },
    }))
}

/// How text is split into words before merging.
struct Splitting {
    /// The pattern; `None` is GPT-2's.
    pattern: Option<&'static str>,
    /// Every digit by itself before anything else.
    digits: bool,
    /// Canonical composition first.
    compose: bool,
    /// A word that is in the vocabulary is not split.
    whole_words: bool,
}

impl Splitting {
    fn named(rule: &str) -> std::result::Result<Self, String> {
        let gpt2 = Self { pattern: None, digits: false, compose: false, whole_words: false };
        Ok(match rule {
            "gpt-2" | "gpt2" | "olmo" | "mpt" => gpt2,
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => Self { digits: true, ..gpt2 },
            "llama-bpe" | "llama3" | "llama-v3" => Self { pattern: Some(LLAMA3), whole_words: true, ..gpt2 },
            "dbrx" | "smaug-bpe" => Self { pattern: Some(LLAMA3), ..gpt2 },
            "qwen2" | "deepseek-r1-qwen" => Self { pattern: Some(QWEN2), compose: true, ..gpt2 },
            "tekken" => Self { pattern: Some(TEKKEN), whole_words: true, ..gpt2 },
            other => {
                return Err(format!(
                    "the splitting rule {other:?} is unknown (known: gpt-2, olmo, mpt, smollm, starcoder, refact, \
                     command-r, codeshell, llama-bpe, dbrx, smaug-bpe, qwen2, deepseek-r1-qwen, tekken)"
                ));
            }
        })
    }

    fn pre_tokenizer(&self) -> Json {
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": self.pattern.is_none(),
        });
        let first = match self.pattern {
            Some(pattern) => json!({
                "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false,
            }),
            None if self.digits => json!({ "type": "Digits", "individual_digits": true }),
            None => return bytes,
        };
        json!({ "type": "Sequence", "pretokenizers": [first, bytes] })
    }
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn sentence_piece(
    metadata: &Metadata,
    tokens: &[&str],
    vocab: Map<String, Json>,
) -> std::result::Result<Json, String> {
    let scores: Vec<f64> = get(metadata, "scores")
        .and_then(Value::as_array)
        .and_then(|values| values.iter().map(Value::as_f64).collect())
        .filter(|scores: &Vec<f64>| scores.len() == tokens.len())
        .ok_or("tokenizer.ggml.scores must hold a number for every token")?;
    let prefix = get(metadata, "add_space_prefix").and_then(Value::as_bool).unwrap_or(true);
    let unknown = get(metadata, "unknown_token_id").and_then(Value::as_u64).unwrap_or(0);
    let unknown = usize::try_from(unknown).ok().and_then(|id| tokens.get(id));
    let mut normalizers =
        vec![json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" })];
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "\u{2581}" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": "\u{2581}" }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let merges: Vec<Json> =
        merges(tokens, &scores).into_iter().map(|(left, right)| json!([left, right])).collect();
    Ok(json!({
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    }))
}

/// Every way to make a token from two others, best token first; among the ways to make one token,
/// the longer left part first.
fn merges<'a>(tokens: &[&'a str], scores: &[f64]) -> Vec<(&'a str, &'a str)> {
    let known: std::collections::HashSet<&str> = tokens.iter().copied().collect();
    let mut found: Vec<(f64, &str, &str)> = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if known.contains(left) && known.contains(right) {
                found.push((score, left, right));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.chars().count().cmp(&a.1.chars().count())));
    found.into_iter().map(|(_, left, right)| (left, right)).collect()
}

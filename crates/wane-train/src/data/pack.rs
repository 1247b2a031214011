//! `wane data pack`: text to shards. Documents are tokenized in parallel and written in order, so the
//! shards do not depend on the number of threads. A file of many documents is tokenized document by
//! document, a document in pieces at line ends (a token never spans a line end of the byte-level tokenizer's
//! split followed by text, so long books cost no quadratic time).

use std::path::PathBuf;

use rayon::prelude::*;

use super::shard::{EXTENSION, ShardWriter};
use super::text::documents;
use super::tokenizer::Encoder;
use crate::{Error, Result};

/// What to pack.
#[derive(Debug, Clone)]
pub struct PackOptions {
    /// Text files (`.txt`, `.jsonl`, each optionally `.zst`).
    pub inputs: Vec<PathBuf>,
    /// Folder with the tokenizer.
    pub tokenizer: PathBuf,
    /// Separates the documents of a plain text file; none means one document a file.
    pub separator: Option<String>,
    /// Folder to write shards into.
    pub output: PathBuf,
    /// A new shard starts once one has so many tokens.
    pub shard_tokens: u64,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackSummary {
    /// The shards.
    pub shards: Vec<PathBuf>,
    /// Tokens, end tokens included.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// Bytes of text.
    pub bytes: u64,
}

/// Documents tokenized at a time.
const WAVE: usize = 64;

/// Packs text into shards. Existing shards of the folder are replaced.
///
/// # Errors
/// Unreadable input, no text, or a folder that cannot be written.
pub fn pack(options: &PackOptions) -> Result<PackSummary> {
    let encoder = Encoder::open(&options.tokenizer, None)?;
    let folder = &options.output;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut summary = PackSummary { shards: Vec::new(), tokens: 0, documents: 0, bytes: 0 };
    let mut writer: Option<ShardWriter> = None;
    for input in &options.inputs {
        let found = documents(input, options.separator.as_deref())?;
        for wave in found.chunks(WAVE) {
            let encoded = wave
                .par_iter()
                .map(|document| encode_document(&encoder, document))
                .collect::<Result<Vec<_>>>()?;
            for (document, ids) in wave.iter().zip(encoded) {
                if writer.as_ref().is_some_and(|w| w.tokens() >= options.shard_tokens) {
                    summary.tokens += writer.take().map_or(Ok(0), ShardWriter::finish)?;
                }
                let shard = match &mut writer {
                    Some(shard) => shard,
                    None => {
                        let path = folder.join(format!("{:05}.{EXTENSION}", summary.shards.len()));
                        summary.shards.push(path.clone());
                        writer.insert(ShardWriter::create(&path, encoder.vocab_size(), encoder.hash())?)
                    }
                };
                shard.document(&ids, encoder.end())?;
                summary.documents += 1;
                summary.bytes += document.len() as u64;
            }
        }
    }
    summary.tokens += writer.take().map_or(Ok(0), ShardWriter::finish)?;
    if summary.tokens == 0 {
        return Err(Error::data(folder, "the input files hold no text"));
    }
    remove_stale(options, summary.shards.len())?;
    Ok(summary)
}

/// Removes shards of an earlier, longer packing, which would silently be trained on.
fn remove_stale(options: &PackOptions, first: usize) -> Result<()> {
    for i in first.. {
        let path = options.output.join(format!("{i:05}.{EXTENSION}"));
        if !path.exists() {
            return Ok(());
        }
        std::fs::remove_file(&path).map_err(Error::io(&path))?;
    }
    Ok(())
}

fn encode_document(encoder: &Encoder, document: &str) -> Result<Vec<u32>> {
    let mut ids = Vec::with_capacity(document.len() / 3);
    let mut start = 0;
    while start < document.len() {
        let end = piece_end(document, start);
        ids.extend(encoder.encode(&document[start..end])?);
        start = end;
    }
    Ok(ids)
}

/// The end of a piece of at least 64 KiB: between a line's last visible character and its line end, so that
/// runs of blank characters stay whole.
fn piece_end(document: &str, start: usize) -> usize {
    let bytes = document.as_bytes();
    let mut at = start + (1 << 16);
    while at + 1 < bytes.len() {
        if bytes[at] == b'\n' && !bytes[at - 1].is_ascii_whitespace() && bytes[at - 1].is_ascii() {
            return at;
        }
        at += 1;
    }
    document.len()
}

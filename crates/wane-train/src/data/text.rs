//! Documents from text files: plain text (one document, or split at a separator), JSON Lines (field
//! `text`), each optionally compressed with zstd (`.zst`). Reads file by file, not line by line:
//! a file must fit into memory.

use std::io::Read;
use std::path::Path;

use crate::{Error, Result};

/// The file's text, decompressed if its name ends in `.zst`.
///
/// # Errors
/// The file cannot be read, is damaged, or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let bytes = if path.extension().is_some_and(|e| e == "zst") { decompress(&bytes, path)? } else { bytes };
    String::from_utf8(bytes).map_err(|e| Error::data(path, format!("is not UTF-8 ({e})")))
}

fn decompress(bytes: &[u8], path: &Path) -> Result<Vec<u8>> {
    let mut rest = bytes;
    let mut text = Vec::new();
    // A .zst file may be a chain of frames.
    while !rest.is_empty() {
        let damaged = |e: &dyn std::fmt::Display| Error::data(path, format!("damaged zstd data ({e})"));
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut rest).map_err(|e| damaged(&e))?;
        decoder.read_to_end(&mut text).map_err(|e| damaged(&e))?;
    }
    Ok(text)
}

/// The documents of a file. JSON Lines if the name says so (`.jsonl`, `.jsonl.zst`), else plain text split
/// at `separator`, or whole if there is none. Blank documents are dropped.
///
/// # Errors
/// As [`read_text`]; a line that is no JSON object with a string `text` (named by its number).
pub fn documents(path: &Path, separator: Option<&str>) -> Result<Vec<String>> {
    let text = read_text(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut found = Vec::new();
    if name.trim_end_matches(".zst").ends_with(".jsonl") {
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value: serde_json::Value =
                serde_json::from_str(line).map_err(|e| Error::data(path, format!("line {}: {e}", i + 1)))?;
            let document = value.get("text").and_then(|t| t.as_str());
            let document = document
                .ok_or_else(|| Error::data(path, format!("line {}: no string field `text`", i + 1)))?;
            found.push(document.to_owned());
        }
    } else {
        match separator {
            Some(separator) if !separator.is_empty() => {
                found.extend(text.split(separator).map(str::to_owned))
            }
            _ => found.push(text),
        }
    }
    found.retain(|document| !document.trim().is_empty());
    Ok(found)
}

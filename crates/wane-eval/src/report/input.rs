//! The files of a report: which there are, what each holds, and their lines. Plain, `.gz` and `.zst` files
//! are read alike; what a file holds is told by its first line, not by its name.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::{Error, Result, hits, runner};

/// Files that a folder is searched for.
const NAMES: [&str; 4] = [runner::store::FILE, hits::store::FILE, "memory.json", "record.json"];

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Finished examples, a line each (`wane eval`, `wane compare`).
    Samples,
    /// Hit rates, a line each (`wane hits`).
    Hits,
    /// Statistics of a memory (`wane memory`), one document.
    Memory,
    /// The record of a training run (`wane train`), one document.
    Training,
}

/// The files that `inputs` (files, or folders that hold some of [`NAMES`]) stand for, each once.
///
/// # Errors
/// A folder that holds none of them.
pub(super) fn files(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for input in inputs {
        let found = if input.is_dir() { in_folder(input)? } else { vec![input.clone()] };
        for path in found {
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let existing = |name: &&str| {
        let endings = ["", ".zst", ".gz"].map(|ending| folder.join(format!("{name}{ending}")));
        endings.into_iter().find(|path| path.exists())
    };
    let found: Vec<PathBuf> = NAMES.iter().filter_map(existing).collect();
    if found.is_empty() {
        return Err(Error::Invalid(format!(
            "{} holds no records.jsonl (or {}): name the folder that `wane eval --out` wrote, or the files",
            folder.display(),
            NAMES[1..].join(", ")
        )));
    }
    Ok(found)
}

/// A file's contents, unpacked.
fn open(path: &Path) -> Result<Box<dyn Read>> {
    let file = File::open(path).map_err(|e| Error::file("read", path, e))?;
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Ok(match ending {
        "zst" => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(BufReader::new(file))
                .map_err(|e| Error::Invalid(format!("{} is no zstd file: {e}", path.display())))?;
            Box::new(decoder)
        }
        "gz" => Box::new(MultiGzDecoder::new(file)),
        _ => Box::new(file),
    })
}

/// What a file holds; an empty file, and one that nothing is known of, counts as samples, whose reader
/// says what is wrong with it.
///
/// # Errors
/// The file cannot be read.
pub(super) fn kind(path: &Path) -> Result<Kind> {
    let mut reader = BufReader::new(open(path)?);
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(Kind::Samples),
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Kind::Samples),
            Err(e) => return Err(Error::file("read", path, e)),
        }
    }
    let mut value = serde_json::from_slice::<serde_json::Value>(line.trim_ascii()).ok();
    if value.is_none() && line.trim_ascii() == b"{" {
        // A document over many lines.
        value = reader.read_to_end(&mut line).ok().and_then(|_| serde_json::from_slice(&line).ok());
    }
    let has = |key: &str| value.as_ref().is_some_and(|v| v.get(key).is_some());
    Ok(if has("measured") && has("heads") {
        Kind::Hits
    } else if has("curve") && has("validations") {
        Kind::Training
    } else if has("distances") && has("models") {
        Kind::Memory
    } else {
        Kind::Samples
    })
}

/// The whole of a file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|e| Error::file("read", path, e))?;
    Ok(bytes)
}

/// Calls `each` with number, text and completeness of every line that is not blank. A packed file that
/// ends too early ends in an incomplete line; the answer is whether that was so.
///
/// # Errors
/// The file cannot be read; whatever `each` says.
pub(super) fn lines(path: &Path, mut each: impl FnMut(usize, &[u8], bool) -> Result<()>) -> Result<bool> {
    let mut reader = BufReader::with_capacity(1 << 20, open(path)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut cut = false;
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => cut = true,
            Err(e) => return Err(Error::file("read", path, e)),
        }
        let whole = line.last() == Some(&b'\n');
        let text = line.trim_ascii();
        if !text.is_empty() {
            each(number, text, whole)?;
        }
        if cut {
            return Ok(true);
        }
    }
    Ok(false)
}

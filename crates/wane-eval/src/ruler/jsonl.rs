//! NVIDIA's JSONL files: written as Python's `json.dump` writes them, byte for byte; read strictly.
//!
//! Does not do: gaps; an empty line in the middle is an error, and so is a half-written last line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Sample;
use crate::{Error, Result};

/// One value as a line of JSON: `", "` and `": "` between, non-ASCII characters escaped.
///
/// # Errors
/// A value that JSON cannot express.
pub fn line<T: Serialize>(value: &T) -> Result<String> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Python);
    value.serialize(&mut serializer).map_err(|e| Error::Invalid(format!("cannot write JSON: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| Error::Invalid(format!("cannot write JSON: {e}")))?;
    Ok(text + "\n")
}

/// Reads samples, one a line.
///
/// # Errors
/// A file that cannot be read; a line that is not a sample, with its number and what is wrong.
pub fn read(path: &Path) -> Result<Vec<Sample>> {
    read_lines(path)
}

/// Reads values, one a line.
///
/// # Errors
/// As [`read`].
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).map_err(|e| Error::file("read", path, e))?;
    let mut values = Vec::new();
    for (i, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| Error::file("read", path, e))?;
        let value = serde_json::from_str(&line).map_err(|e| Error::Line {
            path: path.to_owned(),
            line: i + 1,
            message: format!("expected a JSON object: {e}"),
        })?;
        values.push(value);
    }
    Ok(values)
}

/// Python's default separators, and `ensure_ascii`.
#[derive(Clone, Copy)]
struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut units = [0; 2];
        for part in fragment.split_inclusive(|c: char| !c.is_ascii() || c == '\x7f') {
            let last = part.chars().next_back().filter(|c| !c.is_ascii() || *c == '\x7f');
            writer.write_all(&part.as_bytes()[..part.len() - last.map_or(0, char::len_utf8)])?;
            for unit in last.map(|c| c.encode_utf16(&mut units)).into_iter().flatten() {
                write!(writer, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

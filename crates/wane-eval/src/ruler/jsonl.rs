//! NVIDIA's JSONL files: written as Python's `json.dump` writes them, byte for byte; read strictly.
//!
//! Does not do: gaps (an empty line is an error, and so is a half-written last line), unknown fields (they are
//! left out).

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use wane_model::tokenizer::sha256_hex;

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
/// A file that cannot be read or holds nothing; a line that is not a sample: its number, the field, and what
/// was expected.
pub fn read(path: &Path) -> Result<Vec<Sample>> {
    read_with(path, sample)
}

/// The sample of one line.
///
/// # Errors
/// A field that is missing or something else.
pub fn sample(line: &Fields<'_>) -> Result<Sample> {
    let length = line.optional_count("length")?.unwrap_or(0);
    Ok(Sample {
        index: line.integer("index")?,
        input: line.text("input")?,
        outputs: line.texts("outputs")?,
        length,
        // Older files lack these.
        length_w_model_temp: line.optional_count("length_w_model_temp")?.unwrap_or(length),
        answer_prefix: line.optional_text("answer_prefix")?.unwrap_or_default(),
        token_position_answer: line.optional_count("token_position_answer")?,
    })
}

/// Reads one value a line; `each` takes the fields of a line.
///
/// # Errors
/// As [`read`].
pub fn read_with<T>(path: &Path, mut each: impl FnMut(&Fields<'_>) -> Result<T>) -> Result<Vec<T>> {
    let file = File::open(path).map_err(|e| Error::file("read", path, e))?;
    let (mut reader, mut values, mut bytes) = (BufReader::new(file), Vec::new(), Vec::new());
    for line in 1.. {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(|e| Error::file("read", path, e))? == 0 {
            break;
        }
        let map = serde_json::from_slice(&bytes).map_err(|e| {
            let cause = if bytes.last() == Some(&b'\n') {
                format!("expected a JSON object: {}", place(&e))
            } else {
                "the file ends within a line, as if its writer was stopped: write it again, or delete this line"
                    .to_owned()
            };
            Error::Line { path: path.to_owned(), line, message: cause }
        })?;
        values.push(each(&Fields { path, line, map })?);
    }
    if values.is_empty() {
        return Err(Error::Invalid(format!(
            "{}: an empty file; expected one JSON object a line",
            path.display()
        )));
    }
    Ok(values)
}

/// serde_json's message with the column only: the line is the file's.
fn place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

/// Finds lines that repeat another one.
#[derive(Debug, Default)]
pub struct Repeats {
    seen: HashMap<(i64, String), usize>,
}

impl Repeats {
    /// Notes a line. Needle samples share an index by chance (it is the answer's place in the text), so only
    /// the same index with the same input is a repetition.
    ///
    /// # Errors
    /// The same index and input came before.
    pub fn note(&mut self, fields: &Fields<'_>, index: i64, input: &str) -> Result<()> {
        let digest = sha256_hex(input.as_bytes());
        match self.seen.insert((index, digest), fields.line) {
            None => Ok(()),
            Some(before) => Err(fields.wrong(
                "index",
                &format!(
                    "duplicate: {index} with the same input was in line {before} already; delete one of them"
                ),
            )),
        }
    }
}

/// The fields of one line.
#[derive(Debug)]
pub struct Fields<'a> {
    path: &'a Path,
    line: usize,
    map: serde_json::Map<String, Value>,
}

impl Fields<'_> {
    /// An error about a field.
    pub fn wrong(&self, field: &str, what: &str) -> Error {
        let message = format!("field `{field}`: {what}");
        Error::Line { path: self.path.to_owned(), line: self.line, message }
    }

    fn expected(&self, field: &str, what: &str) -> Error {
        let got = match self.map.get(field) {
            None => "it is missing".to_owned(),
            Some(value) => {
                let text = value.to_string();
                let short: String = text.chars().take(40).collect();
                format!("got {short}{}", if short.len() < text.len() { "..." } else { "" })
            }
        };
        self.wrong(field, &format!("expected {what}, {got}"))
    }

    fn optional<T>(
        &self,
        field: &str,
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.map.get(field) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.expected(field, what)),
        }
    }

    fn required<T>(&self, field: &str, what: &str, read: impl FnOnce(&Value) -> Option<T>) -> Result<T> {
        self.optional(field, what, read)?.ok_or_else(|| self.expected(field, what))
    }

    /// A text.
    ///
    /// # Errors
    /// It is missing or something else.
    pub fn text(&self, field: &str) -> Result<String> {
        self.required(field, "a text", |v| v.as_str().map(str::to_owned))
    }

    /// A text that may be missing.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_text(&self, field: &str) -> Result<Option<String>> {
        self.optional(field, "a text", |v| v.as_str().map(str::to_owned))
    }

    /// A list of texts, not empty.
    ///
    /// # Errors
    /// It is missing, empty or something else.
    pub fn texts(&self, field: &str) -> Result<Vec<String>> {
        let texts = |v: &Value| {
            let list =
                v.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            (!list.is_empty()).then_some(list)
        };
        self.required(field, "a list of texts that is not empty", texts)
    }

    /// An object that may be missing.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_map(&self, field: &str) -> Result<Option<BTreeMap<String, Value>>> {
        let map = |v: &Value| Some(v.as_object()?.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
        self.optional(field, "an object", map)
    }

    /// Whether there is such a field.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// An integer.
    ///
    /// # Errors
    /// It is missing or something else.
    pub fn integer(&self, field: &str) -> Result<i64> {
        self.required(field, "an integer", Value::as_i64)
    }

    /// A number of tokens that may be missing; -1 counts as missing, as NVIDIA writes it.
    ///
    /// # Errors
    /// It is something else.
    pub fn optional_count(&self, field: &str) -> Result<Option<usize>> {
        let count = |v: &Value| match v.as_i64()? {
            -1 => Some(None),
            n => Some(Some(usize::try_from(n).ok()?)),
        };
        Ok(self.optional(field, "a number of tokens", count)?.flatten())
    }
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

#[cfg(test)]
mod tests;

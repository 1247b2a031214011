//! Compares two data sets sample by sample and says where they first differ.
//!
//! Does not do: matching of samples in another order; RULER's files have one.

use std::path::Path;

use super::{Sample, jsonl};
use crate::{Error, Result};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Samples in each file.
    pub samples: [usize; 2],
    /// Samples that are equal in every field.
    pub equal: usize,
    /// The first difference, as a sentence.
    pub first: Option<String>,
}

/// Compares two files.
///
/// # Errors
/// A file that cannot be read, or a line that is not a sample.
pub fn files(a: &Path, b: &Path) -> Result<Comparison> {
    Ok(samples(&jsonl::read(a)?, &jsonl::read(b)?))
}

/// Compares two lists of samples.
pub fn samples(a: &[Sample], b: &[Sample]) -> Comparison {
    let mut first = a
        .iter()
        .zip(b)
        .enumerate()
        .find_map(|(i, (a, b))| difference(a, b).map(|d| format!("sample {i}: {d}")));
    if first.is_none() && a.len() != b.len() {
        first = Some(format!("{} samples against {}", a.len(), b.len()));
    }
    Comparison { samples: [a.len(), b.len()], equal: a.iter().zip(b).filter(|(a, b)| a == b).count(), first }
}

fn difference(a: &Sample, b: &Sample) -> Option<String> {
    for (field, x, y) in
        [("input", &a.input, &b.input), ("answer_prefix", &a.answer_prefix, &b.answer_prefix)]
    {
        if x != y {
            let at = x.chars().zip(y.chars()).take_while(|(x, y)| x == y).count();
            let near = |text: &str| text.chars().skip(at.saturating_sub(20)).take(60).collect::<String>();
            return Some(format!("`{field}` differs at character {at}: {:?} against {:?}", near(x), near(y)));
        }
    }
    let fields = [
        ("outputs", format!("{:?}", a.outputs), format!("{:?}", b.outputs)),
        ("length", a.length.to_string(), b.length.to_string()),
        ("length_w_model_temp", a.length_w_model_temp.to_string(), b.length_w_model_temp.to_string()),
        ("index", a.index.to_string(), b.index.to_string()),
        (
            "token_position_answer",
            format!("{:?}", a.token_position_answer),
            format!("{:?}", b.token_position_answer),
        ),
    ];
    fields
        .into_iter()
        .find(|(_, x, y)| x != y)
        .map(|(field, x, y)| format!("`{field}` differs: {x} against {y}"))
}

/// The data files under a folder (`TASK/validation.jsonl`), or the file itself.
///
/// # Errors
/// A folder that cannot be listed or holds none.
pub fn data_files(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>> {
    if path.is_file() {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(stem, path.to_owned())]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(|e| Error::file("read", path, e))? {
        let entry = entry.map_err(|e| Error::file("read", path, e))?;
        let file = entry.path().join("validation.jsonl");
        if file.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    if found.is_empty() {
        return Err(Error::Invalid(format!("{}: no TASK/validation.jsonl in it", path.display())));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;

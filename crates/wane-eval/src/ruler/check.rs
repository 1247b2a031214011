//! Compares two data sets sample by sample and says where they first differ.
//!
//! Does not do: matching of samples in another order; RULER's files have one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Sample, jsonl};
use crate::{Error, Result};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Samples in each file.
    pub samples: [usize; 2],
    /// Samples that are equal in every field.
    pub equal: usize,
    /// In how many samples each field differs; fields that are equal everywhere are left out.
    pub fields: Vec<(&'static str, usize)>,
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
    let (mut first, mut equal) = (None, 0);
    let mut fields: Vec<(&'static str, usize)> = FIELDS.iter().map(|(name, _)| (*name, 0)).collect();
    for (number, (a, b)) in a.iter().zip(b).enumerate() {
        let mut same = true;
        for ((name, differ), (_, count)) in FIELDS.iter().zip(&mut fields) {
            let Some(how) = differ(a, b) else { continue };
            same = false;
            *count += 1;
            first.get_or_insert_with(|| format!("sample {number}: `{name}` differs{how}"));
        }
        equal += usize::from(same);
    }
    if first.is_none() && a.len() != b.len() {
        first = Some(format!("{} samples against {}", a.len(), b.len()));
    }
    fields.retain(|(_, count)| *count > 0);
    Comparison { samples: [a.len(), b.len()], equal, fields, first }
}

/// How two samples differ in one field, as the end of a sentence.
type Differ = fn(&Sample, &Sample) -> Option<String>;

/// The fields, in the order in which a difference is looked for.
const FIELDS: [(&str, Differ); 7] = [
    ("input", |a, b| texts(&a.input, &b.input)),
    ("answer_prefix", |a, b| texts(&a.answer_prefix, &b.answer_prefix)),
    ("outputs", |a, b| values(&a.outputs, &b.outputs)),
    ("length", |a, b| values(&a.length, &b.length)),
    ("length_w_model_temp", |a, b| values(&a.length_w_model_temp, &b.length_w_model_temp)),
    ("index", |a, b| values(&a.index, &b.index)),
    ("token_position_answer", |a, b| values(&a.token_position_answer, &b.token_position_answer)),
];

fn texts(a: &str, b: &str) -> Option<String> {
    if a == b {
        return None;
    }
    let at = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let near = |text: &str| text.chars().skip(at.saturating_sub(20)).take(60).collect::<String>();
    Some(format!(" at character {at}: {:?} against {:?}", near(a), near(b)))
}

fn values<T: PartialEq + std::fmt::Debug>(a: &T, b: &T) -> Option<String> {
    (a != b).then(|| format!(": {a:?} against {b:?}"))
}

/// What two folders, or two files, have to say about each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Both have it.
    Compared(Comparison),
    /// It is missing in the first or the second.
    Missing(PathBuf),
}

/// Compares two files, or every data file of two folders by its place in them.
///
/// # Errors
/// As [`files`]; a folder without data files; a file against a folder.
pub fn trees(a: &Path, b: &Path) -> Result<Vec<(String, Outcome)>> {
    match (a.is_file(), b.is_file()) {
        (true, true) => {
            let name = a.file_name().unwrap_or(a.as_os_str()).to_string_lossy().into_owned();
            return Ok(vec![(name, Outcome::Compared(files(a, b)?))]);
        }
        (false, false) => {}
        _ => {
            let (a, b) = (a.display(), b.display());
            return Err(Error::Invalid(format!("{a} and {b}: expected two files or two folders")));
        }
    }
    let (left, right) = (tree(a)?, tree(b)?);
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort();
    names.dedup();
    let mut found = Vec::new();
    for name in names {
        let outcome = match (left.get(name), right.get(name)) {
            (Some(a), Some(b)) => Outcome::Compared(files(a, b)?),
            (None, _) => Outcome::Missing(a.to_owned()),
            (_, None) => Outcome::Missing(b.to_owned()),
        };
        found.push((name.clone(), outcome));
    }
    Ok(found)
}

/// Every `.jsonl` file below a folder by its place; `TASK/validation.jsonl` is called `TASK`.
fn tree(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).map_err(|e| Error::file("read", &at, e))? {
            let path = entry.map_err(|e| Error::file("read", &at, e))?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "jsonl") {
                let place = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
                let place = place.to_string_lossy().into_owned();
                let name = place.strip_suffix("/validation").unwrap_or(&place).to_owned();
                found.insert(name, path);
            }
        }
    }
    if found.is_empty() {
        return Err(Error::Invalid(format!("{}: no .jsonl files in it", folder.display())));
    }
    Ok(found)
}

/// The data files of a folder: `TASK/validation.jsonl`, by task.
///
/// # Errors
/// A folder that cannot be listed or holds none.
pub fn data_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::file("read", folder, e))? {
        let entry = entry.map_err(|e| Error::file("read", folder, e))?;
        let file = entry.path().join("validation.jsonl");
        if file.is_file() {
            found.push((entry.file_name().to_string_lossy().into_owned(), file));
        }
    }
    if found.is_empty() {
        return Err(Error::Invalid(format!("{}: no TASK/validation.jsonl in it", folder.display())));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;

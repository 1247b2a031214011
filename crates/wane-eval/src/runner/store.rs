//! A folder of results: `run.json` (what every record shares) and `records.jsonl`, one line per
//! finished example, written at once. A killed run leaves at most half a line, which is cut off
//! (and said) when the run goes on. A folder that is refused is left as it is.
//!
//! Does not do: two writers at a time; keeping what was written: [`read`] returns it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::Recipe;
use super::record::{Key, Record};
use crate::{Error, Result};

/// The name of the file of records in its folder.
pub const FILE: &str = "records.jsonl";

/// What all records of a folder share; other settings need another folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Prompt and answer budget, in tokens.
    pub context: usize,
    /// The seed of the samples.
    pub seed: u64,
    /// What prompts are made of.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// A limit below the tasks' own, if any.
    pub max_new_tokens: Option<usize>,
}

impl Settings {
    /// One sentence for every setting that differs.
    fn differences(&self, other: &Self) -> Vec<String> {
        let object = |settings: &Self| match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let (ours, theirs) = (object(self), object(other));
        let absent = serde_json::Value::Null;
        // Settings that do not apply are left out of the file: look at the names of both.
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let value = |of: &serde_json::Map<String, serde_json::Value>, name: &String| {
            of.get(name).unwrap_or(&absent).clone()
        };
        names
            .into_iter()
            .map(|name| (name, value(&ours, name), value(&theirs, name)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .map(|(name, ours, theirs)| format!("{name} is {ours} there and {theirs} here"))
            .collect()
    }
}

/// Whether a folder may hold records already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They are an error.
    Refuse,
    /// They are kept and not run again.
    Resume,
}

/// An open folder.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    keys: HashSet<Key>,
    /// Names and hashes of the models that have records.
    models: BTreeSet<(String, String)>,
    cut: usize,
}

impl Store {
    /// Opens or creates a folder.
    ///
    /// # Errors
    /// No permission; records of another run; a line in the middle that is no record.
    pub fn open(folder: &Path, settings: &Settings, existing: Existing) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::file("create", folder, e))?;
        let path = folder.join(FILE);
        let (records, whole, cut) = parse(&path)?;
        if !records.is_empty() && existing == Existing::Refuse {
            return Err(Error::Invalid(format!(
                "{} holds {} records: pass --resume to go on with them, or another --out",
                folder.display(),
                records.len()
            )));
        }
        let mut lines = HashMap::new();
        for (i, record) in records.iter().enumerate() {
            if let Some(before) = lines.insert(record.key(), i + 1) {
                let (_, method, task, sample) = record.key();
                return Err(Error::Line {
                    path,
                    line: i + 1,
                    message: format!(
                        "sample {sample} of {task} under {method} was in line {before} already: did two runs write here? delete one of the lines"
                    ),
                });
            }
        }
        let header = folder.join("run.json");
        if records.is_empty() {
            let text = serde_json::to_string_pretty(settings).map_err(|e| Error::Invalid(e.to_string()))?;
            std::fs::write(&header, text + "\n").map_err(|e| Error::file("write", &header, e))?;
        } else {
            let text = std::fs::read_to_string(&header).map_err(|e| Error::file("read", &header, e))?;
            let old: Settings = serde_json::from_str(&text).map_err(|e| Error::Line {
                path: header.clone(),
                line: e.line(),
                message: e.to_string(),
            })?;
            if old != *settings {
                return Err(Error::Invalid(format!(
                    "{} holds the records of another run ({}): choose another --out, or the same settings",
                    folder.display(),
                    old.differences(settings).join("; ")
                )));
            }
        }
        let failed = |e| Error::file("write", &path, e);
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        if cut > 0 {
            file.set_len(whole).map_err(failed)?;
        }
        let keys = lines.into_keys().collect();
        let models = records.iter().map(model).collect();
        Ok(Self { path, file, keys, models, cut })
    }

    /// Bytes of a half-written last line that were cut off when the folder was opened; that example runs again.
    pub fn repaired(&self) -> usize {
        self.cut
    }

    /// Whether an example is there.
    pub fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// Refuses a model whose name the records give to another one: tables go by names.
    ///
    /// # Errors
    /// There are such records.
    pub fn check_model(&self, name: &str, hash: &str) -> Result<()> {
        match self.models.iter().any(|(other, weights)| other == name && weights != hash) {
            true => Err(Error::Invalid(format!(
                "{} holds records of another model that was called {name} too (its weights differ): choose another --out",
                self.path.display()
            ))),
            false => Ok(()),
        }
    }

    /// Appends a record; it is in the file when this returns.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_string(record).map_err(|e| Error::Invalid(e.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(|e| Error::file("write", &self.path, e))?;
        self.keys.insert(record.key());
        self.models.insert(model(record));
        Ok(())
    }

    /// How many examples are there, those of earlier runs included.
    pub fn examples(&self) -> usize {
        self.keys.len()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name and the hash of a record's model.
fn model(record: &Record) -> (String, String) {
    (record.cell.model.clone(), record.cell.model_hash.clone())
}

/// Reads the records of a file in the order of writing; nothing if there is no file.
///
/// # Errors
/// A line that is no record, the last one excepted.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    Ok(parse(path)?.0)
}

/// The records, the bytes of their lines, and those of a half-written line behind them.
fn parse(path: &Path) -> Result<(Vec<Record>, u64, usize)> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), 0, 0)),
        Err(e) => return Err(Error::file("read", path, e)),
    };
    let (mut records, mut whole, mut cut) = (Vec::new(), 0, 0);
    for (i, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            cut = line.len();
            break;
        }
        let record = serde_json::from_slice(line).map_err(|e| Error::Line {
            path: path.to_owned(),
            line: i + 1,
            message: format!("expected a record: {e}"),
        })?;
        records.push(record);
        whole += line.len() as u64;
    }
    Ok((records, whole, cut))
}

#[cfg(test)]
pub(crate) mod tests;

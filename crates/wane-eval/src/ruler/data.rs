//! A data set made elsewhere: a folder with `TASK/validation.jsonl` in NVIDIA's fields.
//!
//! It is named in records by the SHA-256 of its files, so results of other data never mix.
//!
//! Does not do: downloads, other layouts.

use std::path::{Path, PathBuf};

use wane_model::Tokenizer;
use wane_model::tokenizer::sha256_hex;

use super::{Sample, TASKS, TaskEntry, check, jsonl, tasks};
use crate::{Error, Result};

/// The samples of some tasks.
#[derive(Debug, Clone)]
pub struct DataSet {
    name: String,
    hash: String,
    tasks: Vec<(&'static TaskEntry, PathBuf, Vec<Sample>)>,
}

impl DataSet {
    /// Reads the named tasks of a folder, or all that it has.
    ///
    /// # Errors
    /// No data, a task that is not there or unknown, a line that is not a sample or repeats another.
    pub fn open<S: AsRef<str>>(folder: &Path, names: &[S]) -> Result<Self> {
        let files = check::data_files(folder)?;
        let wanted = if names.is_empty() { Vec::new() } else { tasks::select(names)? };
        let (mut found, mut digests) = (Vec::new(), String::new());
        for task in TASKS.iter().filter(|t| names.is_empty() || wanted.iter().any(|w| w.name == t.name)) {
            let Some((_, path)) = files.iter().find(|(name, _)| name == task.name) else {
                if names.is_empty() {
                    continue;
                }
                let there: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
                let there = there.join(", ");
                let at = folder.display();
                return Err(Error::Invalid(format!(
                    "{at} has no {}/validation.jsonl; it has {there}",
                    task.name
                )));
            };
            let mut repeats = jsonl::Repeats::default();
            let samples = jsonl::read_with(path, |line| {
                let sample = jsonl::sample(line)?;
                repeats.note(line, sample.index, &sample.input)?;
                Ok(sample)
            })?;
            let bytes = std::fs::read(path).map_err(|e| Error::file("read", path, e))?;
            digests += &format!("{} {}\n", task.name, sha256_hex(&bytes));
            found.push((task, path.clone(), samples));
        }
        if found.is_empty() {
            let there: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
            return Err(Error::Invalid(format!(
                "{}: none of its data sets ({}) is a task (`wane tasks` lists them)",
                folder.display(),
                there.join(", ")
            )));
        }
        let last = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
        Ok(Self { name: format!("data:{last}"), hash: sha256_hex(digests.as_bytes()), tasks: found })
    }

    /// `data:` and the folder's name, for records.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 over tasks and files.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The tasks, in RULER's order.
    pub fn tasks(&self) -> Vec<&'static TaskEntry> {
        self.tasks.iter().map(|(task, ..)| *task).collect()
    }

    /// The samples of a task.
    ///
    /// # Errors
    /// The task is not in the data.
    pub fn samples(&self, task: &str) -> Result<&[Sample]> {
        let found = self.tasks.iter().find(|(t, ..)| t.name == task);
        found
            .map(|(.., samples)| samples.as_slice())
            .ok_or_else(|| Error::Invalid(format!("{} has no samples of {task}", self.name)))
    }

    /// The most samples that a task has.
    pub fn most_samples(&self) -> usize {
        self.tasks.iter().map(|(.., samples)| samples.len()).max().unwrap_or(0)
    }

    /// The longest length that the files state, prompt and answer budget; `None` if they state none.
    pub fn longest(&self) -> Option<usize> {
        let lengths = self.tasks.iter().flat_map(|(.., s)| s).map(|s| s.length.max(s.length_w_model_temp));
        lengths.max().filter(|length| *length > 0)
    }

    /// Checks that the lengths in the files are those of this tokenizer: prompt (with the answer's beginning,
    /// or, as lm-evaluation-harness counts, without it and with the tokens that the tokenizer adds) and the task's budget.
    ///
    /// # Errors
    /// The first sample whose length is another.
    pub fn check_lengths(&self, tokenizer: &Tokenizer) -> Result<()> {
        let failed = |e: wane_model::Error| Error::Tokenizer(e.to_string());
        for (task, path, samples) in &self.tasks {
            // A few are enough to tell tokenizers apart, and cost little at 128K tokens.
            for (i, sample) in samples.iter().enumerate().filter(|(_, s)| s.length > 0).take(3) {
                let whole = [sample.input.as_str(), &sample.answer_prefix].concat();
                let counts = [
                    tokenizer.count(&whole).map_err(failed)?,
                    tokenizer.count(&sample.input).map_err(failed)?,
                    tokenizer.encode_with_special(&sample.input).map_err(failed)?.len(),
                ];
                if counts.iter().all(|count| count + task.max_new_tokens != sample.length) {
                    return Err(Error::Line {
                        path: path.clone(),
                        line: i + 1,
                        message: format!(
                            "field `length`: {} was counted with another tokenizer; this model's counts {}: \
                             make the samples with its tokenizer, or pass --any-tokenizer",
                            sample.length,
                            counts[0] + task.max_new_tokens
                        ),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

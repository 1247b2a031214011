//! NVIDIA's prediction files: `TASK.jsonl` in a folder, with the fields that `call_api.py` writes, and the
//! summary that `evaluate.py` makes of them.
//!
//! | file | content |
//! |---|---|
//! | `TASK.jsonl`, or chunks `TASK-0.jsonl`, `TASK-1.jsonl`, ... | index, pred, input, outputs, others, truncation, length |
//! | `summary.csv` (`summary-TASK.csv` of a single task) | tasks, scores in percent, empty predictions |
//! | `submission.csv` | task, id, cleaned prediction |
//!
//! Does not do: deleting or joining chunk files on disk, as `evaluate.py` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::data::DataSet;
use super::{Metric, TASKS, TaskEntry, jsonl, score};
use crate::runner::record::Record;
use crate::{Error, Result, nearest};

/// One line of a prediction file, fields in NVIDIA's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// As in the data set.
    pub index: i64,
    /// The generated text.
    pub pred: String,
    /// The whole prompt.
    pub input: String,
    /// The answers.
    pub outputs: Vec<String>,
    /// `{"id": ...}` replaces the index in `submission.csv`.
    pub others: BTreeMap<String, serde_json::Value>,
    /// -1: not known.
    pub truncation: i64,
    /// Tokens of prompt and answer budget; -1 if not known.
    pub length: i64,
}

/// The predictions of one task.
#[derive(Debug)]
pub struct TaskPredictions {
    /// The task.
    pub task: &'static TaskEntry,
    /// Its predictions, in the order of the files.
    pub lines: Vec<Prediction>,
}

/// Reads prediction lines: `pred`, and `outputs` or `output`; the rest may be missing.
///
/// # Errors
/// A file that cannot be read or holds nothing; a line that is no prediction, or repeats another.
pub fn read(path: &Path) -> Result<Vec<Prediction>> {
    let mut repeats = jsonl::Repeats::default();
    let mut number = 0;
    jsonl::read_with(path, |line| {
        number += 1;
        let prediction = Prediction {
            index: if line.has("index") { line.integer("index")? } else { number - 1 },
            pred: line.text("pred")?,
            input: line.optional_text("input")?.unwrap_or_default(),
            outputs: if line.has("outputs") || !line.has("output") {
                line.texts("outputs")?
            } else {
                vec![line.text("output")?]
            },
            others: line.optional_map("others")?.unwrap_or_default(),
            truncation: -1,
            length: line.optional_count("length")?.map_or(-1, |n| n as i64),
        };
        repeats.note(line, prediction.index, &prediction.input)?;
        Ok(prediction)
    })
}

/// The task that a file's name stands for: `TASK.jsonl` or `TASK-CHUNK.jsonl`.
///
/// # Errors
/// No task has that name; the nearest is said.
pub fn task_of(path: &Path) -> Result<&'static TaskEntry> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match stem.rsplit_once('-') {
        Some((task, chunk)) if !chunk.is_empty() && chunk.bytes().all(|b| b.is_ascii_digit()) => task,
        _ => &stem,
    };
    TASKS.iter().find(|t| t.name == name).ok_or_else(|| {
        Error::Invalid(format!(
            "{}: no task is called `{name}` (did you mean `{}`?): rename the file, or name a --scorer",
            path.display(),
            nearest(name, TASKS.iter().map(|t| t.name))
        ))
    })
}

/// Reads a folder of prediction files, in RULER's order of tasks. Other files are left out.
///
/// # Errors
/// As [`read`]; a folder without predictions; a task that is there both whole and in chunks.
pub fn read_folder(folder: &Path) -> Result<Vec<TaskPredictions>> {
    let mut by_task: BTreeMap<usize, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::file("read", folder, e))? {
        let path = entry.map_err(|e| Error::file("read", folder, e))?.path();
        if path.extension().is_none_or(|e| e != "jsonl") || !path.is_file() {
            continue;
        }
        if let Ok(task) = task_of(&path) {
            let place = TASKS.iter().position(|t| t.name == task.name).unwrap_or(0);
            by_task.entry(place).or_default().push(path);
        }
    }
    if by_task.is_empty() {
        return Err(Error::Invalid(format!("{}: no TASK.jsonl with predictions in it", folder.display())));
    }
    let mut all = Vec::new();
    for (place, mut files) in by_task {
        let task = &TASKS[place];
        files.sort();
        let whole = folder.join(format!("{}.jsonl", task.name));
        if files.len() > 1 && files.contains(&whole) {
            return Err(Error::Invalid(format!(
                "{} has {} both whole and in chunks: delete one of them",
                folder.display(),
                task.name
            )));
        }
        let mut lines = Vec::new();
        for file in files {
            lines.extend(read(&file)?);
        }
        all.push(TaskPredictions { task, lines });
    }
    Ok(all)
}

/// The score of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScore {
    /// The task.
    pub task: String,
    /// The scorer.
    pub metric: Metric,
    /// Percent, rounded to two decimals.
    pub score: f64,
    /// Predictions that are empty after the clean-up.
    pub nulls: usize,
    /// All predictions.
    pub predictions: usize,
}

/// Scores predictions.
pub fn score_lines(task: &str, metric: Metric, lines: &[Prediction]) -> TaskScore {
    let scores: Vec<f64> = lines.iter().map(|l| metric.score(&l.pred, &l.outputs)).collect();
    TaskScore {
        task: task.to_owned(),
        metric,
        score: score::percent(&scores),
        nulls: lines.iter().filter(|l| score::postprocess(&l.pred).is_empty()).count(),
        predictions: lines.len(),
    }
}

/// `summary.csv` as `evaluate.py` writes it.
pub fn summary_csv(scores: &[TaskScore]) -> String {
    let row = |head: &str, cell: &dyn Fn(&TaskScore) -> String| {
        std::iter::once(csv(head)).chain(scores.iter().map(|s| csv(&cell(s)))).collect::<Vec<_>>().join(",")
    };
    let columns: Vec<String> = (0..=scores.len()).map(|i| i.to_string()).collect();
    format!(
        "{}\n{}\n{}\n{}\n",
        columns.join(","),
        row("Tasks", &|s| s.task.clone()),
        row("Score", &|s| format!("{:?}", s.score)),
        row("Nulls", &|s| format!("{}/{}", s.nulls, s.predictions))
    )
}

/// The name of the summary's file.
pub fn summary_name(scores: &[TaskScore]) -> String {
    match scores {
        [one] => format!("summary-{}.csv", one.task),
        _ => "summary.csv".to_owned(),
    }
}

/// `submission.csv` as `evaluate.py` writes it.
pub fn submission_csv(tasks: &[TaskPredictions]) -> String {
    let mut text = "Task,ID,Prediction\n".to_owned();
    for of_task in tasks {
        for line in &of_task.lines {
            let id = match line.others.get("id") {
                None => line.index.to_string(),
                Some(serde_json::Value::String(id)) => id.clone(),
                Some(id) => id.to_string(),
            };
            let cleaned = score::postprocess(&line.pred);
            let _ = writeln!(text, "{},{},{}", of_task.task.name, csv(&id), csv(&cleaned));
        }
    }
    text
}

/// A field as Python's `csv` quotes it.
fn csv(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// The predictions of records, by (model, method), each by task in RULER's order and by sample. With the data
/// set that was measured, prompts and indices are its own; without it the prompt is empty (`evaluate.py` does not
/// read it) and the index is the sample's number.
///
/// # Errors
/// Records of other data, or of samples that the data does not have.
pub fn of_records(
    records: &[Record],
    data: Option<&DataSet>,
) -> Result<BTreeMap<(String, String), Vec<TaskPredictions>>> {
    type Sorted<'a> = BTreeMap<(usize, usize), &'a Record>;
    let mut sorted: BTreeMap<(String, String), Sorted<'_>> = BTreeMap::new();
    for record in records {
        let Some(place) = TASKS.iter().position(|t| t.name == record.cell.task) else {
            return Err(Error::Invalid(format!("records of the unknown task `{}`", record.cell.task)));
        };
        if let (Some(measured), Some(data)) = (&record.origin.recipe.data, data)
            && measured != data.hash()
        {
            return Err(Error::Invalid(format!(
                "the records are of a data set with hash {measured}, {} has {}",
                data.name(),
                data.hash()
            )));
        }
        let key = (record.cell.model.clone(), record.cell.method.clone());
        sorted.entry(key).or_default().entry((place, record.sample)).or_insert(record);
    }
    let mut all = BTreeMap::new();
    for (key, records) in sorted {
        let mut tasks: Vec<TaskPredictions> = Vec::new();
        for ((place, _), record) in records {
            let task = &TASKS[place];
            let prediction = prediction(record, task, data)?;
            match tasks.last_mut() {
                Some(last) if last.task.name == task.name => last.lines.push(prediction),
                _ => tasks.push(TaskPredictions { task, lines: vec![prediction] }),
            }
        }
        all.insert(key, tasks);
    }
    Ok(all)
}

fn prediction(record: &Record, task: &TaskEntry, data: Option<&DataSet>) -> Result<Prediction> {
    let mut made = Prediction {
        index: record.sample as i64,
        pred: record.prediction.clone(),
        input: String::new(),
        outputs: record.references.clone(),
        others: BTreeMap::new(),
        truncation: -1,
        length: (record.prompt_tokens + task.max_new_tokens) as i64,
    };
    if let Some(data) = data {
        let sample = data.samples(task.name)?.get(record.sample);
        let Some(sample) = sample.filter(|s| s.outputs == record.references) else {
            return Err(Error::Invalid(format!(
                "{}: sample {} of {} has other answers than the records: name the data that was measured",
                data.name(),
                record.sample,
                task.name
            )));
        };
        made.index = sample.index;
        made.input = record.origin.recipe.prompt_form.prompt(sample);
        if sample.length > 0 {
            made.length = sample.length as i64;
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests;

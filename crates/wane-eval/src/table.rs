//! The table of `wane eval`, from records alone: accuracy of every task, bytes and times, a row for each
//! model and method.
//!
//! Does not do: gains and files (HTML, CSV); those are the report's.

use std::fmt::Write as _;

use crate::report::method::Method;
use crate::ruler::TASKS;
use crate::runner::record::Record;
use crate::statistics::wilson;

/// A short name for a column.
pub fn short(task: &str) -> &str {
    match task {
        "niah_single_1" => "S1",
        "niah_single_2" => "S2",
        "niah_single_3" => "S3",
        "niah_multikey_1" => "MK1",
        "niah_multikey_2" => "MK2",
        "niah_multikey_3" => "MK3",
        "niah_multivalue" => "MV",
        "niah_multiquery" => "MQ",
        other => other,
    }
}

/// A method without the keys that are as by default: enough to tell rows of a table apart.
pub fn short_method(method: &str) -> String {
    Method::parse(method).label()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// Values in the order in which they first occur.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    values.for_each(|v| {
        if !seen.contains(&v) {
            seen.push(v);
        }
    });
    seen
}

fn tasks_of(records: &[Record]) -> Vec<&'static str> {
    TASKS.iter().map(|t| t.name).filter(|name| records.iter().any(|r| r.cell.task == *name)).collect()
}

/// The scorer that a table uses for a record: the named one, or the record's first without `comma_set`.
fn score(record: &Record, metric: &str) -> f64 {
    if metric == "task" {
        let own = record.scores.keys().find(|name| *name != "comma_set");
        return own.map_or(0.0, |name| record.score(name));
    }
    record.score(metric)
}

/// The main table. `metric` is a metric's name, or `task` for each task's own.
pub fn accuracy(records: &[Record], metric: &str) -> String {
    let tasks = tasks_of(records);
    let mut text = String::new();
    let width = records
        .iter()
        .map(|r| r.cell.model.len() + short_method(&r.cell.method).len() + 2)
        .max()
        .unwrap_or(6)
        .max(6);
    let _ = write!(text, "{:<width$}", "");
    tasks.iter().for_each(|t| {
        let _ = write!(text, " {:>5}", short(t));
    });
    let _ = writeln!(text, " |  mean  95 % interval |  KV read   KV kept  prefill    ms/token    n");
    for model in distinct(records.iter().map(|r| r.cell.model.as_str())) {
        for method in
            distinct(records.iter().filter(|r| r.cell.model == model).map(|r| r.cell.method.as_str()))
        {
            let rows: Vec<&Record> =
                records.iter().filter(|r| r.cell.model == model && r.cell.method == method).collect();
            let _ = write!(text, "{:<width$}", format!("{model}  {}", short_method(method)));
            let mut means = Vec::new();
            for task in &tasks {
                let of_task: Vec<f64> =
                    rows.iter().filter(|r| r.cell.task == *task).map(|r| score(r, metric)).collect();
                if of_task.is_empty() {
                    let _ = write!(text, " {:>5}", "-");
                } else {
                    let value = mean(of_task.into_iter());
                    means.push(value);
                    let _ = write!(text, " {:>5.1}", 100.0 * value);
                }
            }
            let all = wilson(mean(means.into_iter()), rows.len());
            let per_token = mean(rows.iter().map(|r| r.seconds.decode / r.new_tokens.max(1) as f64));
            let _ = writeln!(
                text,
                " | {:>5.1} {:>6.1} to {:>5.1} | {:>8} {:>9} {:>7.2} s {:>9.1} {:>6}",
                100.0 * all.value,
                100.0 * all.low,
                100.0 * all.high,
                bytes(mean(rows.iter().map(|r| (r.bytes.read_per_step + r.bytes.summaries_per_step) as f64))),
                bytes(mean(rows.iter().map(|r| r.bytes.resident as f64))),
                mean(rows.iter().map(|r| r.seconds.prefill)),
                1e3 * per_token,
                rows.len(),
            );
        }
    }
    text
}

/// Bytes with a unit.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KB", "MB"] {
        if value < 1000.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2} GB")
}

#[cfg(test)]
mod tests;

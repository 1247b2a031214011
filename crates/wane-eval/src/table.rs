//! Tables in a terminal, from records alone: accuracy of every task, bytes and times, a row for each
//! model and method; and the gain of one model over another on the same samples.
//!
//! Does not do: files (HTML, CSV); those are the report's.

use std::fmt::Write as _;

use crate::ruler::TASKS;
use crate::runner::record::Record;
use crate::statistics::{Interval, paired_bootstrap, wilson};

/// Draws of the bootstrap.
const RESAMPLES: usize = 2000;

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
    let part = |part: &str| {
        let Some((name, keys)) = part.split_once(':') else { return part.to_owned() };
        let wanted = ["block", "k", "window", "budget", "d", "w", "s"];
        let kept: Vec<&str> = keys
            .split(',')
            .filter(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                let odd = (key == "selector" && value != "own")
                    || (key == "local" && value != "1")
                    || (key == "kernel" && value != "5")
                    || (key == "pool" && value != "avg")
                    || (key == "preset" && value != "paper");
                (wanted.contains(&key) && !(key == "window" && name == "snapkv")) || odd
            })
            .collect();
        format!("{name}:{}", kept.join(","))
    };
    method.split('+').map(part).collect::<Vec<_>>().join("+")
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
    TASKS.iter().map(|t| t.name).filter(|name| records.iter().any(|r| r.task == *name)).collect()
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
    let width =
        records.iter().map(|r| r.model.len() + short_method(&r.method).len() + 2).max().unwrap_or(6).max(6);
    let _ = write!(text, "{:<width$}", "");
    tasks.iter().for_each(|t| {
        let _ = write!(text, " {:>5}", short(t));
    });
    let _ = writeln!(text, " |  mean  95 % interval |  KV read   KV kept  prefill    ms/token    n");
    for model in distinct(records.iter().map(|r| r.model.as_str())) {
        for method in distinct(records.iter().filter(|r| r.model == model).map(|r| r.method.as_str())) {
            let rows: Vec<&Record> =
                records.iter().filter(|r| r.model == model && r.method == method).collect();
            let _ = write!(text, "{:<width$}", format!("{model}  {}", short_method(method)));
            let mut means = Vec::new();
            for task in &tasks {
                let of_task: Vec<f64> =
                    rows.iter().filter(|r| r.task == *task).map(|r| score(r, metric)).collect();
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

/// The gain of `second` over `first` (models' names) for each method, in points, with intervals and
/// bars. Samples that only one of them has are left out.
pub fn gain(records: &[Record], first: &str, second: &str, metric: &str) -> String {
    let tasks = tasks_of(records);
    let methods = distinct(records.iter().map(|r| r.method.as_str()));
    let width = methods.iter().map(|m| short_method(m).len()).max().unwrap_or(6);
    let mut text =
        format!("{:<width$}  {second} minus {first}, points, 95 % interval (paired bootstrap)\n", "method");
    for method in methods {
        let (gain, pairs) = method_gain(records, [first, second], method, &tasks, metric);
        if pairs == 0 {
            continue;
        }
        let _ = writeln!(
            text,
            "{:<width$}  {:>+6.1}  {:>+6.1} to {:>+6.1}  {}  ({pairs} pairs)",
            short_method(method),
            100.0 * gain.value,
            100.0 * gain.low,
            100.0 * gain.high,
            bar(gain.value),
        );
    }
    text
}

/// The gain under one method, and the number of pairs it rests on.
pub fn method_gain(
    records: &[Record],
    models: [&str; 2],
    method: &str,
    tasks: &[&str],
    metric: &str,
) -> (Interval, usize) {
    let differences: Vec<Vec<f64>> = tasks
        .iter()
        .map(|task| {
            let of = |model: &str| {
                let rows =
                    records.iter().filter(move |r| r.method == method && r.task == *task && r.model == model);
                rows.map(|r| (r.sample, score(r, metric))).collect::<std::collections::BTreeMap<_, _>>()
            };
            let (a, b) = (of(models[0]), of(models[1]));
            b.iter().filter_map(|(sample, score)| a.get(sample).map(|other| score - other)).collect()
        })
        .collect();
    let pairs = differences.iter().map(Vec::len).sum();
    (paired_bootstrap(&differences, RESAMPLES, 0), pairs)
}

/// A bar of a difference between -1 and 1, zero in the middle.
fn bar(value: f64) -> String {
    let cells = (value.abs().min(1.0) * 16.0).round() as usize;
    let full = "\u{2588}".repeat(cells);
    if value < 0.0 { format!("{full:>16}\u{2502}{:16}", "") } else { format!("{:16}\u{2502}{full:<16}", "") }
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

//! Tidy CSV files (RFC 4180): one value a line, with everything that it is a value of. A missing
//! value is an empty field with the reason in the last column.

use std::fmt::Write as _;

use super::load::Loaded;
use super::published;
use super::study::Study;

/// One line; fields are quoted where they must be.
pub(super) fn line(text: &mut String, fields: &[String]) {
    let quote = |field: &String| {
        let must = field.contains([',', '"', '\n', '\r']);
        if must { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.clone() }
    };
    let _ = writeln!(text, "{}", fields.iter().map(quote).collect::<Vec<_>>().join(","));
}

/// The first line.
pub(super) fn head(names: &[&str]) -> String {
    names.join(",") + "\n"
}

/// A share with six digits.
pub(super) fn share(value: f64) -> String {
    format!("{value:.6}")
}

/// Accuracies: one line a group, model, method and task; task `mean` is the mean over tasks.
pub(super) fn accuracy(studies: &[Study]) -> String {
    let names = [
        "group",
        "context",
        "model",
        "model_hash",
        "memory",
        "method",
        "budget",
        "task",
        "samples",
        "accuracy",
        "low",
        "high",
        "seeds_std",
        "missing",
    ];
    let mut text = head(&names);
    for (number, study) in studies.iter().enumerate() {
        for (index, arm) in study.arms.iter().enumerate() {
            for (m, model) in study.models.iter().enumerate() {
                let row = &study.rows[index][m];
                for t in 0..=study.tasks.len() {
                    let cell = match row {
                        Ok(row) => row.cells.get(t).unwrap_or(&row.mean).clone(),
                        Err(reason) => Err(reason.clone()),
                    };
                    let mut fields = vec![
                        (number + 1).to_string(),
                        study.setup.context.to_string(),
                        model.label.clone(),
                        model.model.hash.clone(),
                        model.model.memory.to_string(),
                        arm.text.clone(),
                        arm.budget.map_or_else(String::new, share),
                        study.tasks.get(t).cloned().unwrap_or_else(|| "mean".into()),
                    ];
                    fields.extend(match cell {
                        Ok(a) => {
                            let i = a.interval;
                            let spread = a.spread.map_or_else(String::new, share);
                            [
                                a.samples.to_string(),
                                share(i.value),
                                share(i.low),
                                share(i.high),
                                spread,
                                String::new(),
                            ]
                        }
                        Err(reason) => {
                            ["0".into(), String::new(), String::new(), String::new(), String::new(), reason]
                        }
                    });
                    line(&mut text, &fields);
                }
            }
        }
    }
    text
}

/// Gains of every pair.
pub(super) fn gains(studies: &[Study]) -> String {
    let mut text = head(&[
        "group", "first", "second", "method", "budget", "task", "pairs", "gain", "low", "high", "missing",
    ]);
    for (number, study) in studies.iter().enumerate() {
        for (index, arm) in study.arms.iter().enumerate() {
            for pair in 0..study.pairs.len() {
                let gain = study.gain(index, pair);
                let [first, second] = study.names(pair);
                for t in 0..=study.tasks.len() {
                    let mut fields = vec![
                        (number + 1).to_string(),
                        first.to_owned(),
                        second.to_owned(),
                        arm.text.clone(),
                        arm.budget.map_or_else(String::new, share),
                        study.tasks.get(t).cloned().unwrap_or_else(|| "mean".into()),
                    ];
                    fields.extend(match gain.cells.get(t).unwrap_or(&gain.mean) {
                        Ok(d) => {
                            let end =
                                |i: usize| d.ends.as_ref().map_or_else(|_| String::new(), |e| share(e[i]));
                            let missing = d.ends.clone().err().unwrap_or_default();
                            [d.pairs.to_string(), share(d.value), end(0), end(1), missing]
                        }
                        Err(reason) => {
                            ["0".into(), String::new(), String::new(), String::new(), reason.clone()]
                        }
                    });
                    line(&mut text, &fields);
                }
            }
        }
    }
    text
}

/// Costs and sources, one line a model and method.
pub(super) fn cost(loaded: &Loaded, studies: &[Study]) -> String {
    let names = [
        "group",
        "model",
        "model_hash",
        "method",
        "records",
        "read_bytes_per_token",
        "resident_bytes",
        "peak_bytes",
        "prompt_flops",
        "token_flops",
        "prompt_ms",
        "token_ms",
        "examples_per_second",
        "device",
        "scorer",
        "haystack",
        "wordlist",
        "prompt_form",
        "sample_seed",
        "files",
        "missing",
    ];
    let mut text = head(&names);
    for (number, study) in studies.iter().enumerate() {
        for (index, arm) in study.arms.iter().enumerate() {
            for (m, model) in study.models.iter().enumerate() {
                let mut fields = vec![
                    (number + 1).to_string(),
                    model.label.clone(),
                    model.model.hash.clone(),
                    arm.text.clone(),
                ];
                let setup = &study.setup;
                match &study.rows[index][m] {
                    Ok(row) => {
                        let time = |value: &super::OrReason<f64>| {
                            value.as_ref().map_or_else(|_| String::new(), |v| format!("{v:.3}"))
                        };
                        let files: Vec<String> =
                            row.files.iter().map(|f| loaded.files[*f].display().to_string()).collect();
                        fields.push(row.records.to_string());
                        fields.extend(
                            [row.cost.read, row.cost.resident, row.cost.peak].map(|v| format!("{v:.0}")),
                        );
                        let flops = row.cost.flops.as_ref();
                        let flops =
                            |i: usize| flops.map_or_else(|_| String::new(), |f| format!("{:.0}", f[i]));
                        fields.extend([flops(0), flops(1)]);
                        fields.extend([
                            time(&row.cost.prefill),
                            time(&row.cost.decode),
                            time(&row.cost.rate),
                            row.devices.join(" "),
                            row.scorers.join(" "),
                        ]);
                        fields.extend([
                            setup.recipe.haystack.clone(),
                            setup.recipe.wordlist.clone(),
                            setup.recipe.prompt_form.name().into(),
                            setup.seed.to_string(),
                        ]);
                        fields.extend([files.join(" "), row.cost.prefill.clone().err().unwrap_or_default()]);
                    }
                    Err(reason) => {
                        fields.push("0".into());
                        fields.extend(std::iter::repeat_n(String::new(), names.len() - 6));
                        fields.push(reason.clone());
                    }
                }
                line(&mut text, &fields);
            }
        }
    }
    text
}

/// The published rows as the project carries them, percent.
pub(super) fn published() -> String {
    let mut text = head(&[
        "model",
        "backbone",
        "method",
        "block",
        "k",
        "budget",
        "selector",
        "task",
        "accuracy_percent",
        "std_percent",
    ]);
    for row in published::rows() {
        for (task, accuracy) in &row.accuracy {
            let fields = [
                row.model.clone(),
                row.backbone.clone(),
                row.method.clone(),
                row.block_size.map_or_else(String::new, |b| b.to_string()),
                row.k.to_string(),
                row.budget.clone(),
                row.selector.clone(),
                task.clone(),
                accuracy.to_string(),
                row.std.get(task).map_or_else(String::new, f64::to_string),
            ];
            line(&mut text, &fields);
        }
    }
    text
}

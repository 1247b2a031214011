//! The tables of a study: accuracy with the published rows below it, gains beside the published
//! gains, costs, and where every row comes from.

use super::OrReason;
use super::load::{Loaded, short_hash};
use super::numbers::{points, sign, signed, signed_finely};
use super::published::{self, Pair};
use super::sheet::{Cell, Column, Group, Kind, Layout, Row, Sheet, Source, column};
use super::study::{Accuracy, Arm, Cost, Study};
use crate::ruler::TASKS;
use crate::statistics::Interval;
use crate::table::{bytes, short};

/// Every table of a study; `number` counts studies from 0.
pub(super) fn all(loaded: &Loaded, study: &Study, number: usize) -> Vec<Sheet> {
    let mut sheets: Vec<Sheet> = Vec::new();
    for (i, (group, arms)) in study.groups().iter().enumerate() {
        sheets.push(accuracy(study, [number, i], group, arms));
    }
    if !study.pairs.is_empty() {
        sheets.push(gains(study, number));
    }
    sheets.push(cost(study, number));
    sheets.push(sources(loaded, study, number));
    sheets
}

/// Where the row of a model under a method comes from; none without records.
fn source(study: &Study, [number, arm, model]: [usize; 3]) -> Option<Source> {
    let row = study.rows[arm][model].as_ref().ok()?;
    let hover = format!(
        "weights {}, {} records, scorer {}, on {}; the row of sources has the command",
        short_hash(&study.models[model].model.hash),
        row.records,
        row.scorers.join(", "),
        row.devices.join(", ")
    );
    Some(Source { id: source_id(number, arm, model), hover })
}

fn source_id(number: usize, arm: usize, model: usize) -> String {
    format!("s{number}-{arm}-{model}")
}

fn title(arm: &Arm) -> String {
    let budget = arm.budget_name();
    let seeds = match arm.seeds.len() {
        0 | 1 => String::new(),
        n => format!(", mean of {n} seeds, \u{b1} population standard deviation"),
    };
    if arm.method.is_dense() { "dense".into() } else { format!("{}, budget {budget}{seeds}", arm.label) }
}

/// Task columns between a label and `more`.
fn task_columns(study: &Study, first: &str, more: &[(&str, &str)]) -> Vec<Column> {
    let mut columns = vec![column(first, "")];
    columns.extend(study.tasks.iter().map(|task| match short(task) {
        same if same == task => column(task, ""),
        name => column(name, task),
    }));
    columns.extend(more.iter().map(|(name, long)| column(name, long)));
    columns
}

fn percent(accuracy: &Accuracy, full: usize) -> Cell {
    let Interval { value, low, high } = accuracy.interval;
    let spread = accuracy.spread.map_or_else(String::new, |s| format!(" \u{b1} {:.1}", 100.0 * s));
    Cell {
        text: format!("{:.1}{spread}", 100.0 * value),
        detail: format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high),
        note: if accuracy.samples < full {
            format!("only {} of {full} samples", accuracy.samples)
        } else {
            String::new()
        },
    }
}

fn published_row(label: String, values: Vec<OrReason<f64>>, show: fn(f64) -> String, kind: Kind) -> Row {
    let cells = values.iter().map(|v| Cell::of(v, |v| Cell::text(show(*v)))).collect();
    Row { label, kind, cells, id: None, source: None }
}

/// The accuracies of one group of methods.
fn accuracy(study: &Study, [number, place]: [usize; 2], name: &str, arms: &[usize]) -> Sheet {
    let group = |index: &usize| {
        let (index, arm) = (*index, &study.arms[*index]);
        let mut rows = Vec::new();
        for (m, model) in study.models.iter().enumerate() {
            let row = &study.rows[index][m];
            // Samples of the row's fullest cell: a row of fewer samples is noted once, not in every cell.
            let most =
                row.as_ref().map_or(0, |r| r.cells.iter().flatten().map(|c| c.samples).max().unwrap_or(0));
            let mut cells: Vec<Cell> = (0..study.tasks.len())
                .map(|t| Cell::of(row, |row| Cell::of(&row.cells[t], |a| percent(a, most))))
                .collect();
            cells.push(Cell::of(row, |row| Cell::of(&row.mean, |a| percent(a, most * study.tasks.len()))));
            cells.push(Cell::of(row, |row| Cell {
                text: row.records.to_string(),
                detail: String::new(),
                note: if most < study.samples {
                    format!("{most} samples a task; other rows have {}", study.samples)
                } else {
                    String::new()
                },
            }));
            let source = source(study, [number, index, m]);
            rows.push(Row { label: model.label.clone(), kind: Kind::Measured, cells, id: None, source });
        }
        for pair in 0..study.pairs.len() {
            let gain = study.gain(index, pair);
            let mut cells: Vec<Cell> = gain.cells.iter().map(|g| Cell::of(g, points)).collect();
            cells.push(Cell::of(&gain.mean, points));
            cells.push(Cell::of(&gain.mean, |g| Cell {
                text: g.pairs.to_string(),
                detail: "pairs".into(),
                note: String::new(),
            }));
            let label = if study.pairs.len() > 1 {
                format!("gain of {}", study.names(pair)[1])
            } else {
                "gain".to_owned()
            };
            rows.push(Row { label, kind: Kind::Gain, cells, id: None, source: None });
        }
        for pair in published::find(&arm.method).unwrap_or_default() {
            let Pair { attention, memory } = pair;
            for row in [attention, memory] {
                let mut values: Vec<OrReason<f64>> = study.tasks.iter().map(|t| row.of(t)).collect();
                values.push(row.mean(&study.tasks));
                let label = format!("{} {}, published", row.model, row.backbone);
                let mut row = published_row(label, values, |v| format!("{v:.1}"), Kind::Published);
                row.cells.push(Cell::text(""));
                rows.push(row);
            }
            let mut values: Vec<OrReason<f64>> = study.tasks.iter().map(|t| pair.gain(t)).collect();
            values.push(pair.mean_gain(&study.tasks));
            let label = format!("{} gain, published", memory.model);
            let mut row = published_row(label, values, signed, Kind::Published);
            row.cells.push(Cell::text(""));
            rows.push(row);
        }
        Group { title: title(arm), rows }
    };
    let published = arms.iter().any(|a| published::find(&study.arms[*a].method).is_ok());
    let beside = match name {
        "Random selectors" if published => " beside Table 5 of the paper",
        _ if published => " beside Tables 3 and 4 of the paper",
        _ => "",
    };
    let mut caption =
        format!("{name}{beside}: accuracy in percent. Below a value: its 95 % interval (Wilson)");
    if !study.pairs.is_empty() {
        caption.push_str(&format!(
            ". Gains are over {}, in points on the same samples, with intervals by paired bootstrap",
            study.partners()
        ));
    }
    if published {
        caption.push_str(". Published gains are memory over attention");
    }
    Sheet {
        id: format!("accuracy-{number}-{place}"),
        caption,
        layout: Layout::Numbers,
        columns: task_columns(study, "model", &[("mean", "mean of the tasks"), ("n", "records")]),
        groups: arms.iter().map(group).collect(),
    }
}

fn gains(study: &Study, number: usize) -> Sheet {
    let models = published::models();
    let mut columns = vec![
        column("method", ""),
        column("budget", ""),
        column("measured gain", "mean of the tasks, points"),
    ];
    for model in &models {
        columns.push(column(model, "published gain, mean of the same tasks, points"));
        columns.push(column("measured minus published", ""));
        columns.push(column("same sign", "of the mean gain; below: of the tasks whose published gain is not 0, how many have the same sign"));
    }
    let row = |pair: usize, index: usize| {
        let (arm, gain) = (&study.arms[index], study.gain(index, pair));
        let mut cells = vec![Cell::text(arm.budget_name()), Cell::of(&gain.mean, points)];
        let found = published::find(&arm.method);
        for model in &models {
            let pair = found.clone().and_then(|pairs| {
                let pair = pairs.into_iter().find(|p| p.memory.model == *model);
                pair.ok_or_else(|| format!("the paper has no such row for {model}"))
            });
            let theirs = pair.clone().and_then(|p| p.mean_gain(&study.tasks));
            let ours = gain.mean.clone().map(|g| 100.0 * g.value);
            let both = theirs.clone().and_then(|t| ours.map(|o| (o, t)));
            cells.push(Cell::of(&theirs, |g| Cell::text(signed_finely(*g))));
            cells.push(Cell::of(&both, |(o, t)| Cell::text(signed(o - t))));
            let of_tasks = || {
                let same = |(t, task): (usize, &String)| {
                    let ours = gain.cells[t].as_ref().ok()?.value;
                    let theirs = pair.as_ref().ok()?.gain(task).ok()?;
                    (sign(theirs) != 0).then_some(sign(ours) == sign(theirs))
                };
                let signs: Vec<bool> = study.tasks.iter().enumerate().filter_map(same).collect();
                format!("{} of {} tasks", signs.iter().filter(|s| **s).count(), signs.len())
            };
            cells.push(Cell::of(&both, |(o, t)| Cell {
                text: if sign(*o) == sign(*t) { "yes" } else { "no" }.into(),
                detail: of_tasks(),
                note: String::new(),
            }));
        }
        Row { label: arm.label.clone(), kind: Kind::Measured, cells, id: None, source: None }
    };
    let groups = (0..study.pairs.len())
        .map(|pair| Group {
            title: study.gain_name(pair),
            rows: study.groups().iter().flat_map(|(_, arms)| arms).map(|index| row(pair, *index)).collect(),
        })
        .collect();
    let caption = "Gains in points beside the published gains of memory over attention at the same method, block and k. Below a sign: of the tasks whose published gain is not 0, how many have the same sign".into();
    Sheet { id: format!("gains-{number}"), caption, layout: Layout::Numbers, columns, groups }
}

/// The part of a row's operations, where its records have them.
fn flops(part: usize) -> impl Fn(&Cost) -> Option<f64> {
    move |cost| cost.flops.as_ref().ok().map(|f| f[part])
}

/// Operations with a unit, and their share of dense attention's.
fn operations(value: f64, base: Option<f64>) -> Cell {
    let (mut shown, mut unit) = (value / 1e6, "M");
    for next in ["G", "T"] {
        if shown >= 1000.0 {
            (shown, unit) = (shown / 1e3, next);
        }
    }
    let detail = base.filter(|b| *b > 0.0).map_or_else(String::new, |b| format!("{:.3} of dense", value / b));
    Cell { text: format!("{shown:.1} {unit}"), detail, note: String::new() }
}

fn cost(study: &Study, number: usize) -> Sheet {
    let dense = study.arms.iter().position(|a| a.method.is_dense());
    let group = |(index, arm): (usize, &Arm)| {
        let row = |(m, model): (usize, &super::study::NamedModel)| {
            let row = &study.rows[index][m];
            let base = dense.and_then(|d| study.rows[d][m].as_ref().ok()).map(|r| &r.cost);
            let relative = |value: f64, base: Option<f64>| Cell {
                text: bytes(value),
                detail: base
                    .filter(|b| *b > 0.0)
                    .map_or_else(String::new, |b| format!("{:.3} of dense", value / b)),
                note: String::new(),
            };
            let cells = vec![
                Cell::of(row, |r| relative(r.cost.read, base.map(|b| b.read))),
                Cell::of(row, |r| relative(r.cost.resident, base.map(|b| b.resident))),
                Cell::of(row, |r| Cell::text(bytes(r.cost.peak))),
                Cell::of(row, |r| Cell::of(&r.cost.flops, |f| operations(f[0], base.and_then(flops(0))))),
                Cell::of(row, |r| Cell::of(&r.cost.flops, |f| operations(f[1], base.and_then(flops(1))))),
                Cell::of(row, |r| Cell::of(&r.cost.prefill, |v| Cell::text(format!("{v:.1}")))),
                Cell::of(row, |r| Cell::of(&r.cost.decode, |v| Cell::text(format!("{v:.2}")))),
                Cell::of(row, |r| Cell::of(&r.cost.rate, |v| Cell::text(format!("{v:.1}")))),
                Cell::of(row, |r| Cell::text(range(&r.batches))),
                Cell::of(row, |r| Cell::text(r.devices.join(", "))),
            ];
            let source = source(study, [number, index, m]);
            Row { label: model.label.clone(), kind: Kind::Measured, cells, id: None, source }
        };
        Group { title: title(arm), rows: study.models.iter().enumerate().map(row).collect() }
    };
    Sheet {
        id: format!("cost-{number}"),
        caption: "Cost of an example. Bytes and FLOPs are means over the records of a row, times are medians"
            .into(),
        layout: Layout::Numbers,
        columns: vec![
            column("model", ""),
            column(
                "K/V read per token",
                "keys, values and block summaries read in the first decode step, all layers",
            ),
            column("K/V resident", "after the prompt, whole pages"),
            column("K/V peak", "while the prompt is read"),
            column(
                "prompt FLOPs",
                "of the whole prompt: matrix products, attention, selection, the memory's scan",
            ),
            column("token FLOPs", "of the first decode step, the same parts"),
            column("prompt, ms", "shared by methods that read the prompt alike"),
            column("token, ms", "an example's share of its batch's decoding, for each generated token"),
            column(
                "examples/s",
                "one over the median times of prompt and answer together, one example after another's prompt",
            ),
            column("batch", "examples decoded together"),
            column("device", ""),
        ],
        groups: study
            .groups()
            .iter()
            .flat_map(|(_, arms)| arms)
            .map(|i| group((*i, &study.arms[*i])))
            .collect(),
    }
}

/// `4`, or `1 to 32`.
fn range(sorted: &[usize]) -> String {
    match sorted {
        [] => String::new(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first} to {last}"),
    }
}

fn sources(loaded: &Loaded, study: &Study, number: usize) -> Sheet {
    let setup = &study.setup;
    let mut groups = Vec::new();
    for (index, arm) in study.arms.iter().enumerate() {
        let mut rows = Vec::new();
        for (m, model) in study.models.iter().enumerate() {
            let Ok(row) = &study.rows[index][m] else { continue };
            let measured = study.tasks.iter().zip(&row.cells).filter(|(_, c)| c.is_ok());
            let tasks: Vec<&str> = measured.map(|(t, _)| t.as_str()).collect();
            let needles = TASKS.iter().filter(|t| t.needle.is_some());
            let tasks = if needles.map(|t| t.name).eq(tasks.iter().copied()) {
                "niah".to_owned()
            } else {
                tasks.join(",")
            };
            let samples = row.cells.iter().flatten().map(|c| c.samples).max().unwrap_or(0);
            let seeds = if arm.seeds.is_empty() {
                String::new()
            } else {
                format!("; selector seeds {}", arm.seeds.join(", "))
            };
            let made = match &setup.recipe.data {
                Some(_) => format!("--data FOLDER_OF_{}", setup.recipe.haystack),
                None => format!("--seed {} --wordlist {}", setup.seed, setup.recipe.wordlist),
            };
            let mut command = format!(
                "wane eval --model {} --method '{}' --tasks {} --context {} --samples {samples} {made} --prompt-form {} --out DIR",
                model.model.name,
                arm.label,
                tasks,
                setup.context,
                setup.recipe.prompt_form.name(),
            );
            if let Some(template) = setup.recipe.template.as_ref().filter(|name| !name.starts_with("own@")) {
                command.push_str(&format!(" --template {template}"));
            }
            if let [limit] = row.limits.as_slice() {
                command.push_str(&format!(" --max-new-tokens {limit}"));
            }
            if setup.recipe.data.is_none() && !setup.recipe.haystack.starts_with("sotu-") {
                command.push_str(&format!(" --haystack FILE_OF_{}", setup.recipe.haystack));
            }
            let files: Vec<String> =
                row.files.iter().map(|f| loaded.files[*f].display().to_string()).collect();
            let cells = vec![
                Cell {
                    text: short_hash(&model.model.hash),
                    detail: if model.model.memory { "memory" } else { "no memory" }.into(),
                    note: String::new(),
                },
                Cell::text(format!("{}{seeds}", arm.text)),
                Cell::text(format!("{} records, {samples} samples a task", row.records)),
                Cell {
                    text: row.scorers.join(", "),
                    detail: format!("at most {} new tokens", range(&row.limits)),
                    note: String::new(),
                },
                Cell::text(row.devices.join(", ")),
                Cell::text(files.join(", ")),
                Cell::text(command),
            ];
            rows.push(Row {
                label: model.label.clone(),
                kind: Kind::Measured,
                cells,
                id: Some(source_id(number, index, m)),
                source: None,
            });
        }
        groups.push(Group { title: title(arm), rows });
    }
    let heads = [
        "model",
        "weights (SHA-256)",
        "method",
        "records",
        "scorer",
        "device",
        "files",
        "command for the same samples",
    ];
    Sheet {
        id: format!("sources-{number}"),
        caption: format!("Where the numbers come from. All rows: {}", setup.summary()),
        layout: Layout::Words,
        columns: heads.iter().map(|h| column(h, "")).collect(),
        groups,
    }
}

//! The published rows: Tables 3, 4 and 5 of arXiv 2605.28640v1 (accuracies in percent of 500
//! examples a task, 4096 tokens of context), found by method, block, k and selector.
//!
//! Does not do: judging whether a model is comparable; the page says what each row is.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::OrReason;
use super::method::Method;

/// One published row.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) backbone: String,
    pub(super) method: String,
    pub(super) block_size: Option<usize>,
    pub(super) k: usize,
    pub(super) budget: String,
    pub(super) selector: String,
    /// Percent by task.
    pub(super) accuracy: BTreeMap<String, f64>,
    /// Population standard deviation over seeds, by task.
    #[serde(default)]
    pub(super) std: BTreeMap<String, f64>,
}

impl Row {
    /// Percent under one task.
    pub(super) fn of(&self, task: &str) -> OrReason<f64> {
        self.accuracy.get(task).copied().ok_or_else(|| format!("not published for {task}"))
    }

    /// The mean over tasks, in percent.
    pub(super) fn mean(&self, tasks: &[String]) -> OrReason<f64> {
        let values = tasks.iter().map(|t| self.of(t)).collect::<OrReason<Vec<f64>>>()?;
        if values.is_empty() {
            return Err("no tasks".into());
        }
        Ok(values.iter().sum::<f64>() / values.len() as f64)
    }
}

#[derive(Debug, Deserialize)]
struct Tables {
    source: String,
    unit: String,
    rows: Vec<Row>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/paper_tables.json"))
        .expect("the project's own copy is well-formed")
});

/// All published rows.
pub(super) fn rows() -> &'static [Row] {
    &TABLES.rows
}

/// Where they come from.
pub(super) fn source() -> String {
    format!("{}; {}", TABLES.source, TABLES.unit)
}

/// The same setting published for one model: without and with memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) attention: &'static Row,
    pub(super) memory: &'static Row,
}

impl Pair {
    /// Memory minus attention under one task, in points.
    pub(super) fn gain(&self, task: &str) -> OrReason<f64> {
        Ok(self.memory.of(task)? - self.attention.of(task)?)
    }

    /// The same for the mean over tasks.
    pub(super) fn mean_gain(&self, tasks: &[String]) -> OrReason<f64> {
        Ok(self.memory.mean(tasks)? - self.attention.mean(tasks)?)
    }
}

/// The published models, in the order of the tables.
pub(super) fn models() -> Vec<&'static str> {
    let mut models: Vec<&str> = Vec::new();
    for row in rows() {
        if !models.contains(&row.model.as_str()) {
            models.push(&row.model);
        }
    }
    models
}

/// The published rows of a method, one pair a model that has them.
pub(super) fn find(method: &Method) -> OrReason<Vec<Pair>> {
    let wanted = method.paper_row()?;
    let of = |model: &str, backbone: &str| {
        rows().iter().find(|r| {
            r.model == model
                && r.backbone == backbone
                && r.method == wanted.method
                && (r.block_size == wanted.block || r.block_size.is_none())
                && Some(r.k) == wanted.k
                && r.selector == wanted.selector
        })
    };
    let pairs: Vec<Pair> = models()
        .into_iter()
        .filter_map(|model| Some(Pair { attention: of(model, "attention")?, memory: of(model, "memory")? }))
        .collect();
    if pairs.is_empty() {
        return Err("the paper has no row with this block and k".into());
    }
    Ok(pairs)
}

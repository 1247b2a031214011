//! Records of training runs (`wane train` writes them as `record.json`): what the report needs of one, and the
//! table of when each task was learned.
//!
//! A task's transition is the first validation at which half of its samples are solved (every answer token
//! has p > 1/2).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::OrReason;
use super::sheet::{Cell, Group, Kind, Layout, Row, Sheet, column};
use crate::ruler::TASKS;
use crate::table::short;
use crate::{Error, Result};

/// A run.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Run {
    version: String,
    status: String,
    device: String,
    parameters: u64,
    total_flops: f64,
    seconds: f64,
    tokens_per_second: f64,
    utilization: Option<f64>,
    steps: u64,
    pub(super) curve: Vec<LossPoint>,
    pub(super) validations: Vec<Validation>,
    config: Config,
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
struct Config {
    name: String,
    seed: u64,
    model: ModelPart,
    training: TrainingPart,
}

#[derive(Debug, Clone, Deserialize)]
struct ModelPart {
    backbone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct TrainingPart {
    sequence: u64,
    batch: u64,
}

/// A logged step.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LossPoint {
    pub(super) step: u64,
    pub(super) answer_loss: Option<f64>,
    pub(super) text_loss: Option<f64>,
}

/// A validation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Validation {
    pub(super) step: u64,
    #[serde(default)]
    pub(super) tasks: Vec<TaskPart>,
    #[serde(default)]
    pub(super) memory: Option<MemoryPart>,
}

/// One task of a validation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TaskPart {
    pub(super) task: String,
    /// Share of samples.
    pub(super) solved: f64,
    pub(super) samples: usize,
}

/// The gates at a validation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MemoryPart {
    pub(super) layers: Vec<LayerPart>,
}

/// One layer's gates.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LayerPart {
    pub(super) mean_gate: f64,
    /// Below which 10, 50 and 90 of 100 channels lie, in tokens.
    pub(super) half_lives: [f64; 3],
    /// Share of channels with a mean gate below 0.1.
    pub(super) copying: f64,
}

impl Run {
    /// Reads a record.
    ///
    /// # Errors
    /// It is no record of a run.
    pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Self> {
        let run: Self = serde_json::from_slice(bytes).map_err(|e| Error::Line {
            path: path.to_owned(),
            line: e.line(),
            message: format!("expected the record of a training run: {e}"),
        })?;
        Ok(Self { path: path.to_owned(), ..run })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether its model has a memory.
    pub(super) fn has_memory(&self) -> bool {
        self.config.model.backbone.as_deref() == Some("memory")
            || self.validations.iter().any(|v| v.memory.is_some())
    }

    /// Millions of tokens after so many steps.
    pub(super) fn tokens(&self, step: u64) -> f64 {
        (step * self.config.training.sequence * self.config.training.batch) as f64 / 1e6
    }

    /// Millions of tokens of the whole run.
    pub(super) fn all_tokens(&self) -> f64 {
        self.tokens(self.steps)
    }

    /// Millions of tokens at the first validation that solves `share` of a task.
    fn reached(&self, task: &str, share: f64) -> OrReason<f64> {
        let part = |v: &Validation| v.tasks.iter().find(|t| t.task == task).map(|t| (v.step, t.solved));
        let all: Vec<(u64, f64)> = self.validations.iter().filter_map(part).collect();
        if all.is_empty() {
            return Err("no validation of this task".into());
        }
        let first = all.iter().find(|(_, solved)| *solved >= share);
        first.map(|(step, _)| self.tokens(*step)).ok_or_else(|| "not reached".to_owned())
    }

    fn last(&self, task: &str) -> OrReason<(f64, usize)> {
        let of = |v: &Validation| v.tasks.iter().find(|t| t.task == task).map(|t| (t.solved, t.samples));
        self.validations.iter().rev().find_map(of).ok_or_else(|| "no validation of this task".to_owned())
    }
}

/// Tasks that some run was validated on, in the order of the tasks.
pub(super) fn tasks(runs: &[Run]) -> Vec<String> {
    let mut tasks: Vec<String> = Vec::new();
    for task in runs.iter().flat_map(|r| &r.validations).flat_map(|v| &v.tasks) {
        if !tasks.contains(&task.task) {
            tasks.push(task.task.clone());
        }
    }
    tasks.sort_by_key(|t| TASKS.iter().position(|task| task.name == t).unwrap_or(TASKS.len()));
    tasks
}

/// When each task was learned, the gates at the end, and where the runs come from.
pub(super) fn sheets(runs: &[Run]) -> Vec<Sheet> {
    let mut sheets = vec![transitions(runs)];
    sheets.extend(gates(runs));
    sheets.push(sources(runs));
    sheets
}

fn transitions(runs: &[Run]) -> Sheet {
    let tasks = tasks(runs);
    let row = |run: &Run, label: &str, cell: &dyn Fn(&str) -> Cell| Row {
        label: format!("{}, {label}", run.name()),
        kind: Kind::Measured,
        cells: tasks.iter().map(|t| cell(t)).collect(),
        id: None,
        source: None,
    };
    let rows = |run: &Run| {
        let at = |share: f64| {
            move |task: &str| Cell::of(&run.reached(task, share), |tokens| Cell::text(format!("{tokens:.0}")))
        };
        let last = |task: &str| {
            Cell::of(&run.last(task), |(solved, n)| Cell {
                text: format!("{:.1} %", 100.0 * solved),
                detail: format!("of {n}"),
                note: String::new(),
            })
        };
        [row(run, "half solved", &at(0.5)), row(run, "90 % solved", &at(0.9)), row(run, "at the end", &last)]
    };
    let mut columns = vec![column("run", "")];
    columns.extend(tasks.iter().map(|t| column(short(t), t)));
    Sheet {
        id: "transitions-0".into(),
        caption: "When each task was learned: millions of tokens at the first validation that solves half (nine tenths) of a task's samples, and the share at the last. Solved: every answer token has p > 1/2 (teacher forcing)".into(),
        layout: Layout::Numbers,
        columns,
        groups: runs.iter().map(|r| Group { title: String::new(), rows: rows(r).into() }).collect(),
    }
}

fn gates(runs: &[Run]) -> Option<Sheet> {
    let group = |run: &Run| {
        let last = run.validations.iter().rev().find_map(|v| v.memory.as_ref())?;
        let row = |(layer, part): (usize, &LayerPart)| {
            let [low, middle, high] = part.half_lives;
            let mut cells = vec![Cell::text(format!("{:.3}", part.mean_gate))];
            cells.extend([low, middle, high].map(|v| Cell::text(format!("{v:.2}"))));
            cells.push(Cell::text(format!("{:.1} %", 100.0 * part.copying)));
            Row { label: format!("layer {layer}"), kind: Kind::Measured, cells, id: None, source: None }
        };
        let title = format!("{}, at the end", run.name());
        Some(Group { title, rows: last.layers.iter().enumerate().map(row).collect() })
    };
    let groups: Vec<Group> = runs.iter().filter_map(group).collect();
    let columns = [
        ("layer", ""),
        ("mean gate", "over tokens and channels"),
        ("10 %", "half-life below which a tenth of the channels lie, tokens"),
        ("50 %", "half-life below which half of the channels lie, tokens"),
        ("90 %", "half-life below which nine tenths of the channels lie, tokens"),
        ("copying", "channels with a mean gate below 0.1"),
    ];
    (!groups.is_empty()).then(|| Sheet {
        id: "gates-0".into(),
        caption: "Gates by layer: half-lives ln(1/2) / ln(mean gate) in tokens, over channels".into(),
        layout: Layout::Numbers,
        columns: columns.map(|(name, long)| column(name, long)).into(),
        groups,
    })
}

fn sources(runs: &[Run]) -> Sheet {
    let row = |run: &Run| Row {
        label: run.name().to_owned(),
        kind: Kind::Measured,
        cells: vec![
            Cell::text(run.status.clone()),
            Cell::text(format!("{:.2} M", run.parameters as f64 / 1e6)),
            Cell::text(format!("{:.0} M", run.all_tokens())),
            Cell::text(format!("{:.0} s", run.seconds)),
            Cell {
                text: format!("{:.2} M", run.tokens_per_second / 1e6),
                detail: run.utilization.map_or_else(String::new, |u| format!("{:.1} % of peak", 100.0 * u)),
                note: String::new(),
            },
            Cell::text(format!("{:.2e}", run.total_flops)),
            Cell {
                text: format!("wane train {}.toml", run.name()),
                detail: format!(
                    "seed {}, wane {}, {}, {}",
                    run.config.seed,
                    run.version,
                    run.device,
                    run.path.display()
                ),
                note: String::new(),
            },
        ],
        id: None,
        source: None,
    };
    let columns =
        ["run", "status", "parameters", "tokens", "time", "tokens/s", "FLOPs", "command and record"];
    Sheet {
        id: "runs-0".into(),
        caption: "The training runs".into(),
        layout: Layout::Words,
        columns: columns.map(|name| column(name, "")).into(),
        groups: vec![Group { title: String::new(), rows: runs.iter().map(row).collect() }],
    }
}

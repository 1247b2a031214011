//! Validation: held-out text and generated samples of each task, under teacher forcing.
//!
//! A sample counts as solved if every answer token has a probability above one half (its loss is below
//! `ln 2`): then greedy decoding certainly emits it. That is a lower bound on the exact match of greedy
//! decoding, at the price of one forward pass; the benchmark itself is `wane eval`.

use std::sync::Arc;

use serde::Serialize;
use wane_kernels::Tensor;
use wane_kernels::ops::attention::Pattern;
use wane_model::decoder::{Batch, Decoder, Isolation};

use crate::Result;
use crate::config::{DataTable, RunConfig};
use crate::data::batch::{Row, TargetKind};
use crate::data::mixture::spaced_rows;
use crate::data::tokenizer::TokenizerHash;
use crate::data::{HostBatch, Mixture, Shard};
use crate::losses::LossSums;

/// Rows that never change during a run.
#[derive(Debug)]
pub struct ValidationSet {
    sequence: usize,
    batch: usize,
    apart: Apart,
    text: Vec<Row>,
    tasks: Vec<(String, Vec<Row>)>,
}

/// Result of one validation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// Completed steps.
    pub step: u64,
    /// Mean loss of held-out text, if there is any.
    pub text_loss: Option<f64>,
    /// Each task.
    pub tasks: Vec<TaskValidation>,
}

/// One task of a validation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskValidation {
    /// Name.
    pub task: String,
    /// Mean loss of the answer tokens.
    pub answer_loss: f64,
    /// Share of samples whose every answer token has a probability above one half.
    pub solved: f64,
    /// Number of samples.
    pub samples: usize,
}

impl ValidationSet {
    /// Prepares the rows.
    ///
    /// # Errors
    /// Missing or foreign shards; a task that does not fit into a row.
    pub fn new(config: &RunConfig, mixture: &Mixture, tokenizer: &TokenizerHash) -> Result<Self> {
        let table = &config.validation;
        let sequence = config.training.sequence;
        let mut text = Vec::new();
        if let Some(path) = &table.shards {
            text = spaced_rows(&Shard::open_all(path, tokenizer)?, sequence, table.text_rows, mixture.end());
        }
        let mut tasks = Vec::new();
        if table.samples_per_task > 0 {
            for (i, name) in mixture.tasks().into_iter().enumerate() {
                tasks.push((name, mixture.validation_rows(i, table.samples_per_task, table.seed)?));
            }
        }
        let batch = table.batch.unwrap_or(config.training.batch / config.training.accumulation).max(1);
        Ok(Self { sequence, batch, apart: Apart::of(&config.data), text, tasks })
    }

    /// Whether there is nothing to validate on.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tasks.is_empty()
    }

    /// Validates under `pattern`.
    ///
    /// # Errors
    /// The device failed.
    pub fn run(&self, decoder: &Decoder, pattern: Pattern, step: u64) -> Result<Validation> {
        let mut sums = LossSums::default();
        self.each(decoder, pattern, &self.text, |batch, losses| sums.add(batch, losses))?;
        let mut tasks = Vec::new();
        for (task, rows) in &self.tasks {
            let mut sums = LossSums::default();
            let mut solved = 0;
            self.each(decoder, pattern, rows, |batch, losses| {
                sums.add(batch, losses);
                let rows = losses.chunks(self.sequence).zip(batch.kinds.chunks(self.sequence));
                solved += rows.filter(|(losses, kinds)| is_solved(losses, kinds)).count();
            })?;
            tasks.push(TaskValidation {
                task: task.clone(),
                answer_loss: sums.answer().unwrap_or(f64::NAN),
                solved: solved as f64 / rows.len() as f64,
                samples: rows.len(),
            });
        }
        Ok(Validation { step, text_loss: sums.text(), tasks })
    }

    fn each(
        &self,
        decoder: &Decoder,
        pattern: Pattern,
        rows: &[Row],
        mut add: impl FnMut(&HostBatch, &[f32]),
    ) -> Result<()> {
        for rows in rows.chunks(self.batch) {
            let batch = HostBatch::from_rows(rows, self.sequence);
            let losses = decoder.losses(&upload(&batch, decoder, self.apart)?, pattern)?;
            add(&batch, &losses.to_f32_vec()?);
        }
        Ok(())
    }
}

/// What the documents of a row do not share: the configuration's two options.
#[derive(Debug, Clone, Copy)]
pub struct Apart {
    mask: bool,
    reset: bool,
}

impl Apart {
    /// As configured.
    pub fn of(table: &DataTable) -> Self {
        Self { mask: table.document_mask, reset: table.memory_reset }
    }
}

/// A batch on the decoder's device.
///
/// # Errors
/// The device is out of memory.
pub fn upload(batch: &HostBatch, decoder: &Decoder, apart: Apart) -> Result<Batch> {
    let (n, device) = ([batch.ids.len()], decoder.device());
    let documents = (apart.mask || apart.reset).then(|| Arc::new(batch.documents()));
    Ok(Batch {
        ids: Tensor::from_i32(&batch.ids, &n, device)?,
        targets: Tensor::from_i32(&batch.targets, &n, device)?,
        weights: Tensor::from_f32(&batch.weights, &n, device)?,
        batch: batch.rows,
        tokens: batch.tokens,
        isolation: Isolation {
            attention: documents.clone().filter(|_| apart.mask),
            memory: documents.filter(|_| apart.reset),
        },
    })
}

fn is_solved(losses: &[f32], kinds: &[TargetKind]) -> bool {
    losses.iter().zip(kinds).all(|(loss, kind)| *kind != TargetKind::Answer || *loss < std::f32::consts::LN_2)
}

impl std::fmt::Display for Validation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "validation at {}:", self.step)?;
        if let Some(loss) = self.text_loss {
            write!(f, " text {loss:.4}")?;
        }
        self.tasks
            .iter()
            .try_for_each(|t| write!(f, " {} {:.0}% ({:.3})", t.task, 100.0 * t.solved, t.answer_loss))
    }
}

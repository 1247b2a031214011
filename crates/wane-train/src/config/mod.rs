//! A training run's configuration, one TOML file.
//!
//! ```toml
//! name = "pair-memory"
//! output = "runs/out/pair-memory"   # relative to the working directory
//! seed = 1
//! device = "cuda"
//!
//! [model]                           # sizes for a new model, or init = "a checkpoint"
//! [data]                            # text shards, generated samples, weights
//! [[stages]]                        # the curriculum: lengths and shares by progress
//! [training]                        # sequence, batch, steps or tokens
//! [optimizer]  [schedule]           # AdamW, learning rate
//! [joint]                           # second passes under a restricted mask
//! [adaptation]                      # every pass under one dilated mask
//! [guard] [validation] [samples] [checkpoint] [log]
//! ```
//!
//! Unknown keys are errors that name the file, the line and the nearest known key. Paths are used as
//! written. Nothing is read from the environment.

pub mod check;
pub mod data;
pub mod differences;
pub mod model;
pub mod observation;
pub mod overrides;
pub mod parse;
pub mod training;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use data::{DataTable, GeneratedTable, Stage, TextTable};
pub use model::{Backbone, GateBias, ModelTable, ResidualInit};
pub use observation::{CheckpointTable, GuardTable, LogTable, OnTrouble, SamplesTable, ValidationTable};
pub use training::{Adaptation, Joint, Optimizer, PassKind, Schedule, Shape, TrainingTable};

/// Everything that defines a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name in records and event files.
    pub name: String,
    /// Folder for checkpoints, event files and the record.
    pub output: PathBuf,
    /// Seed of initialization and data order.
    #[serde(default = "one")]
    pub seed: u64,
    /// `cpu`, `cuda` or `cuda:N`.
    #[serde(default = "cpu")]
    pub device: String,
    /// The model.
    pub model: ModelTable,
    /// Where tokens come from.
    pub data: DataTable,
    /// The curriculum, in order; empty means every generated row is one full-length sample.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// Sizes of a step and the length of the run.
    pub training: TrainingTable,
    /// AdamW.
    pub optimizer: Optimizer,
    /// Learning rate over time.
    #[serde(default)]
    pub schedule: Schedule,
    /// A second pass and a second optimizer step on some batches.
    pub joint: Option<Joint>,
    /// Every pass under a dilated mask.
    pub adaptation: Option<Adaptation>,
    /// What happens when the loss or the gradients go wrong.
    #[serde(default)]
    pub guard: GuardTable,
    /// Validation during training.
    #[serde(default)]
    pub validation: ValidationTable,
    /// Generated text during training.
    #[serde(default)]
    pub samples: SamplesTable,
    /// Saving.
    #[serde(default)]
    pub checkpoint: CheckpointTable,
    /// Progress output.
    #[serde(default)]
    pub log: LogTable,
}

fn one() -> u64 {
    1
}

fn cpu() -> String {
    "cpu".to_owned()
}

impl RunConfig {
    /// Number of steps: as stated, or the tokens divided by those of one step, rounded up.
    pub fn steps(&self) -> u64 {
        let per_step = self.tokens_per_step().max(1);
        self.training.steps.unwrap_or_else(|| self.training.tokens.unwrap_or(0).div_ceil(per_step))
    }

    /// Tokens of one step: batch times sequence.
    pub fn tokens_per_step(&self) -> u64 {
        (self.training.batch * self.training.sequence) as u64
    }

    /// Whether step `step` (from 0) has a second pass.
    pub fn is_joint_step(&self, step: u64) -> bool {
        let progress = step as f64 / self.steps().max(1) as f64;
        self.joint.as_ref().is_some_and(|joint| {
            step.is_multiple_of(joint.every) && progress >= joint.from && progress < joint.until
        })
    }
}

#[cfg(test)]
mod shipped;
#[cfg(test)]
pub(crate) mod tests;

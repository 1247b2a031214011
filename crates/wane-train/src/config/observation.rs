//! `[guard]`, `[validation]`, `[samples]`, `[checkpoint]`, `[log]`: what is watched, shown and kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Reaction to a step that went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTrouble {
    /// Leave the weights as they are, say so, go on.
    Skip,
    /// Say so, go on.
    Warn,
    /// End the run with an error; the last checkpoint stays.
    Stop,
}

/// What happens when gradients are not finite or the loss jumps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardTable {
    /// Gradients that are not finite never reach the weights; `skip` goes on, `stop` ends the run.
    pub non_finite: OnTrouble,
    /// With `skip`: the run still ends after so many bad steps without a good one.
    pub max_skipped: u64,
    /// A loss (of text or of answers) above this multiple of the recent median, and half a nat above it, is a spike;
    /// 0 switches the check off.
    pub spike_factor: f64,
    /// `warn` or `stop`. Spikes are seen at log steps, after the update.
    pub spike: OnTrouble,
}

impl Default for GuardTable {
    fn default() -> Self {
        Self { non_finite: OnTrouble::Skip, max_skipped: 20, spike_factor: 2.0, spike: OnTrouble::Warn }
    }
}

/// Validation during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationTable {
    /// Every how many steps; 0 never. The end of the run validates too if this is above 0.
    pub every: u64,
    /// Held-out shards.
    pub shards: Option<PathBuf>,
    /// Rows of held-out text.
    pub text_rows: usize,
    /// Generated samples of each task, one a row, from a seed of their own.
    pub samples_per_task: usize,
    /// Seed of the generated samples.
    pub seed: u64,
    /// Rows computed at a time; the training micro-batch if absent.
    pub batch: Option<usize>,
}

impl Default for ValidationTable {
    fn default() -> Self {
        Self { every: 0, shards: None, text_rows: 16, samples_per_task: 16, seed: 777, batch: None }
    }
}

/// Generated text during training, greedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesTable {
    /// Every how many steps; 0 never.
    pub every: u64,
    /// Prompts.
    pub prompts: Vec<String>,
    /// New tokens of each.
    pub tokens: usize,
}

impl Default for SamplesTable {
    fn default() -> Self {
        Self { every: 0, prompts: vec!["The ".to_owned()], tokens: 48 }
    }
}

/// Saving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointTable {
    /// Every how many steps; 0 only at the end.
    pub every: u64,
    /// How many are kept; 0 keeps all.
    pub keep: usize,
    /// Whether the end of the run is saved, and the model; `false` is for measuring speed.
    pub at_end: bool,
}

impl Default for CheckpointTable {
    fn default() -> Self {
        Self { every: 500, keep: 2, at_end: true }
    }
}

/// Progress output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// Every how many steps losses are read back from the device, shown and written.
    pub every: u64,
    /// The device's dense bf16 rate in TFLOP/s, for the model FLOPs utilization; known for common
    /// GPUs if absent.
    pub peak_tflops: Option<f64>,
}

impl Default for LogTable {
    fn default() -> Self {
        Self { every: 10, peak_tflops: None }
    }
}

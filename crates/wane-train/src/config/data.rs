//! `[data]` and `[[stages]]`: a weighted mixture of text shards and generated samples, and the
//! curriculum over it.
//!
//! Every row of a batch is filled by one source, chosen by weight: a run of tokens of a shard, or
//! generated samples packed one after the other (each ends with the end token). By default attention and
//! the memory run over the whole row; `document_mask` and `memory_reset` keep documents apart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataTable {
    /// Text shards made by `wane data pack`.
    #[serde(default)]
    pub text: Vec<TextTable>,
    /// Generated samples.
    pub generated: Option<GeneratedTable>,
    /// Whether attention stays inside a document of a packed row (positions then restart with each).
    #[serde(default)]
    pub document_mask: bool,
    /// Whether the memory is emptied at the start of each document.
    #[serde(default)]
    pub memory_reset: bool,
    /// Threads that prepare batches.
    #[serde(default = "two")]
    pub threads: usize,
    /// Batches prepared ahead by each thread.
    #[serde(default = "two")]
    pub ahead: usize,
}

/// One source of packed text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTable {
    /// A shard, or a folder of shards (`*.tokens`).
    pub shards: PathBuf,
    /// Share of the rows, relative to the other sources.
    #[serde(default = "unit")]
    pub weight: f64,
    /// Weight of each token's loss.
    #[serde(default = "unit")]
    pub loss_weight: f64,
}

/// Samples of the retrieval tasks, generated on the fly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedTable {
    /// Share of the rows, relative to the text.
    #[serde(default = "unit")]
    pub weight: f64,
    /// Seed of the samples; the run's seed if absent. Fine-tuning takes another one.
    pub seed: Option<u64>,
    /// Task names; all if empty.
    #[serde(default)]
    pub tasks: Vec<String>,
    /// Relative weight of each task in `tasks`; all equal if empty.
    #[serde(default)]
    pub task_weights: Vec<f64>,
    /// A file of `wane ruler pairs`: its prompts and answers instead of generated samples, one a row.
    pub pairs: Option<PathBuf>,
    /// Text file for the haystacks; the built-in text if absent.
    pub haystack: Option<PathBuf>,
    /// Weight of the loss of answer tokens.
    #[serde(default = "unit")]
    pub answer_weight: f64,
    /// Weight of the loss of all other tokens; 0 for fine-tuning on answers only.
    #[serde(default = "little")]
    pub other_weight: f64,
}

/// One stage of the curriculum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// The stage ends at this share of the run; the last stage's must be 1.
    pub until: f64,
    /// Shortest and longest packed sample in tokens; lengths are log-uniform between them.
    pub lengths: [usize; 2],
    /// Share of the generated rows that hold one full-length sample instead.
    #[serde(default)]
    pub full: f64,
    /// Fewest and most questions of a sample. Short samples get at most one for every
    /// `tokens_per_question` tokens.
    #[serde(default = "one_question")]
    pub questions: [usize; 2],
    /// See `questions`.
    #[serde(default = "question_room")]
    pub tokens_per_question: usize,
    /// Share of rows taken from text in this stage, instead of the mixture's.
    pub text: Option<f64>,
}

fn two() -> usize {
    2
}

fn unit() -> f64 {
    1.0
}

fn little() -> f64 {
    0.02
}

fn one_question() -> [usize; 2] {
    [1, 1]
}

fn question_room() -> usize {
    128
}

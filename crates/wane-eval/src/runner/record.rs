//! One finished example, as a line of `records.jsonl`.
//!
//! Does not do: the prompt's text; it follows from task, tokenizer, context, seed, haystack and
//! sample number.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::identity::{Cell, Origin};
use crate::ruler::Metric;

/// The version of the format.
pub const VERSION: u32 = 1;

/// One example of one model under one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Model, method and task.
    #[serde(flatten)]
    pub cell: Cell,
    /// The sample's number in its task.
    pub sample: usize,
    /// What the sample is made of, and where it ran.
    #[serde(flatten)]
    pub origin: Origin,
    /// The generated text.
    pub prediction: String,
    /// The answers.
    pub references: Vec<String>,
    /// Scores by metric, 0 to 1.
    pub scores: BTreeMap<String, f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub new_tokens: usize,
    /// Tokens that could have been generated.
    pub max_new_tokens: usize,
    /// Times.
    pub seconds: Seconds,
    /// Bytes of K and V.
    pub bytes: Bytes,
    /// Floating point operations; records of before 2026-11-26 lack them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<Flops>,
}

/// Times of one example.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// This example's share of reading its batch's prompts, which methods with the same prefill share.
    pub prefill: f64,
    /// This example's share of its batch's forks and decoding.
    pub decode: f64,
    /// Examples decoded together.
    pub batch: usize,
}

/// Bytes of one example.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Bytes {
    /// K and V read in the first decode step (the union within a group), all layers.
    pub read_per_step: u64,
    /// Summaries read in it.
    pub summaries_per_step: u64,
    /// K and V resident after the prompt, whole pages.
    pub resident: u64,
    /// At the peak of reading the prompt, eviction included.
    pub peak: u64,
}

/// Floating point operations of one example, from the model's sizes and what the method reads (see
/// `runner::flops` for what counts).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Flops {
    /// Of the whole prompt, selection included.
    pub prefill: f64,
    /// Of the first decode step, selection included.
    pub per_step: f64,
}

/// What makes an example the same one: a run that goes on skips it.
pub type Key = (String, String, String, usize);

impl Record {
    /// The example's key: model hash, method, task, sample number.
    pub fn key(&self) -> Key {
        (self.cell.model_hash.clone(), self.cell.method.clone(), self.cell.task.clone(), self.sample)
    }

    /// The score under a metric, 0 to 1: as recorded, or from prediction and answers if the record has another
    /// metric's only.
    pub fn score(&self, metric: &str) -> f64 {
        let scored = || Metric::parse(metric).map(|m| m.score(&self.prediction, &self.references));
        self.scores.get(metric).copied().or_else(scored).unwrap_or(0.0)
    }
}

//! `memory.json` as the report reads it: what the memory of one or several models does, head by head.
//!
//! A channel keeps `g_1 g_2 .. g_n` of a token after `n` others, so its half-life is `ln(1/2) / mean(ln g)` tokens: the
//! mean is taken over logarithms, because gates multiply. (Training logs `ln(1/2) / ln(mean g)`, which a few closed
//! gates change less.)

use serde::{Deserialize, Serialize};

/// The version of the format.
pub(super) const VERSION: u32 = 1;

/// Bins of a gate's histogram, equally wide from 0 to 1.
pub(super) const BINS: usize = 20;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MemoryRecord {
    /// The version of the format.
    pub(super) version: u32,
    /// Tokens after a needle's last one, which the lists of [`HeadMemory`] follow.
    pub(super) distances: Vec<usize>,
    /// The models, in the order of the command line.
    pub(super) models: Vec<ModelMemory>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ModelMemory {
    /// The model as it was named.
    pub(super) model: String,
    /// SHA-256 of the model's configuration and weights.
    pub(super) model_hash: String,
    /// The tokenizer's hash.
    pub(super) tokenizer: String,
    /// Where it ran.
    pub(super) device: String,
    /// What it read: tasks, context, seed, haystack, word lists and prompt form, or the text's name.
    pub(super) source: String,
    /// What the needles are: `values` of needle samples, or `every 97th token` of a text.
    pub(super) needles_are: String,
    /// Sequences read.
    pub(super) sequences: usize,
    /// Their tokens.
    pub(super) tokens: usize,
    /// Needles, and how many of them have a token at each distance.
    pub(super) needles: usize,
    /// See `needles`.
    pub(super) needles_at: Vec<usize>,
    /// Samples left out because their values could not be traced to prompt tokens.
    pub(super) unaligned: usize,
    /// By layer and head.
    pub(super) heads: Vec<HeadMemory>,
}

/// One KV head; lists by distance are means over needles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct HeadMemory {
    /// Layer, from 0.
    pub(super) layer: usize,
    /// KV head, from 0.
    pub(super) head: usize,
    /// Mean gate over tokens and channels.
    pub(super) mean_gate: f64,
    /// Share of gates in each of [`BINS`] bins.
    pub(super) gates: Vec<f64>,
    /// The half-lives, in tokens, below which 10, 25, 50, 75 and 90 of 100 channels lie.
    pub(super) half_lives: [f64; 5],
    /// Share of channels that copy: mean gate below 0.1.
    pub(super) copying: f64,
    /// Mean over channels of the product of the gates after the needle: what is left of the state that it left.
    pub(super) product: Vec<f64>,
    /// Mean over channels of the needle tokens' weight in the state, `sum_j (1 - g_j) prod_{i > j} g_i`.
    pub(super) weight: Vec<f64>,
    /// The needle's part of `k~` along `k~`: `<part, k~> / <k~, k~>`; the parts of all tokens add up to 1.
    pub(super) key_share: Vec<f64>,
    /// The same for `v~`.
    pub(super) value_share: Vec<f64>,
}

//! `memory.json`: what the memory of one or several models does, head by head.
//!
//! A channel keeps `g_1 g_2 .. g_n` of a token after `n` others, so its half-life is `ln(1/2) / mean(ln g)` tokens: the
//! mean is taken over logarithms, because gates multiply. (Training logs `ln(1/2) / ln(mean g)`, which a few closed
//! gates change less.)

use serde::{Deserialize, Serialize};

/// The version of the format.
pub const VERSION: u32 = 1;

/// Bins of a gate's histogram, equally wide from 0 to 1.
pub const BINS: usize = 20;

/// Tokens after a needle's last one at which its influence is measured.
pub const DISTANCES: [usize; 11] = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryRecord {
    /// The version of the format.
    pub version: u32,
    /// [`DISTANCES`], which the lists of [`HeadMemory`] follow.
    pub distances: Vec<usize>,
    /// The models, in the order of the command line.
    pub models: Vec<ModelMemory>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelMemory {
    /// The model as it was named.
    pub model: String,
    /// SHA-256 of the model's configuration and weights.
    pub model_hash: String,
    /// The tokenizer's hash.
    pub tokenizer: String,
    /// Where it ran.
    pub device: String,
    /// What it read: tasks, context, seed, haystack, word lists and prompt form, or the text's name.
    pub source: String,
    /// What the needles are: `values` of needle samples, or `every 97th token` of a text.
    pub needles_are: String,
    /// Sequences read.
    pub sequences: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Needles, and how many of them have a token at each distance.
    pub needles: usize,
    /// See `needles`.
    pub needles_at: Vec<usize>,
    /// Samples left out because their values could not be traced to prompt tokens.
    pub unaligned: usize,
    /// By layer and head.
    pub heads: Vec<HeadMemory>,
}

/// One KV head; lists by distance are means over needles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadMemory {
    /// Layer, from 0.
    pub layer: usize,
    /// KV head, from 0.
    pub head: usize,
    /// Mean gate over tokens and channels.
    pub mean_gate: f64,
    /// Share of gates in each of [`BINS`] bins.
    pub gates: Vec<f64>,
    /// The half-lives, in tokens, below which 10, 25, 50, 75 and 90 of 100 channels lie.
    pub half_lives: [f64; 5],
    /// Share of channels that copy: mean gate below 0.1.
    pub copying: f64,
    /// Mean over channels of the product of the gates after the needle: what is left of the state that it left.
    pub product: Vec<f64>,
    /// Mean over channels of the needle tokens' weight in the state, `sum_j (1 - g_j) prod_{i > j} g_i`.
    pub weight: Vec<f64>,
    /// The needle's part of `k~` along `k~`: `<part, k~> / <k~, k~>`; the parts of all tokens add up to 1.
    pub key_share: Vec<f64>,
    /// The same for `v~`.
    pub value_share: Vec<f64>,
}

//! `[model]`: sizes of a new model under the names of Hugging Face's `config.json`, or `init`, a
//! checkpoint to continue from (optionally with the memory added).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// With or without the memory over keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backbone {
    /// Softmax attention.
    Attention,
    /// Softmax attention over exponentially decaying keys and values.
    Memory,
}

/// Bias of the memory's gate at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GateBias {
    /// The same for every channel; -4 starts with almost no memory.
    Constant(f64),
    /// `"spread"`: half-lives from 0 to 64 tokens across the channels (a quarter copies). `"none"`: no bias.
    Named(String),
    /// Half-lives spaced logarithmically across the channels.
    Spread {
        /// Part of the channels that starts with almost no memory.
        copying: f64,
        /// Longest half-life in tokens.
        max_half_life: f64,
    },
}

/// Start of the matrices that write to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResidualInit {
    /// As all others.
    Same,
    /// Divided by `sqrt(2 layers)`.
    Depth,
}

/// The model to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTable {
    /// A checkpoint to start from; then no sizes may be given.
    pub init: Option<PathBuf>,
    /// Folder with `tokenizer.json`; the checkpoint's own if `init` is given.
    pub tokenizer: Option<PathBuf>,
    /// Which backbone; with `init`, `memory` adds the memory if the checkpoint has none.
    pub backbone: Option<Backbone>,
    /// Bias of the memory gate of a new memory.
    pub gate_bias: Option<GateBias>,
    /// Rows of the embedding; the tokenizer's size if absent.
    pub vocab_size: Option<usize>,
    /// Width of the residual stream.
    pub hidden_size: Option<usize>,
    /// Layers.
    pub num_hidden_layers: Option<usize>,
    /// Query heads.
    pub num_attention_heads: Option<usize>,
    /// Key/value heads; the query heads if absent.
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; `hidden_size / num_attention_heads` if absent.
    pub head_dim: Option<usize>,
    /// Width of the feed-forward layer.
    pub intermediate_size: Option<usize>,
    /// `silu` (SwiGLU, the default) or `gelu`.
    pub hidden_act: Option<String>,
    /// Positions the model is meant for; the training sequence if absent.
    pub max_position_embeddings: Option<usize>,
    /// Base of the rotary frequencies; 10000 if absent.
    pub rope_theta: Option<f64>,
    /// Epsilon of the norms; 1e-6 if absent.
    pub rms_norm_eps: Option<f64>,
    /// Whether the head is the embedding; true if absent.
    pub tie_word_embeddings: Option<bool>,
    /// Whether attention's output is gated; true if absent.
    pub output_gate: Option<bool>,
    /// Standard deviation of new weights; 0.02 if absent.
    pub initializer_range: Option<f64>,
    /// Start of the output and down projections; `same` if absent.
    pub residual_init: Option<ResidualInit>,
}

impl ModelTable {
    /// Names of the size settings that are present; `init` excludes them.
    pub fn sizes_given(&self) -> Vec<&'static str> {
        let given = [
            ("vocab_size", self.vocab_size.is_some()),
            ("hidden_size", self.hidden_size.is_some()),
            ("num_hidden_layers", self.num_hidden_layers.is_some()),
            ("num_attention_heads", self.num_attention_heads.is_some()),
            ("num_key_value_heads", self.num_key_value_heads.is_some()),
            ("head_dim", self.head_dim.is_some()),
            ("intermediate_size", self.intermediate_size.is_some()),
            ("hidden_act", self.hidden_act.is_some()),
            ("rope_theta", self.rope_theta.is_some()),
            ("rms_norm_eps", self.rms_norm_eps.is_some()),
            ("tie_word_embeddings", self.tie_word_embeddings.is_some()),
            ("output_gate", self.output_gate.is_some()),
            ("initializer_range", self.initializer_range.is_some()),
            ("residual_init", self.residual_init.is_some()),
        ];
        given.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect()
    }
}

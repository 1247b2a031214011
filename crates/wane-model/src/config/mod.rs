//! What a model is: sizes, and the few choices in which the supported families differ.
//!
//! Every checkpoint format is read into one [`ModelConfig`]. Names follow Hugging Face's
//! `config.json`. A source that asks for something this program does not do (a rope type, a
//! sliding window per layer, a bias in the FFN) is refused where it is read, never ignored.

pub(crate) mod hugging_face;
#[cfg(test)]
mod tests;

use crate::{Error, Result};

/// The family whose names and defaults the source used, and under which it is saved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama and everything that calls itself so (SmolLM2).
    Llama,
    /// Llama with an optional sliding window.
    Mistral,
    /// Norm after each sublayer, QK-norm over the full width.
    Olmo2,
    /// Bias on q, k and v.
    Qwen2,
    /// QK-norm per head.
    Qwen3,
    /// Our own: any combination, in particular a memory or an output gate. RAT+ is read into this.
    Wane,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Llama, Self::Mistral, Self::Olmo2, Self::Qwen2, Self::Qwen3, Self::Wane];

    /// `model_type` in `config.json`, `general.architecture` in a GGUF file.
    pub const fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Olmo2 => "olmo2",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Wane => "wane",
        }
    }

    /// The class name that `architectures` in `config.json` lists.
    pub const fn class_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Olmo2 => "Olmo2ForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Wane => "WaneForCausalLM",
        }
    }
}

/// How inverse frequencies are stretched for contexts longer than the training's.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// `theta^(-2i/d)`.
    None,
    /// All divided by `factor`.
    Linear {
        /// Context extension.
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, a ramp between (Llama 3.1).
    Llama3 {
        /// Context extension.
        factor: f64,
        /// Below this many rotations over the original context a frequency is divided.
        low_freq_factor: f64,
        /// Above this many rotations over the original context a frequency is kept.
        high_freq_factor: f64,
        /// Context of the training.
        original_max_position_embeddings: usize,
    },
    /// NTK by parts with a temperature on the rotated vectors (arXiv 2309.00071).
    Yarn {
        /// Context extension.
        factor: f64,
        /// Above this many rotations a frequency is kept.
        beta_fast: f64,
        /// Below this many rotations a frequency is divided.
        beta_slow: f64,
        /// Context of the training.
        original_max_position_embeddings: usize,
        /// Cosines and sines are multiplied by this.
        attention_factor: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

/// Rotary embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base.
    pub theta: f64,
    /// Stretching.
    pub scaling: RopeScaling,
}

/// The feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FfnActivation {
    /// `down(silu(gate(x)) * up(x))`: `mlp.{gate_proj,up_proj,down_proj}`.
    SwiGlu,
    /// `fc2(gelu(fc1(x)))` with the exact GELU: `mlp.{fc1,fc2}`.
    Gelu,
}

/// Which attention projections have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttentionBias {
    /// None.
    None,
    /// q, k and v (Qwen2).
    Qkv,
    /// q, k, v and the output projection (`attention_bias` of the other families).
    All,
}

/// RMSNorm on queries and keys before RoPE (and before the memory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QkNorm {
    /// None.
    None,
    /// Each head by itself; weights \[head_dim] (Qwen3).
    PerHead,
    /// All heads together; weights [heads * head_dim] (OLMo2).
    FullWidth,
}

/// Where a block's norms are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormPlacement {
    /// `x + f(norm(x))`: `input_layernorm`, `post_attention_layernorm`.
    Pre,
    /// `x + norm(f(x))`: `post_attention_layernorm`, `post_feedforward_layernorm` (OLMo2).
    Post,
}

/// Type of the memory state kept between decode steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MemoryStateDtype {
    /// The state of the scan, unrounded.
    #[default]
    F32,
    /// Rounded after each step as the official RAT+ code does; it drifts from the prefill.
    BF16,
}

/// The exponentially decaying memory over keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemoryConfig {
    /// Whether `memory_gate.bias` exists.
    pub gate_bias: bool,
    /// Type of the state.
    pub state_dtype: MemoryStateDtype,
}

/// Sizes and choices of one decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Family.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the FFN.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key/value heads; divides the query heads.
    pub num_key_value_heads: usize,
    /// Width of a head (even).
    pub head_dim: usize,
    /// Added to the mean square in every RMSNorm.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope: RopeConfig,
    /// Context length the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the head is the embedding (then `lm_head.weight` is absent).
    pub tie_word_embeddings: bool,
    /// FFN.
    pub ffn_activation: FfnActivation,
    /// Biases of the attention projections.
    pub attention_bias: AttentionBias,
    /// Norm on queries and keys.
    pub qk_norm: QkNorm,
    /// Norms of a block.
    pub norm_placement: NormPlacement,
    /// Whether attention is multiplied by `sigmoid(output_gate(x))`.
    pub output_gate: bool,
    /// The memory, if present.
    pub memory: Option<MemoryConfig>,
    /// Every layer sees only this many newest positions (the own one included).
    pub sliding_window: Option<usize>,
    /// Begins a text.
    pub bos_token_id: Option<u32>,
    /// Any of these ends generation.
    pub eos_token_ids: Vec<u32>,
    /// Padding.
    pub pad_token_id: Option<u32>,
}

impl ModelConfig {
    /// A plain Llama without sizes, to be completed by struct update: norms before the sublayers, SwiGLU, RoPE
    /// with base 10000, a head of its own; no bias, QK-norm, output gate, memory, window or special token.
    /// The sizes are zero, which [`Self::validate`] refuses.
    pub fn llama() -> Self {
        Self {
            architecture: Architecture::Llama,
            vocab_size: 0,
            hidden_size: 0,
            intermediate_size: 0,
            num_hidden_layers: 0,
            num_attention_heads: 0,
            num_key_value_heads: 0,
            head_dim: 0,
            rms_norm_eps: 1e-6,
            rope: RopeConfig { theta: 10_000.0, scaling: RopeScaling::None },
            max_position_embeddings: 0,
            tie_word_embeddings: false,
            ffn_activation: FfnActivation::SwiGlu,
            attention_bias: AttentionBias::None,
            qk_norm: QkNorm::None,
            norm_placement: NormPlacement::Pre,
            output_gate: false,
            memory: None,
            sliding_window: None,
            bos_token_id: None,
            eos_token_ids: Vec::new(),
            pad_token_id: None,
        }
    }

    /// Width of the queries, `num_attention_heads * head_dim`.
    pub fn q_width(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Width of the keys, of the values and of the memory gate, `num_key_value_heads * head_dim`.
    pub fn kv_width(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Checks what every format must guarantee: sizes above zero, heads that divide, an even head.
    ///
    /// # Errors
    /// The first size that makes no sense, by name.
    pub fn validate(&self) -> Result<()> {
        // Far above any real model, low enough that products of a few sizes cannot overflow.
        const MAX: usize = 1 << 24;
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, size) in sizes {
            if size == 0 || size > MAX {
                return Err(Error::Invalid(format!("{name} must be between 1 and {MAX}, got {size}")));
            }
        }
        if self.num_hidden_layers > 4096 || self.q_width() > MAX {
            return Err(Error::Invalid(format!(
                "{} layers with a query width of {} are out of range",
                self.num_hidden_layers,
                self.q_width()
            )));
        }
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            return Err(Error::Invalid(format!(
                "num_attention_heads must be a multiple of num_key_value_heads, got {} and {}",
                self.num_attention_heads, self.num_key_value_heads
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::Invalid(format!("head_dim must be even for rope, got {}", self.head_dim)));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(Error::Invalid(format!(
                "rms_norm_eps must be at least 0, got {}",
                self.rms_norm_eps
            )));
        }
        if !(self.rope.theta.is_finite() && self.rope.theta > 1.0) {
            return Err(Error::Invalid(format!("rope_theta must be above 1, got {}", self.rope.theta)));
        }
        if self.sliding_window == Some(0) {
            return Err(Error::Invalid("sliding_window must be at least 1, got 0".into()));
        }
        Ok(())
    }

    /// Every parameter under its canonical name with its shape, in the order of the forward pass.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, q, kv) = (self.hidden_size, self.q_width(), self.kv_width());
        let mut list = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let mut add = |name: &str, shape: Vec<usize>| {
                list.push((format!("model.layers.{layer}.{name}"), shape));
            };
            if self.norm_placement == NormPlacement::Pre {
                add("input_layernorm.weight", vec![hidden]);
            }
            if self.output_gate {
                add("self_attn.output_gate.weight", vec![q, hidden]);
            }
            for (name, width) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
                add(&format!("self_attn.{name}.weight"), vec![width, hidden]);
                if self.attention_bias != AttentionBias::None {
                    add(&format!("self_attn.{name}.bias"), vec![width]);
                }
            }
            if let Some(memory) = self.memory {
                add("self_attn.memory_gate.weight", vec![kv, hidden]);
                if memory.gate_bias {
                    add("self_attn.memory_gate.bias", vec![kv]);
                }
            }
            match self.qk_norm {
                QkNorm::None => {}
                QkNorm::PerHead => {
                    add("self_attn.q_norm.weight", vec![self.head_dim]);
                    add("self_attn.k_norm.weight", vec![self.head_dim]);
                }
                QkNorm::FullWidth => {
                    add("self_attn.q_norm.weight", vec![q]);
                    add("self_attn.k_norm.weight", vec![kv]);
                }
            }
            add("self_attn.o_proj.weight", vec![hidden, q]);
            if self.attention_bias == AttentionBias::All {
                add("self_attn.o_proj.bias", vec![hidden]);
            }
            add("post_attention_layernorm.weight", vec![hidden]);
            match self.ffn_activation {
                FfnActivation::SwiGlu => {
                    add("mlp.gate_proj.weight", vec![self.intermediate_size, hidden]);
                    add("mlp.up_proj.weight", vec![self.intermediate_size, hidden]);
                    add("mlp.down_proj.weight", vec![hidden, self.intermediate_size]);
                }
                FfnActivation::Gelu => {
                    add("mlp.fc1.weight", vec![self.intermediate_size, hidden]);
                    add("mlp.fc2.weight", vec![hidden, self.intermediate_size]);
                }
            }
            if self.norm_placement == NormPlacement::Post {
                add("post_feedforward_layernorm.weight", vec![hidden]);
            }
        }
        list.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            list.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        list
    }
}

impl ModelConfig {
    /// Reads the content of a Hugging Face `config.json` that lies at `path`.
    ///
    /// # Errors
    /// It is no such file, lacks a size, or asks for something that is not implemented.
    pub fn from_json(text: &str, path: &std::path::Path) -> Result<Self> {
        hugging_face::parse(text, path)
    }

    /// The content of a Hugging Face `config.json`; `dtype` is `float32` or `bfloat16`.
    pub fn to_json(&self, dtype: &str) -> serde_json::Value {
        hugging_face::to_json(self, dtype)
    }

    /// The family under which `config.json` says everything about this model: its own, or
    /// [`Architecture::Wane`] if its own cannot express it (a Llama with biases on q, k, v only).
    pub fn saved_architecture(&self) -> Architecture {
        let text = self.to_json("float32").to_string();
        match Self::from_json(&text, "config.json".as_ref()) {
            Ok(read) if read == *self => self.architecture,
            _ => Architecture::Wane,
        }
    }
}

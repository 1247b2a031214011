//! The model of a benchmark: random weights of a given shape, or a file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use wane_kernels::{DType, Device};
use wane_model::ModelConfig;
use wane_model::config::{Architecture, MemoryConfig};
use wane_model::decoder::Decoder;
use wane_model::decoder::initialize::{GateBias, Initialization, ResidualScale};
use wane_train::cost::mean_visible;

use crate::commands::shared::{PlaceArgs, parse_dtype};

/// Sizes of the model; the defaults belong to each subject.
#[derive(Debug, Clone, Args)]
pub(super) struct ModelShape {
    /// A model (directory, .gguf, hub id) instead of random weights
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["hidden", "layers", "heads", "kv_heads", "head_dim", "ffn", "vocab", "memory"])]
    model: Option<PathBuf>,
    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,
    /// Blocks
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Query heads
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Key/value heads; as many as query heads by default
    #[arg(long, value_name = "N")]
    kv_heads: Option<usize>,
    /// Width of a head
    #[arg(long, default_value_t = 64, value_name = "N")]
    head_dim: usize,
    /// Width inside the FFN
    #[arg(long, value_name = "N")]
    ffn: Option<usize>,
    /// Vocabulary
    #[arg(long, default_value_t = 8192, value_name = "N")]
    vocab: usize,
    /// With the decaying memory
    #[arg(long)]
    memory: bool,
    /// Weights in memory: f32 or bf16
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<String>,
    /// Cached keys and values: f32 or bf16
    #[arg(long, value_name = "DTYPE")]
    kv_dtype: Option<String>,
}

/// Default sizes of a subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) ffn: usize,
}

/// The model of the inference benchmarks: 30M parameters.
pub(super) const INFERENCE: Sizes = Sizes { hidden: 512, layers: 8, heads: 8, ffn: 1408 };

impl ModelShape {
    /// The same shape with the memory.
    pub(super) fn with_memory(&self) -> Self {
        Self { memory: true, ..self.clone() }
    }

    /// Builds (or loads) the model on the CPU, for contexts of at least `context` tokens.
    ///
    /// # Errors
    /// Sizes that make no sense, a file that cannot be read.
    pub(super) fn build(&self, sizes: Sizes, context: usize) -> Result<Decoder> {
        if let Some(path) = &self.model {
            let place = PlaceArgs {
                device: "cpu".to_owned(),
                dtype: self.dtype.clone(),
                kv_dtype: self.kv_dtype.clone(),
            };
            return Ok(place.load(path)?.1);
        }
        let dtype = self.dtype.as_deref().map(parse_dtype).transpose()?;
        let init = Initialization {
            seed: 1,
            std: 0.02,
            scale_residual: ResidualScale::Depth,
            gate_bias: GateBias::Spread { copying: 0.25, max_half_life: 64.0 },
        };
        Ok(Decoder::random(&self.config(sizes, context), &Device::Cpu, dtype, &init)?)
    }

    fn config(&self, sizes: Sizes, context: usize) -> ModelConfig {
        let heads = self.heads.unwrap_or(sizes.heads);
        ModelConfig {
            architecture: if self.memory { Architecture::Wane } else { Architecture::Llama },
            vocab_size: self.vocab,
            hidden_size: self.hidden.unwrap_or(sizes.hidden),
            intermediate_size: self.ffn.unwrap_or(sizes.ffn),
            num_hidden_layers: self.layers.unwrap_or(sizes.layers),
            num_attention_heads: heads,
            num_key_value_heads: self.kv_heads.unwrap_or(heads),
            head_dim: self.head_dim,
            rms_norm_eps: 1e-5,
            max_position_embeddings: context,
            memory: self.memory.then_some(MemoryConfig { gate_bias: true, state_dtype: Default::default() }),
            ..ModelConfig::llama()
        }
    }

    /// Type of cached keys and values.
    ///
    /// # Errors
    /// An unknown type.
    pub(super) fn kv_dtype(&self) -> Result<Option<DType>> {
        self.kv_dtype.as_deref().map(parse_dtype).transpose()
    }
}

/// The model in one line.
pub(super) fn describe(decoder: &Decoder) -> String {
    let config = decoder.config();
    let kind = decoder.parameters().iter().find(|p| p.name.contains("down_proj") || p.name.contains("fc2"));
    format!(
        "d {}, {} layers, {}/{} heads of {}, ffn {}, vocabulary {}{}, weights {}",
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
        config.intermediate_size,
        config.vocab_size,
        if config.memory.is_some() { ", memory" } else { "" },
        kind.map_or("?".to_owned(), |p| weight_kind(&p.weight)),
    )
}

fn weight_kind(weight: &wane_kernels::Weight) -> String {
    match weight {
        wane_kernels::Weight::Dense(tensor) => format!("{:?}", tensor.dtype()).to_lowercase(),
        wane_kernels::Weight::Quantized(matrix) => format!("{:?}", matrix.kind),
    }
}

/// FLOPs of the matrix products of the blocks for one token, and of the head.
pub(super) fn product_flops(config: &ModelConfig) -> [f64; 2] {
    let blocks: usize = config
        .parameters()
        .iter()
        .filter(|(name, shape)| shape.len() == 2 && name.contains("layers."))
        .map(|(_, shape)| shape[0] * shape[1])
        .sum();
    [blocks, config.vocab_size * config.hidden_size].map(|weights| 2.0 * weights as f64)
}

/// FLOPs of dense causal attention over `tokens` tokens, all layers.
pub(super) fn attention_flops(config: &ModelConfig, tokens: usize) -> f64 {
    let visible = mean_visible(wane_kernels::ops::attention::Pattern::Causal, tokens) * tokens as f64;
    4.0 * config.q_width() as f64 * visible * config.num_hidden_layers as f64
}

/// `tokens` token ids without a pattern.
pub(super) fn ids(tokens: usize, vocabulary: usize) -> Vec<u32> {
    (0..tokens).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u32 % vocabulary as u32).collect()
}

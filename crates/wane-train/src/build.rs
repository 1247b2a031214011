//! The model of a run: random weights from sizes, or a checkpoint, optionally with the memory added.

use std::path::PathBuf;

use wane_kernels::{DType, Device};
use wane_model::checkpoint;
use wane_model::config::{
    Architecture, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig, RopeConfig,
};
use wane_model::decoder::Decoder;
use wane_model::decoder::initialize::{self, Initialization, ResidualScale};

use crate::config::{Backbone, GateBias, ModelTable, ResidualInit, RunConfig};
use crate::data::tokenizer::Encoder;
use crate::{Error, Result};

/// Gate bias of a memory that is added to a trained model: g = 0.0025, the function hardly changes.
const ADDED_MEMORY_BIAS: f32 = -6.0;

/// A model ready for training, and its tokenizer.
#[derive(Debug)]
pub struct Built {
    /// The decoder, its weights writable.
    pub decoder: Decoder,
    /// The tokenizer; absent for toy models that state `vocab_size` only.
    pub encoder: Option<Encoder>,
    /// Folder of the tokenizer's files.
    pub tokenizer_folder: Option<PathBuf>,
}

/// Opens the tokenizer of a run: `model.tokenizer`, or the checkpoint's own.
///
/// # Errors
/// The files are missing or damaged.
pub fn open_encoder(table: &ModelTable) -> Result<(Option<Encoder>, Option<PathBuf>)> {
    let folder =
        table.tokenizer.clone().or_else(|| table.init.clone().filter(|f| f.join("tokenizer.json").is_file()));
    let encoder = folder.as_deref().map(|folder| Encoder::open(folder, None)).transpose()?;
    Ok((encoder, folder))
}

/// Builds the model of a run on `device`.
///
/// # Errors
/// A configuration that makes no sense, a checkpoint that does not fit, out of memory.
pub fn build(config: &RunConfig, device: &Device) -> Result<Built> {
    let (encoder, tokenizer_folder) = open_encoder(&config.model)?;
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let init = initialization(&config.model, config.seed);
    let decoder = match &config.model.init {
        None => {
            let sizes = new_model(config, encoder.as_ref())?;
            Decoder::random(&sizes, device, Some(dtype), &init)?
        }
        Some(path) => {
            let found = checkpoint::open(path)?;
            let sizes = continued_model(config, &found.config)?;
            let fetch = |name: &str| match found.weights.get(name) {
                Some(weight) => Ok(Some(weight.clone())),
                None if name.contains(".memory_gate.") => initialize::initial(&sizes, name, &init).map(Some),
                None => Ok(None),
            };
            Decoder::collect(&sizes, device, Some(dtype), &fetch)?
        }
    };
    if let Some(encoder) = &encoder
        && encoder.vocab_size() > decoder.config().vocab_size
    {
        return Err(Error::setting(format!(
            "the tokenizer has {} tokens, the model's embedding {} rows",
            encoder.vocab_size(),
            decoder.config().vocab_size
        )));
    }
    Ok(Built { decoder, encoder, tokenizer_folder })
}

/// Sizes of a new model.
///
/// # Errors
/// Sizes that make no sense.
pub fn new_model(config: &RunConfig, encoder: Option<&Encoder>) -> Result<ModelConfig> {
    let m = &config.model;
    let (hidden, heads) = (m.hidden_size.unwrap_or(0), m.num_attention_heads.unwrap_or(1));
    let activation = match m.hidden_act.as_deref() {
        None | Some("silu") => FfnActivation::SwiGlu,
        Some("gelu") => FfnActivation::Gelu,
        Some(other) => return Err(Error::setting(format!("model.hidden_act `{other}`: silu or gelu"))),
    };
    let memory = (m.backbone == Some(Backbone::Memory)).then(|| memory_config(m));
    let plain = ModelConfig::llama();
    let sizes = ModelConfig {
        architecture: Architecture::Wane,
        vocab_size: m.vocab_size.or(encoder.map(Encoder::vocab_size)).unwrap_or(0),
        hidden_size: hidden,
        intermediate_size: m.intermediate_size.unwrap_or(0),
        num_hidden_layers: m.num_hidden_layers.unwrap_or(0),
        num_attention_heads: heads,
        num_key_value_heads: m.num_key_value_heads.unwrap_or(heads),
        head_dim: m.head_dim.unwrap_or(hidden / heads.max(1)),
        rms_norm_eps: m.rms_norm_eps.unwrap_or(plain.rms_norm_eps),
        rope: RopeConfig { theta: m.rope_theta.unwrap_or(plain.rope.theta), ..plain.rope },
        max_position_embeddings: m.max_position_embeddings.unwrap_or(config.training.sequence),
        tie_word_embeddings: m.tie_word_embeddings.unwrap_or(true),
        ffn_activation: activation,
        output_gate: m.output_gate.unwrap_or(true),
        memory,
        eos_token_ids: encoder.map(Encoder::end).into_iter().collect(),
        pad_token_id: encoder.map(Encoder::end),
        ..plain
    };
    sizes.validate()?;
    Ok(sizes)
}

fn continued_model(config: &RunConfig, found: &ModelConfig) -> Result<ModelConfig> {
    let mut sizes = found.clone();
    match (config.model.backbone, found.memory) {
        (Some(Backbone::Attention), Some(_)) => {
            return Err(Error::setting(
                "model.backbone is attention, but the checkpoint of model.init has a memory",
            ));
        }
        (Some(Backbone::Memory), None) => {
            sizes.memory = Some(MemoryConfig { gate_bias: true, ..memory_config(&config.model) });
            sizes.architecture = Architecture::Wane;
        }
        (None, None) if config.optimizer.memory_lr.is_some() => {
            return Err(Error::setting(
                "optimizer.memory_lr: the checkpoint has no memory; set model.backbone = \"memory\" to add one",
            ));
        }
        _ => {}
    }
    let needed = config.training.sequence.max(config.model.max_position_embeddings.unwrap_or(0));
    if needed > sizes.max_position_embeddings {
        if config.model.max_position_embeddings.is_none() {
            return Err(Error::setting(format!(
                "training.sequence {} is longer than the checkpoint's {} positions; set model.max_position_embeddings to extend them",
                config.training.sequence, sizes.max_position_embeddings
            )));
        }
        sizes.max_position_embeddings = needed;
    }
    Ok(sizes)
}

fn memory_config(table: &ModelTable) -> MemoryConfig {
    let has_bias = match &table.gate_bias {
        None => false,
        Some(GateBias::Named(name)) => name != "none",
        Some(_) => true,
    };
    MemoryConfig { gate_bias: has_bias, state_dtype: MemoryStateDtype::F32 }
}

fn initialization(table: &ModelTable, seed: u64) -> Initialization {
    let gate_bias = match &table.gate_bias {
        None => initialize::GateBias::Constant(if table.init.is_some() { ADDED_MEMORY_BIAS } else { 0.0 }),
        Some(GateBias::Constant(bias)) => initialize::GateBias::Constant(*bias as f32),
        Some(GateBias::Named(name)) if name == "spread" => {
            initialize::GateBias::Spread { copying: 0.25, max_half_life: 64.0 }
        }
        Some(GateBias::Named(_)) => initialize::GateBias::Constant(0.0),
        Some(GateBias::Spread { copying, max_half_life }) => {
            initialize::GateBias::Spread { copying: *copying as f32, max_half_life: *max_half_life as f32 }
        }
    };
    Initialization {
        seed,
        std: table.initializer_range.unwrap_or(0.02) as f32,
        scale_residual: match table.residual_init {
            Some(ResidualInit::Depth) => ResidualScale::Depth,
            _ => ResidualScale::None,
        },
        gate_bias,
    }
}

//! `config.json`, read and written.
//!
//! Defaults are those of each family's class in `transformers`; both spellings of the rope settings
//! are read (`rope_parameters`, or `rope_theta` with `rope_scaling`). What would change the result
//! and is not done here is refused by name.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{
    Architecture, AttentionBias, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig, NormPlacement,
    QkNorm, RopeConfig, RopeScaling,
};
use crate::{Error, Result};

/// Reads the content of a `config.json` at `path`.
pub(crate) fn parse(text: &str, path: &Path) -> Result<ModelConfig> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| Error::format("config.json", path, error))?;
    let Value::Object(object) = value else {
        return Err(Error::format("config.json", path, "it must hold a JSON object"));
    };
    Reader { object: &object, path }.config()
}

struct Reader<'a> {
    object: &'a Map<String, Value>,
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, key: &str, expected: &str, got: &Value) -> Error {
        Error::format("config.json", self.path, format!("{key} must be {expected}, got {got}"))
    }

    fn refuse(&self, problem: impl ToString) -> Error {
        Error::unsupported(self.path, problem)
    }

    /// The value under `key`, `None` if absent or null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        self.get(key)
            .map(|value| {
                value
                    .as_u64()
                    .and_then(|size| usize::try_from(size).ok())
                    .ok_or_else(|| self.wrong(key, "a whole number", value))
            })
            .transpose()
    }

    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| Error::format("config.json", self.path, format!("{key} is missing")))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key)
            .map(|value| value.as_f64().ok_or_else(|| self.wrong(key, "a number", value)))
            .transpose()
    }

    fn flag(&self, key: &str) -> Result<bool> {
        self.get(key)
            .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)))
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.get(key)
            .map(|value| value.as_str().ok_or_else(|| self.wrong(key, "a string", value)))
            .transpose()
    }

    fn token_ids(&self, key: &str) -> Result<Vec<u32>> {
        token_ids(self.get(key)).map_err(|value| self.wrong(key, "a token id or a list of them", &value))
    }

    /// One of a few words, the first if absent.
    fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T> {
        let Some(text) = self.text(key)? else { return Ok(words[0].1) };
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.refuse(format!("{key} {text:?} is unknown (known: {})", known.join(", ")))
        })
    }

    fn architecture(&self) -> Result<Architecture> {
        let name = self.text("model_type")?.unwrap_or("(no model_type)");
        Architecture::ALL.into_iter().find(|known| known.model_type() == name).ok_or_else(|| {
            let known = Architecture::ALL.map(Architecture::model_type).join(", ");
            self.refuse(format!("architecture {name:?} is unknown (known: {known})"))
        })
    }

    fn config(&self) -> Result<ModelConfig> {
        let architecture = self.architecture()?;
        if self.get("quantization_config").is_some() {
            return Err(
                self.refuse("quantized safetensors are not read (use bf16 or f32 weights, or a GGUF file)")
            );
        }
        if self.flag("mlp_bias")? {
            return Err(self.refuse("mlp_bias is not implemented (only models without a bias in the FFN)"));
        }
        let heads = self.required("num_attention_heads")?;
        let hidden = self.required("hidden_size")?;
        let kv_default = if architecture == Architecture::Mistral { 8 } else { heads };
        let head_dim = match (self.size("head_dim")?, architecture) {
            (Some(size), _) => size,
            (None, Architecture::Qwen3) => 128,
            (None, _) => hidden.checked_div(heads).unwrap_or(0),
        };
        let eps = if architecture == Architecture::Olmo2 { 1e-5 } else { 1e-6 };
        let (qk_norm, norm_placement) = match architecture {
            Architecture::Olmo2 => (QkNorm::FullWidth, NormPlacement::Post),
            Architecture::Qwen3 => (QkNorm::PerHead, NormPlacement::Pre),
            Architecture::Wane => (
                self.word(
                    "qk_norm",
                    &[
                        ("none", QkNorm::None),
                        ("per_head", QkNorm::PerHead),
                        ("full_width", QkNorm::FullWidth),
                    ],
                )?,
                self.word("norm_placement", &[("pre", NormPlacement::Pre), ("post", NormPlacement::Post)])?,
            ),
            _ => (QkNorm::None, NormPlacement::Pre),
        };
        let max_position_embeddings = self.size("max_position_embeddings")?.unwrap_or(2048);
        let wane = architecture == Architecture::Wane;
        let config = ModelConfig {
            architecture,
            vocab_size: self.required("vocab_size")?,
            hidden_size: hidden,
            intermediate_size: self.required("intermediate_size")?,
            num_hidden_layers: self.required("num_hidden_layers")?,
            num_attention_heads: heads,
            num_key_value_heads: self.size("num_key_value_heads")?.unwrap_or(kv_default),
            head_dim,
            rms_norm_eps: self.number("rms_norm_eps")?.unwrap_or(eps),
            rope: self.rope(max_position_embeddings)?,
            max_position_embeddings,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            ffn_activation: self.ffn_activation(wane)?,
            attention_bias: self.attention_bias(architecture)?,
            qk_norm,
            norm_placement,
            output_gate: wane && self.flag("output_gate")?,
            memory: if wane { self.memory()? } else { None },
            sliding_window: self.sliding_window(architecture, max_position_embeddings)?,
            bos_token_id: self.token_ids("bos_token_id")?.first().copied(),
            eos_token_ids: self.token_ids("eos_token_id")?,
            pad_token_id: self.token_ids("pad_token_id")?.first().copied(),
        };
        config.validate().map_err(|error| Error::format("config.json", self.path, error))?;
        Ok(config)
    }

    fn ffn_activation(&self, wane: bool) -> Result<FfnActivation> {
        if wane {
            self.word("hidden_act", &[("silu", FfnActivation::SwiGlu), ("gelu", FfnActivation::Gelu)])
        } else {
            self.word("hidden_act", &[("silu", FfnActivation::SwiGlu)])
        }
    }

    fn attention_bias(&self, architecture: Architecture) -> Result<AttentionBias> {
        match architecture {
            Architecture::Qwen2 => Ok(AttentionBias::Qkv),
            Architecture::Mistral => Ok(AttentionBias::None),
            Architecture::Wane => self.word(
                "attention_bias",
                &[("none", AttentionBias::None), ("qkv", AttentionBias::Qkv), ("all", AttentionBias::All)],
            ),
            _ => Ok(if self.flag("attention_bias")? { AttentionBias::All } else { AttentionBias::None }),
        }
    }

    fn memory(&self) -> Result<Option<MemoryConfig>> {
        let Some(value) = self.get("memory") else { return Ok(None) };
        let object = value.as_object().ok_or_else(|| self.wrong("memory", "an object or null", value))?;
        let inner = Reader { object, path: self.path };
        Ok(Some(MemoryConfig {
            gate_bias: inner.flag("gate_bias")?,
            state_dtype: inner.word(
                "state_dtype",
                &[("float32", MemoryStateDtype::F32), ("bfloat16", MemoryStateDtype::BF16)],
            )?,
        }))
    }

    fn rope(&self, max_position_embeddings: usize) -> Result<RopeConfig> {
        let empty = Map::new();
        let object = match (self.get("rope_parameters"), self.get("rope_scaling")) {
            (Some(Value::Object(object)), _) | (None, Some(Value::Object(object))) => object,
            (None, None) => &empty,
            (Some(value), _) => return Err(self.wrong("rope_parameters", "an object or null", value)),
            (_, Some(value)) => return Err(self.wrong("rope_scaling", "an object or null", value)),
        };
        if object.values().any(Value::is_object) {
            return Err(self.refuse("rope settings that differ between layers are not implemented"));
        }
        let rope = Reader { object, path: self.path };
        let partial = rope.number("partial_rotary_factor")?.or(self.number("partial_rotary_factor")?);
        if let Some(partial) = partial.filter(|&partial| partial != 1.0) {
            return Err(self.refuse(format!("partial_rotary_factor {partial} is not implemented (only 1)")));
        }
        let theta = rope.number("rope_theta")?.or(self.number("rope_theta")?).unwrap_or(10_000.0);
        let factor = || -> Result<f64> {
            match rope.number("factor")? {
                Some(factor) if factor >= 1.0 && factor.is_finite() => Ok(factor),
                other => Err(Error::format(
                    "config.json",
                    self.path,
                    format!("the rope factor must be a number of at least 1, got {other:?}"),
                )),
            }
        };
        let original = rope
            .size("original_max_position_embeddings")?
            .or(self.size("original_max_position_embeddings")?)
            .unwrap_or(max_position_embeddings);
        let scaling = match rope.text("rope_type")?.or(rope.text("type")?).unwrap_or("default") {
            "default" => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor: factor()? },
            "llama3" => RopeScaling::Llama3 {
                factor: factor()?,
                low_freq_factor: rope.number("low_freq_factor")?.unwrap_or(1.0),
                high_freq_factor: rope.number("high_freq_factor")?.unwrap_or(4.0),
                original_max_position_embeddings: original,
            },
            "yarn" => {
                let factor = match rope.get("factor") {
                    Some(_) => factor()?,
                    None => (max_position_embeddings as f64 / original.max(1) as f64).max(1.0),
                };
                RopeScaling::Yarn {
                    factor,
                    beta_fast: rope.number("beta_fast")?.unwrap_or(32.0),
                    beta_slow: rope.number("beta_slow")?.unwrap_or(1.0),
                    original_max_position_embeddings: original,
                    attention_factor: match rope.number("attention_factor")? {
                        Some(value) => value,
                        None => yarn_attention_factor(
                            factor,
                            rope.number("mscale")?.zip(rope.number("mscale_all_dim")?),
                        ),
                    },
                    truncate: rope.get("truncate").is_none() || rope.flag("truncate")?,
                }
            }
            other => {
                return Err(self.refuse(format!(
                    "rope type {other:?} is not implemented (known: default, linear, llama3, yarn)"
                )));
            }
        };
        Ok(RopeConfig { theta, scaling })
    }

    fn sliding_window(&self, architecture: Architecture, max_positions: usize) -> Result<Option<usize>> {
        let layers = self.size("num_hidden_layers")?.unwrap_or(0);
        let window = self.size("sliding_window")?.filter(|&window| window < max_positions);
        let qwen = matches!(architecture, Architecture::Qwen2 | Architecture::Qwen3);
        let sliding = if let Some(Value::Array(types)) = self.get("layer_types") {
            types.iter().filter(|kind| kind.as_str() != Some("full_attention")).count()
        } else if qwen && !self.flag("use_sliding_window")? {
            0
        } else if qwen {
            layers.saturating_sub(self.size("max_window_layers")?.unwrap_or(28))
        } else {
            layers
        };
        match window {
            Some(window) if sliding == layers => Ok(Some(window)),
            Some(_) if sliding > 0 => Err(self.refuse(format!(
                "a sliding window in {sliding} of {layers} layers is not implemented (only in all or in none)"
            ))),
            _ => Ok(None),
        }
    }
}

/// YaRN's temperature where the file does not give it: `0.1 ln(factor) + 1`, or the ratio of two such.
pub(crate) fn yarn_attention_factor(factor: f64, mscales: Option<(f64, f64)>) -> f64 {
    let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
    match mscales {
        Some((mscale, all)) if mscale != 0.0 && all != 0.0 => scale(mscale) / scale(all),
        _ => scale(1.0),
    }
}

/// A token id, a list of them or nothing; the offending value otherwise.
pub(crate) fn token_ids(value: Option<&Value>) -> std::result::Result<Vec<u32>, Value> {
    let id =
        |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| value.clone());
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        // Some old files say -1 for "none".
        Some(Value::Number(number)) if number.as_i64() == Some(-1) => Ok(Vec::new()),
        Some(value) => Ok(vec![id(value)?]),
    }
}

/// The content of a `config.json` that [`parse`] and `transformers` read.
pub(crate) fn to_json(config: &ModelConfig, dtype: &str) -> Value {
    let architecture = config.architecture;
    let eos = match config.eos_token_ids.as_slice() {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    };
    let mut object = json!({
        "architectures": [architecture.class_name()],
        "model_type": architecture.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "hidden_act": match config.ffn_activation { FfnActivation::SwiGlu => "silu", FfnActivation::Gelu => "gelu" },
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "rope_scaling": rope_scaling(&config.rope.scaling),
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "sliding_window": config.sliding_window,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
        "pad_token_id": config.pad_token_id,
        "torch_dtype": dtype,
    });
    match architecture {
        Architecture::Wane => {
            object["attention_bias"] = json!(match config.attention_bias {
                AttentionBias::None => "none",
                AttentionBias::Qkv => "qkv",
                AttentionBias::All => "all",
            });
            object["qk_norm"] = json!(match config.qk_norm {
                QkNorm::None => "none",
                QkNorm::PerHead => "per_head",
                QkNorm::FullWidth => "full_width",
            });
            object["norm_placement"] = json!(match config.norm_placement {
                NormPlacement::Pre => "pre",
                NormPlacement::Post => "post",
            });
            object["output_gate"] = json!(config.output_gate);
            object["memory"] = config.memory.map_or(Value::Null, |memory| {
                json!({
                    "gate_bias": memory.gate_bias,
                    "state_dtype": match memory.state_dtype {
                        MemoryStateDtype::F32 => "float32",
                        MemoryStateDtype::BF16 => "bfloat16",
                    },
                })
            });
            object["auto_map"] = json!({
                "AutoConfig": "configuration_wane.WaneConfig",
                "AutoModelForCausalLM": "modeling_wane.WaneForCausalLM",
            });
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            object["use_sliding_window"] = json!(config.sliding_window.is_some());
            object["max_window_layers"] = json!(0);
            object["attention_bias"] = json!(config.attention_bias == AttentionBias::All);
        }
        _ => object["attention_bias"] = json!(config.attention_bias == AttentionBias::All),
    }
    object
}

fn rope_scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            attention_factor,
            truncate,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": beta_fast,
            "beta_slow": beta_slow,
            "original_max_position_embeddings": original_max_position_embeddings,
            "attention_factor": attention_factor,
            "truncate": truncate,
        }),
    }
}

//! [`ModelConfig`] from a GGUF file's metadata and the presence of its tensors.

use std::path::Path;

use super::header::{Header, Value};
use crate::config::hugging_face::yarn_attention_factor;
use crate::config::{
    Architecture, AttentionBias, FfnActivation, ModelConfig, NormPlacement, QkNorm, RopeConfig, RopeScaling,
};
use crate::rope::inverse_frequencies;
use crate::{Error, Result};

const ARCHITECTURES: [Architecture; 4] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3, Architecture::Olmo2];

/// Tokens that end an answer in some family, whatever the file calls its end token.
const END_TOKENS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>"];

struct Reader<'a> {
    header: &'a Header,
    architecture: Architecture,
    path: &'a Path,
}

pub(super) fn read(header: &Header, content: &[u8], path: &Path) -> Result<ModelConfig> {
    let name = header.metadata.get("general.architecture").and_then(Value::as_text).unwrap_or("(none)");
    let architecture =
        ARCHITECTURES.into_iter().find(|known| known.model_type() == name).ok_or_else(|| {
            let known = ARCHITECTURES.map(Architecture::model_type).join(", ");
            Error::unsupported(
                path,
                format!("architecture {name:?} is unknown in a GGUF file (known: {known})"),
            )
        })?;
    let reader = Reader { header, architecture, path };
    let config = reader.config(content)?;
    config.validate().map_err(|error| Error::format("GGUF", path, error))?;
    Ok(config)
}

impl Reader<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(&format!("{}.{key}", self.architecture.model_type()))
    }

    fn wrong(&self, problem: impl ToString) -> Error {
        Error::format("GGUF", self.path, problem)
    }

    fn refuse(&self, problem: impl ToString) -> Error {
        Error::unsupported(self.path, problem)
    }

    /// A size; an array counts if all layers agree.
    fn size(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let first = match value {
            Value::Array(values) if values.iter().all(|other| Some(other) == values.first()) => {
                values.first()
            }
            Value::Array(_) => return Err(self.refuse(format!("{key} differs between layers"))),
            value => Some(value),
        };
        first
            .and_then(Value::as_u64)
            .and_then(|size| usize::try_from(size).ok())
            .map(Some)
            .ok_or_else(|| self.wrong(format!("metadata {key} must be a whole number, got {value:?}")))
    }

    fn required(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.wrong(format!("metadata {key} is missing")))
    }

    fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key)
            .map(|value| {
                value
                    .as_f64()
                    .ok_or_else(|| self.wrong(format!("metadata {key} must be a number, got {value:?}")))
            })
            .transpose()
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.header.tensors.iter().any(|tensor| tensor.name == name)
    }

    fn config(&self, content: &[u8]) -> Result<ModelConfig> {
        if self.size("expert_count")?.unwrap_or(0) > 0 {
            return Err(self.refuse("mixtures of experts are not implemented"));
        }
        let hidden_size = self.required("embedding_length")?;
        let num_attention_heads = self.required("attention.head_count")?;
        let head_dim = match self.size("attention.key_length")? {
            Some(size) => size,
            None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        };
        for key in ["attention.value_length", "rope.dimension_count"] {
            if let Some(size) = self.size(key)?.filter(|&size| size != head_dim) {
                return Err(self
                    .refuse(format!("{key} {size} is not implemented (only the head's width {head_dim})")));
            }
        }
        let max_position_embeddings = self.required("context_length")?;
        if self.size("attention.sliding_window")?.is_some_and(|window| window < max_position_embeddings) {
            return Err(self.refuse("the file does not say which layers have its sliding window"));
        }
        let embedding = self.header.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
        let vocab_size = embedding.map(|tensor| tensor.shape[0]);
        let (qk_norm, norm_placement) = match self.architecture {
            Architecture::Olmo2 => (QkNorm::FullWidth, NormPlacement::Post),
            Architecture::Qwen3 => (QkNorm::PerHead, NormPlacement::Pre),
            _ => (QkNorm::None, NormPlacement::Pre),
        };
        let bias = match (self.has_tensor("blk.0.attn_q.bias"), self.has_tensor("blk.0.attn_output.bias")) {
            (false, _) => AttentionBias::None,
            (true, false) => AttentionBias::Qkv,
            (true, true) => AttentionBias::All,
        };
        Ok(ModelConfig {
            architecture: self.architecture,
            vocab_size: vocab_size
                .ok_or_else(|| Error::tensor("token_embd.weight", self.path, "it is missing"))?,
            hidden_size,
            intermediate_size: self.required("feed_forward_length")?,
            num_hidden_layers: self.required("block_count")?,
            num_attention_heads,
            num_key_value_heads: self.size("attention.head_count_kv")?.unwrap_or(num_attention_heads),
            head_dim,
            rms_norm_eps: self
                .number("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| self.wrong("metadata attention.layer_norm_rms_epsilon is missing"))?,
            rope: self.rope(head_dim, max_position_embeddings, content)?,
            max_position_embeddings,
            tie_word_embeddings: !self.has_tensor("output.weight"),
            ffn_activation: FfnActivation::SwiGlu,
            attention_bias: bias,
            qk_norm,
            norm_placement,
            output_gate: false,
            memory: None,
            sliding_window: None,
            bos_token_id: self.token_id("bos_token_id"),
            eos_token_ids: self.end_tokens(),
            pad_token_id: self.token_id("padding_token_id"),
        })
    }

    fn rope(&self, head_dim: usize, max_positions: usize, content: &[u8]) -> Result<RopeConfig> {
        let theta = self.number("rope.freq_base")?.unwrap_or(10_000.0);
        let original = self.size("rope.scaling.original_context_length")?.unwrap_or(max_positions);
        let factor = match self.number("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.number("rope.scale_linear")?.unwrap_or(1.0),
        };
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(self.wrong(format!("rope.scaling.factor must be at least 1, got {factor}")));
        }
        let kind = self.get("rope.scaling.type").and_then(Value::as_text);
        let scaling = match kind.unwrap_or(if factor == 1.0 { "none" } else { "linear" }) {
            "none" => RopeScaling::None,
            "linear" if factor == 1.0 => RopeScaling::None,
            "linear" => RopeScaling::Linear { factor },
            "yarn" => RopeScaling::Yarn {
                factor,
                beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                original_max_position_embeddings: original,
                attention_factor: yarn_attention_factor(factor, None)
                    * self.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
                truncate: true,
            },
            other => {
                let known = "known: none, linear, yarn";
                return Err(self.refuse(format!("rope scaling {other:?} is not implemented ({known})")));
            }
        };
        match self.rope_factors(content)? {
            None => Ok(RopeConfig { theta, scaling }),
            Some(factors) if scaling == RopeScaling::None => self.llama3(theta, head_dim, &factors),
            Some(_) => Err(self.refuse("rope_freqs.weight together with another rope scaling")),
        }
    }

    /// The divisors of Llama 3.1's frequencies, which the file holds instead of their parameters.
    fn rope_factors(&self, content: &[u8]) -> Result<Option<Vec<f64>>> {
        let Some(tensor) = self.header.tensors.iter().find(|tensor| tensor.name == "rope_freqs.weight")
        else {
            return Ok(None);
        };
        let end =
            tensor.shape.iter().product::<usize>().checked_mul(4).and_then(|n| n.checked_add(tensor.offset));
        let bytes = end.and_then(|end| content.get(tensor.offset..end)).filter(|_| tensor.kind == 0);
        let bytes = bytes.ok_or_else(|| {
            Error::tensor("rope_freqs.weight", self.path, "it is no F32 tensor in the file")
        })?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|&value| f64::from(f32::from_le_bytes(value))).collect()))
    }

    /// The parameters that give these divisors; only the published ones are tried.
    fn llama3(&self, theta: f64, head_dim: usize, factors: &[f64]) -> Result<RopeConfig> {
        let factor = factors.iter().copied().fold(1.0, f64::max);
        let rope = RopeConfig {
            theta,
            scaling: RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 8192,
            },
        };
        let base = inverse_frequencies(head_dim, &RopeConfig { theta, scaling: RopeScaling::None });
        let scaled = inverse_frequencies(head_dim, &rope);
        let close = |i: usize| (base[i] / scaled[i] / factors[i] - 1.0).abs() < 1e-4;
        if factors.len() == base.len() && (0..base.len()).all(close) {
            return Ok(rope);
        }
        if factors.len() == base.len() && factors.iter().all(|&factor| factor == 1.0) {
            return Ok(RopeConfig { theta, scaling: RopeScaling::None });
        }
        Err(self.refuse("the factors in rope_freqs.weight are not those of Llama 3.1"))
    }

    fn token_id(&self, key: &str) -> Option<u32> {
        let value = self.header.metadata.get(&format!("tokenizer.ggml.{key}"))?;
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    fn end_tokens(&self) -> Vec<u32> {
        let mut ids: Vec<u32> =
            ["eos_token_id", "eot_token_id"].into_iter().filter_map(|key| self.token_id(key)).collect();
        let tokens = |key: &str| self.header.metadata.get(key).and_then(Value::as_array).unwrap_or_default();
        let kinds = tokens("tokenizer.ggml.token_type");
        for (id, token) in tokens("tokenizer.ggml.tokens").iter().enumerate() {
            let control = kinds.get(id).and_then(Value::as_u64) == Some(3);
            if control && token.as_text().is_some_and(|text| END_TOKENS.contains(&text)) {
                ids.extend(u32::try_from(id));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        ids.retain(|&id| seen.insert(id));
        ids
    }
}

//! Official RAT+ checkpoints (arXiv 2602.18196): a zip archive with a pickle and raw storages.
//!
//! The state dict (under `task`, or the whole file) is mapped to canonical names. `in_proj` holds
//! the rows of o, q, k, v and, with memory, f; older files keep f apart in `fgate_proj`. Sizes that
//! the weights do not show (the number of heads) come from a JSON file.

mod archive;
mod pickle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::Checkpoint;
use super::source::{Bytes, SourceDtype, SourceTensor, assemble, map};
use crate::config::{Architecture, FfnActivation, MemoryConfig, MemoryStateDtype, ModelConfig};
use crate::{Error, Result};
use pickle::{Id, Node, Pickle};

type Tensors = BTreeMap<String, SourceTensor>;

pub(super) fn open(path: &Path, sizes: Option<&Path>) -> Result<Checkpoint> {
    let sizes = sizes.map(Sizes::read).transpose()?.unwrap_or_default();
    open_bytes(map(path)?, &sizes, path)
}

fn open_bytes(data: Bytes, sizes: &Sizes, path: &Path) -> Result<Checkpoint> {
    let state = state_dict(&data, path)?;
    let config = sizes.config(&state, path)?;
    let weights = assemble(&config, rename(state, &config, path)?, path)?;
    Ok(Checkpoint { config, weights, tokenizer: None, chat_template: None, path: path.to_owned() })
}

/// Parses a file's content, and the same bytes as a bare pickle, and throws the result away.
pub(super) fn check(content: &[u8]) -> std::result::Result<(), String> {
    let data: Bytes = std::sync::Arc::new(content.to_vec());
    let _ = pickle::parse(content);
    state_dict(&data, Path::new("fuzz.pth")).map(|_| ()).map_err(|error| error.to_string())
}

/// The tensors of the state dict, `_orig_mod.` dropped.
fn state_dict(data: &Bytes, path: &Path) -> Result<Tensors> {
    let wrong = |problem: String| Error::format("pth", path, problem);
    let content = (**data).as_ref();
    let members = archive::members(content).map_err(wrong)?;
    let (name, range) = members
        .iter()
        .find(|(name, _)| name.ends_with("/data.pkl"))
        .ok_or_else(|| wrong("the archive has no data.pkl".into()))?;
    let prefix = &name[..name.len() - "data.pkl".len()];
    if members
        .get(&format!("{prefix}byteorder"))
        .is_some_and(|range| content[range.clone()].starts_with(b"big"))
    {
        return Err(wrong("it is big-endian (only little-endian is read)".into()));
    }
    let pickle = pickle::parse(&content[range.clone()]).map_err(wrong)?;
    let state = pickle.get(pickle.root, "task").unwrap_or(pickle.root);

    let mut tensors = Tensors::new();
    for &(key, value) in pickle.items(state) {
        let (Node::Text(name), Node::Tensor { .. }) = (pickle.node(key), pickle.node(value)) else {
            continue;
        };
        let name = name.replace("_orig_mod.", "");
        let tensor = tensor(&pickle, value, &members, prefix, data)
            .map_err(|problem| Error::tensor(&name, path, problem))?;
        tensors.insert(name, tensor);
    }
    if tensors.is_empty() {
        return Err(wrong("it holds no state dict, neither under `task` nor as a whole".into()));
    }
    Ok(tensors)
}

fn tensor(
    pickle: &Pickle,
    id: Id,
    members: &BTreeMap<String, std::ops::Range<usize>>,
    prefix: &str,
    data: &Bytes,
) -> std::result::Result<SourceTensor, String> {
    let Node::Tensor { storage, offset, shape, strides } = pickle.node(id) else {
        return Err("it is no tensor".into());
    };
    let Node::Storage { class, key, elements } = pickle.node(*storage) else {
        return Err("it has no storage".into());
    };
    let dtype = match class.rsplit('.').next() {
        Some("FloatStorage") => SourceDtype::F32,
        Some("BFloat16Storage") => SourceDtype::BF16,
        Some("HalfStorage") => SourceDtype::F16,
        Some("DoubleStorage") => SourceDtype::F64,
        _ => return Err(format!("its type {class} is not read (known: float, bfloat16, half, double)")),
    };
    let mut expected = 1usize;
    for (&size, &stride) in shape.iter().zip(strides).rev() {
        if size != 1 && stride != expected {
            return Err(format!("it is not contiguous (shape {shape:?}, strides {strides:?})"));
        }
        expected = expected.checked_mul(size).ok_or("its shape is out of range")?;
    }
    if shape.len() != strides.len() || offset.checked_add(expected).is_none_or(|end| end > *elements) {
        return Err(format!("shape {shape:?} at {offset} goes beyond its storage of {elements} elements"));
    }
    let range = members.get(&format!("{prefix}data/{key}")).ok_or("its storage is not in the archive")?;
    let needed = dtype.bytes(*elements).ok_or("its storage is out of range")?;
    if range.len() < needed {
        return Err(format!("its storage has {} bytes, {needed} are needed", range.len()));
    }
    let start = dtype.bytes(*offset).ok_or("its place is out of range")?;
    SourceTensor::new(dtype, shape.clone(), data.clone(), range.start + start)
}

/// What a file may leave open.
#[derive(Debug, Default)]
struct Sizes {
    values: serde_json::Map<String, Value>,
    path: std::path::PathBuf,
}

impl Sizes {
    const KEYS: [&'static str; 7] = [
        "d_model",
        "num_heads",
        "num_layers",
        "vocab_size",
        "ffn_activation",
        "memory",
        "max_position_embeddings",
    ];

    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let values: serde_json::Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| Error::format("JSON", path, error))?;
        if let Some(key) = values.keys().find(|key| !Self::KEYS.contains(&key.as_str())) {
            let known = Self::KEYS.join(", ");
            return Err(Error::format("JSON", path, format!("key {key:?} is unknown (known: {known})")));
        }
        Ok(Self { values, path: path.to_owned() })
    }

    /// The size under `key`, which must agree with what the weights show.
    fn size(&self, key: &str, shown: Option<usize>) -> Result<Option<usize>> {
        let wrong = |problem: String| Error::format("JSON", &self.path, problem);
        let given = match self.values.get(key) {
            None | Some(Value::Null) => return Ok(shown),
            Some(value) => value
                .as_u64()
                .and_then(|size| usize::try_from(size).ok())
                .ok_or_else(|| wrong(format!("{key} must be a whole number, got {value}")))?,
        };
        match shown {
            Some(shown) if shown != given => {
                Err(wrong(format!("{key} is {given}, but the weights have {shown}")))
            }
            _ => Ok(Some(given)),
        }
    }

    fn config(&self, state: &Tensors, path: &Path) -> Result<ModelConfig> {
        let shape = |name: &str| -> Result<[usize; 2]> {
            let tensor =
                state.get(name).ok_or_else(|| Error::tensor(name, path, "it is missing from the file"))?;
            <[usize; 2]>::try_from(tensor.shape.as_slice()).map_err(|_| {
                Error::tensor(name, path, format!("a matrix was expected, got {:?}", tensor.shape))
            })
        };
        let [vocab, width] = shape("embedding.wte.weight")?;
        let [rows, _] = shape("backbone.layers.0.seq_layer.in_proj.weight")?;
        let [fc1, _] = shape("backbone.layers.0.hidden_layer.fc1.weight")?;
        let [_, ffn] = shape("backbone.layers.0.hidden_layer.fc2.weight")?;
        let layers = (0..)
            .take_while(|i| state.contains_key(&format!("backbone.layers.{i}.seq_layer.in_proj.weight")));
        let layers = layers.count();

        let gate = state.contains_key("backbone.layers.0.seq_layer.fgate_proj.weight");
        let memory = rows == 5 * width || gate;
        if let Some(asked) =
            self.values.get("memory").and_then(Value::as_bool).filter(|asked| *asked != memory)
        {
            let problem = format!("memory is {asked}, but in_proj has {rows} rows at width {width}");
            return Err(Error::format("JSON", &self.path, problem));
        }
        let shown = if fc1 == 2 * ffn { "swiglu" } else { "gelu" };
        let activation = self.values.get("ffn_activation").and_then(Value::as_str).unwrap_or(shown);
        let ffn_activation = match activation {
            "gelu" => FfnActivation::Gelu,
            "swiglu" => FfnActivation::SwiGlu,
            other => {
                let problem = format!("ffn_activation {other:?} is not implemented (known: gelu, swiglu)");
                return Err(Error::unsupported(path, problem));
            }
        };
        let heads = self.size("num_heads", None)?.ok_or_else(|| {
            Error::Invalid(format!(
                "{} does not say how many heads it has: give a JSON file with num_heads through --config",
                path.display()
            ))
        })?;
        self.size("d_model", Some(width))?;
        if heads == 0 || !width.is_multiple_of(heads) {
            let problem = format!("num_heads {heads} of --config does not divide its width {width}");
            return Err(Error::format("pth", path, problem));
        }
        let config = ModelConfig {
            architecture: Architecture::Wane,
            vocab_size: self.size("vocab_size", Some(vocab))?.unwrap_or(vocab),
            hidden_size: width,
            intermediate_size: ffn,
            num_hidden_layers: self.size("num_layers", Some(layers))?.unwrap_or(layers),
            num_attention_heads: heads,
            num_key_value_heads: heads,
            head_dim: width / heads,
            max_position_embeddings: self.size("max_position_embeddings", None)?.unwrap_or(4096),
            tie_word_embeddings: tied(state),
            ffn_activation,
            output_gate: true,
            memory: memory.then_some(MemoryConfig { gate_bias: false, state_dtype: MemoryStateDtype::F32 }),
            ..ModelConfig::llama()
        };
        config.validate().map_err(|error| Error::format("pth", path, error))?;
        Ok(config)
    }
}

/// Whether the head is the embedding: the same bytes of the file.
fn tied(state: &Tensors) -> bool {
    match (state.get("embedding.wte.weight"), state.get("head.lm_head.weight")) {
        (Some(embedding), Some(head)) => embedding.offset == head.offset,
        (_, head) => head.is_none(),
    }
}

/// From the official names to the canonical ones, fused matrices taken apart.
fn rename(state: Tensors, config: &ModelConfig, path: &Path) -> Result<Tensors> {
    let mut renamed = Tensors::new();
    for (name, tensor) in state {
        let mut put = |to: String, tensor: SourceTensor| renamed.insert(to, tensor);
        let plain = match name.as_str() {
            "embedding.wte.weight" => "model.embed_tokens.weight",
            "backbone.ln.weight" => "model.norm.weight",
            "head.lm_head.weight" => "lm_head.weight",
            _ => "",
        };
        if !plain.is_empty() {
            put(plain.to_owned(), tensor);
            continue;
        }
        let parts = name.strip_prefix("backbone.layers.").and_then(|rest| rest.split_once('.'));
        let Some((layer, part)) = parts.filter(|(layer, _)| layer.parse::<usize>().is_ok()) else {
            return Err(Error::tensor(&name, path, "this tensor is unknown in a RAT+ model"));
        };
        let to = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let mut split = |names: &[&str], width: usize| -> Result<()> {
            for (i, part) in names.iter().enumerate() {
                let rows = tensor.rows(i * width, (i + 1) * width);
                put(to(part), rows.map_err(|problem| Error::tensor(&name, path, problem))?);
            }
            match tensor.shape.first() {
                Some(&rows) if rows == names.len() * width => Ok(()),
                rows => Err(Error::tensor(
                    &name,
                    path,
                    format!("{} rows were expected, got {rows:?}", names.len() * width),
                )),
            }
        };
        match part {
            "seq_layer.in_proj.weight" => {
                let parts = ["output_gate", "q_proj", "k_proj", "v_proj", "memory_gate"]
                    .map(|p| format!("self_attn.{p}"));
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let fused = tensor.shape.first() == Some(&(5 * config.hidden_size));
                split(&parts[..if fused { 5 } else { 4 }], config.hidden_size)?;
            }
            "seq_layer.fgate_proj.weight" => drop(put(to("self_attn.memory_gate"), tensor)),
            "seq_layer.input_norm.weight" => drop(put(to("input_layernorm"), tensor)),
            "seq_layer.out_proj.weight" => drop(put(to("self_attn.o_proj"), tensor)),
            "hidden_layer.ln.weight" => drop(put(to("post_attention_layernorm"), tensor)),
            "hidden_layer.fc1.weight" if config.ffn_activation == FfnActivation::SwiGlu => {
                // The official SwiGLU puts the gate second.
                split(&["mlp.up_proj", "mlp.gate_proj"], config.intermediate_size)?;
            }
            "hidden_layer.fc1.weight" => drop(put(to("mlp.fc1"), tensor)),
            "hidden_layer.fc2.weight" if config.ffn_activation == FfnActivation::SwiGlu => {
                drop(put(to("mlp.down_proj"), tensor));
            }
            "hidden_layer.fc2.weight" => drop(put(to("mlp.fc2"), tensor)),
            _ => return Err(Error::tensor(&name, path, "this tensor is unknown in a RAT+ model")),
        }
    }
    Ok(renamed)
}

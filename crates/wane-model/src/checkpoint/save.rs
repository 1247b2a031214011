//! Writing a model as a Hugging Face directory.
//!
//! `model.safetensors` is written under a temporary name and renamed, so that a crash or a full
//! disk never leaves half a file under the final name. Tensors are streamed: nothing but the one
//! being converted is held in memory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use half::bf16;
use serde_json::{Map, Value, json};
use wane_kernels::{DType, Device, Tensor, Weight, ops};

use crate::chat::ChatTemplate;
use crate::config::{Architecture, ModelConfig};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Element type of saved weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveDtype {
    /// 32-bit floats.
    F32,
    /// bfloat16, rounded to nearest even.
    BF16,
}

impl SaveDtype {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::BF16 => 2,
        }
    }
}

/// Writes the model to `directory` (made if absent): `config.json`, `model.safetensors` and, where
/// given, the tokenizer's files. Models that only wane knows get the Python files with which
/// `transformers` runs them (`trust_remote_code`).
///
/// # Errors
/// A file cannot be written. Quantized weights are written as the numbers they stand for.
pub fn save(
    directory: &Path,
    config: &ModelConfig,
    weights: &BTreeMap<String, Weight>,
    dtype: SaveDtype,
    text: (Option<&Tokenizer>, Option<&ChatTemplate>),
) -> Result<()> {
    let config = &ModelConfig { architecture: config.saved_architecture(), ..config.clone() };
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    write_weights(&directory.join("model.safetensors"), weights, dtype)?;
    let name = match dtype {
        SaveDtype::F32 => "float32",
        SaveDtype::BF16 => "bfloat16",
    };
    if config.architecture == Architecture::Wane {
        write(&directory.join("configuration_wane.py"), include_str!("configuration_wane.py").as_bytes())?;
        write(&directory.join("modeling_wane.py"), include_str!("modeling_wane.py").as_bytes())?;
    }
    if let Some(tokenizer) = text.0 {
        write(&directory.join("tokenizer.json"), tokenizer.to_json()?.as_bytes())?;
        write_json(&directory.join("tokenizer_config.json"), &tokenizer_config(config, tokenizer, text.1))?;
    }
    let settings = config.to_json(name);
    let tokens: Map<String, Value> = ["bos_token_id", "eos_token_id", "pad_token_id"]
        .into_iter()
        .map(|key| (key.to_owned(), settings[key].clone()))
        .collect();
    write_json(&directory.join("generation_config.json"), &Value::Object(tokens))?;
    // The last: a directory without it is no model.
    write_json(&directory.join("config.json"), &settings)
}

fn tokenizer_config(config: &ModelConfig, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Value {
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let mut object = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "model_max_length": config.max_position_embeddings,
        "bos_token": template.and_then(|t| t.bos_token.clone()).or_else(|| token(config.bos_token_id)),
        "eos_token": template.and_then(|t| t.eos_token.clone()).or_else(|| token(config.eos_token_ids.first().copied())),
        "pad_token": token(config.pad_token_id),
    });
    if let Some(template) = template {
        object["chat_template"] = json!(template.source);
    }
    object
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write(path, format!("{value:#}\n").as_bytes())
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    write_atomically(path, |file| file.write_all(content))
}

/// Removes what [`write_atomically`] has begun in a directory in this process and not finished, for a process that
/// ends now: nobody else would. What cannot be removed stays.
pub fn remove_unfinished(directory: &Path) {
    let ending = partial_ending();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with(&ending) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The ending of this process's temporary files.
fn partial_ending() -> String {
    format!(".{}.partial", std::process::id())
}

/// Fills a temporary file beside `path`, syncs it and renames it, so that `path` is never half a file. What is no
/// regular file (a pipe, a device) is written in place: renaming would replace it.
///
/// # Errors
/// The file cannot be written; nothing is left then.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let written = File::options().write(true).open(path).and_then(|file| {
            let mut file = BufWriter::new(file);
            fill(&mut file)?;
            file.flush()
        });
        return written.map_err(Error::io("write", path));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(partial_ending());
    let partial = path.with_file_name(name);
    let result = File::create(&partial).and_then(|file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        fill(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&partial, path)
    });
    result.map_err(|cause| {
        let _ = fs::remove_file(&partial);
        Error::io("write", path)(cause)
    })
}

/// One safetensors file with `weights` in the order of their names.
pub(crate) fn write_weights(path: &Path, weights: &BTreeMap<String, Weight>, dtype: SaveDtype) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut end = 0usize;
    for (name, weight) in weights {
        let shape = match weight {
            Weight::Dense(tensor) => tensor.shape().to_vec(),
            Weight::Quantized(matrix) => vec![matrix.rows, matrix.columns],
        };
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bytes();
        let label = if dtype == SaveDtype::F32 { "F32" } else { "BF16" };
        header.insert(name.clone(), json!({ "dtype": label, "shape": shape, "data_offsets": [start, end] }));
    }
    let mut header = Value::Object(header).to_string();
    // Spaces up to a multiple of 8 keep the data aligned, so that it can be mapped.
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    let mut failed = None;
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for weight in weights.values() {
            match encode(weight, dtype) {
                Ok(bytes) => file.write_all(&bytes)?,
                Err(error) => {
                    failed = Some(error);
                    return Err(std::io::Error::other("a weight could not be read"));
                }
            }
        }
        Ok(())
    })
    .map_err(|error| failed.unwrap_or(error))
}

fn encode(weight: &Weight, dtype: SaveDtype) -> Result<Vec<u8>> {
    let values = match weight {
        Weight::Dense(tensor) => match (tensor.dtype(), dtype) {
            (DType::F32, SaveDtype::F32) | (DType::BF16, SaveDtype::BF16) => return Ok(tensor.to_bytes()?),
            _ => tensor.to_f32_vec()?,
        },
        Weight::Quantized(matrix) => {
            // Looking up all rows is what decodes a quantized matrix.
            let rows = i32::try_from(matrix.rows)
                .map_err(|_| Error::Invalid(format!("a matrix of {} rows is out of range", matrix.rows)))?;
            let ids = Tensor::from_i32(&(0..rows).collect::<Vec<_>>(), &[matrix.rows], &Device::Cpu)?;
            ops::embedding::embedding(&ids, weight, DType::F32)?.to_f32_vec()?
        }
    };
    Ok(match dtype {
        SaveDtype::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        SaveDtype::BF16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
    })
}

//! A Hugging Face model directory or cache snapshot: `config.json`, safetensors (one file, or
//! shards with their index), and optionally `generation_config.json`, `tokenizer.json`,
//! `tokenizer_config.json` and `chat_template.jinja`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::Checkpoint;
use super::source::{SourceDtype, SourceTensor, assemble, map};
use crate::chat::ChatTemplate;
use crate::config::ModelConfig;
use crate::config::hugging_face::token_ids;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

pub(super) fn open(directory: &Path) -> Result<Checkpoint> {
    let path = directory.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let mut config = ModelConfig::from_json(&text, &path)?;
    generation_config(directory, &mut config)?;

    let weights = assemble(&config, read_weights(directory)?, directory)?;
    let tokenizer_file = directory.join("tokenizer.json");
    let tokenizer = tokenizer_file.is_file().then(|| Tokenizer::from_file(&tokenizer_file)).transpose()?;
    let chat_template = chat_template(directory)?;
    Ok(Checkpoint { config, weights, tokenizer, chat_template, path: directory.to_owned() })
}

/// Tensors of all safetensors files of a directory by the names in the files.
fn read_weights(directory: &Path) -> Result<BTreeMap<String, SourceTensor>> {
    let index = directory.join("model.safetensors.index.json");
    let single = directory.join("model.safetensors");
    if single.is_file() || !index.is_file() {
        return read_safetensors(&single);
    }
    let content = read_json(&index)?.unwrap_or_default();
    let places = content["weight_map"].as_object().ok_or_else(|| {
        Error::format("safetensors index", &index, "weight_map must be an object of tensor and file names")
    })?;
    let mut files = BTreeSet::new();
    for (name, file) in places {
        // A file beside the index: no path that leads elsewhere.
        let file = file.as_str().filter(|file| Path::new(file).file_name() == Some(file.as_ref()));
        files.insert(file.ok_or_else(|| {
            Error::format("safetensors index", &index, format!("the file of {name} must be a file name"))
        })?);
    }
    let mut tensors = BTreeMap::new();
    for file in files {
        tensors.extend(read_safetensors(&directory.join(file))?);
    }
    match places.keys().find(|name| !tensors.contains_key(*name)) {
        Some(name) => Err(Error::tensor(name, directory, "the index lists it, no file holds it")),
        None => Ok(tensors),
    }
}

/// Tensors of one file.
pub(super) fn read_safetensors(path: &Path) -> Result<BTreeMap<String, SourceTensor>> {
    parse_safetensors(map(path)?, path)
}

/// Tensors of the content of a file. Types that no weight has (integers) are errors.
pub(super) fn parse_safetensors(
    data: super::source::Bytes,
    path: &Path,
) -> Result<BTreeMap<String, SourceTensor>> {
    let content = (*data).as_ref();
    let (header, metadata) =
        SafeTensors::read_metadata(content).map_err(|error| Error::format("safetensors", path, error))?;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            Dtype::F64 => SourceDtype::F64,
            Dtype::F32 => SourceDtype::F32,
            Dtype::F16 => SourceDtype::F16,
            Dtype::BF16 => SourceDtype::BF16,
            other => {
                let problem = format!("type {other:?} is not read (known: F64, F32, F16, BF16)");
                return Err(Error::tensor(&name, path, problem));
            }
        };
        // The header is 8 bytes of length and the text.
        let offset = header + 8 + info.data_offsets.0;
        let tensor = SourceTensor::new(dtype, info.shape.clone(), data.clone(), offset)
            .map_err(|problem| Error::tensor(&name, path, problem))?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A JSON file, `None` if there is no such file.
fn read_json(path: &Path) -> Result<Option<Value>> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| Error::format("JSON", path, error))
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::io("read", path)(cause)),
    }
}

/// What `generation_config.json` says about tokens replaces what `config.json` says.
fn generation_config(directory: &Path, config: &mut ModelConfig) -> Result<()> {
    let path = directory.join("generation_config.json");
    let Some(value) = read_json(&path)? else { return Ok(()) };
    let ids = |key: &str| {
        token_ids(value.get(key)).map_err(|got| {
            Error::format("JSON", &path, format!("{key} must be a token id or a list, got {got}"))
        })
    };
    let eos = ids("eos_token_id")?;
    if !eos.is_empty() {
        config.eos_token_ids = eos;
    }
    config.bos_token_id = ids("bos_token_id")?.first().copied().or(config.bos_token_id);
    config.pad_token_id = ids("pad_token_id")?.first().copied().or(config.pad_token_id);
    Ok(())
}

/// The template of `chat_template.jinja` or `tokenizer_config.json`, if there is one.
pub(super) fn chat_template(directory: &Path) -> Result<Option<ChatTemplate>> {
    let settings = read_json(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
    let jinja = directory.join("chat_template.jinja");
    let source = if jinja.is_file() {
        Some(std::fs::read_to_string(&jinja).map_err(Error::io("read", &jinja))?)
    } else {
        match &settings["chat_template"] {
            Value::String(source) => Some(source.clone()),
            // Several by name: the one called "default".
            Value::Array(list) => list
                .iter()
                .find(|entry| entry["name"] == "default")
                .and_then(|entry| entry["template"].as_str())
                .map(str::to_owned),
            _ => None,
        }
    };
    // Either the text or an object that describes the token.
    let token = |key: &str| match &settings[key] {
        Value::String(text) => Some(text.clone()),
        object => object["content"].as_str().map(str::to_owned),
    };
    Ok(source.map(|source| ChatTemplate {
        source,
        bos_token: token("bos_token"),
        eos_token: token("eos_token"),
    }))
}

//! The files of a checkpoint that hold numbers: the model in the Hugging Face layout and the optimizer's
//! `master.NAME`, `exp_avg.NAME`, `exp_avg_sq.NAME` (f32) under canonical parameter names, so that a run saved
//! on one device goes on on another.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};
use wane_kernels::ops::adamw::AdamwState;
use wane_kernels::{DType, Device, Tensor, Weight};
use wane_model::checkpoint::{SaveDtype, save};
use wane_model::decoder::Decoder;

use crate::optimizer::Optimizer;
use crate::{Error, Result};

const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the model and its tokenizer's files.
///
/// # Errors
/// A file cannot be written.
pub fn write_model(folder: &Path, decoder: &Decoder, tokenizer_folder: Option<&Path>) -> Result<()> {
    let dtype = if decoder.device().is_cpu() { SaveDtype::F32 } else { SaveDtype::BF16 };
    let mut weights = std::collections::BTreeMap::new();
    for (name, weight) in decoder.state_dict()? {
        weights.insert(name, Weight::Dense(weight.dense()?.to_device(&Device::Cpu)?));
    }
    save(folder, decoder.config(), &weights, dtype, (None, None))?;
    // Byte by byte: the tokenizer's hash names it.
    for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]
    {
        if let Some(from) = tokenizer_folder.map(|f| f.join(file)).filter(|f| f.is_file()) {
            fs::copy(&from, folder.join(file)).map_err(Error::io(&from))?;
        }
    }
    Ok(())
}

/// Writes the optimizer's state.
///
/// # Errors
/// The file cannot be written.
pub fn write_optimizer(folder: &Path, decoder: &Decoder, optimizer: &Optimizer) -> Result<()> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (parameter, state) in decoder.parameters().iter().zip(optimizer.states()) {
        for (prefix, tensor) in parts(state) {
            for (name, piece) in parameter.split(tensor)? {
                tensors.push((format!("{prefix}.{name}"), piece.shape().to_vec(), piece.to_bytes()?));
            }
        }
    }
    let path = folder.join(OPTIMIZER);
    let failed = |e: SafeTensorError| {
        Error::io(&path)(match e {
            // Its kind says whether the disk is full.
            SafeTensorError::IoError(e) => e,
            other => std::io::Error::other(other.to_string()),
        })
    };
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    safetensors::serialize_to_file(views, None, &path).map_err(failed)
}

/// Reads the optimizer's state for `decoder`.
///
/// # Errors
/// The file is missing or damaged, or belongs to a model of other shapes.
pub fn read_optimizer(folder: &Path, decoder: &Decoder, optimizer: &Optimizer) -> Result<Vec<AdamwState>> {
    let path = folder.join(OPTIMIZER);
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|e| Error::checkpoint(folder, format!("{OPTIMIZER}: {e}")))?;
    let mut by_name: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let mut states = Vec::new();
    for (parameter, state) in decoder.parameters().iter().zip(optimizer.states()) {
        let mut read = Vec::new();
        for (prefix, like) in parts(state) {
            let mut all = Vec::with_capacity(like.num_bytes());
            for (name, piece) in parameter.split(like)? {
                let name = format!("{prefix}.{name}");
                let view = by_name
                    .remove(&name)
                    .ok_or_else(|| Error::checkpoint(folder, format!("{OPTIMIZER} has no {name}")))?;
                if view.shape() != piece.shape() || view.dtype() != Dtype::F32 {
                    return Err(Error::checkpoint(
                        folder,
                        format!("{name} has shape {:?}, the model needs {:?}", view.shape(), piece.shape()),
                    ));
                }
                all.extend_from_slice(view.data());
            }
            read.push(Tensor::from_bytes(&all, like.shape(), DType::F32, like.device())?);
        }
        let mut read = read.into_iter();
        if let (Some(master), Some(m), Some(v)) = (read.next(), read.next(), read.next()) {
            states.push(AdamwState { master, m, v });
        }
    }
    if let Some(name) = by_name.keys().min() {
        return Err(Error::checkpoint(
            folder,
            format!("{OPTIMIZER} holds {name}, which the model does not have"),
        ));
    }
    Ok(states)
}

fn parts(state: &AdamwState) -> [(&'static str, &Tensor); 3] {
    [("master", &state.master), ("exp_avg", &state.m), ("exp_avg_sq", &state.v)]
}

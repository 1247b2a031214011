//! Tensors of a GGUF file under canonical names.
//!
//! Files of the llama architecture hold the rows of q and k in the order of interleaved rotary
//! pairs: row `2i + p` of a head is row `p * head_dim/2 + i` in the half-rotation layout that we
//! (and the original checkpoints) use. Rows are moved back here, whole and still encoded, since a
//! quantized block never crosses a row.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wane_kernels::QuantKind;

use super::super::source::{Bytes, SourceDtype, SourceTensor};
use super::header::Header;
use crate::config::{Architecture, ModelConfig};
use crate::{Error, Result};

pub(super) fn read(
    header: &Header,
    config: &ModelConfig,
    data: &Bytes,
    path: &Path,
) -> Result<BTreeMap<String, SourceTensor>> {
    let mut tensors = BTreeMap::new();
    for info in header.tensors.iter().filter(|info| info.name != "rope_freqs.weight") {
        let name = canonical_name(&info.name).ok_or_else(|| {
            Error::tensor(&info.name, path, "this tensor is unknown in the model's architecture")
        })?;
        let dtype = dtype(info.kind).map_err(|problem| Error::tensor(&info.name, path, problem))?;
        let mut tensor = SourceTensor::new(dtype, info.shape.clone(), data.clone(), info.offset)
            .map_err(|problem| Error::tensor(&info.name, path, problem))?;
        if config.architecture == Architecture::Llama {
            let heads = if name.contains("self_attn.q_proj") {
                Some(config.num_attention_heads)
            } else if name.contains("self_attn.k_proj") {
                Some(config.num_key_value_heads)
            } else {
                None
            };
            if let Some(heads) = heads {
                tensor = half_rotation_rows(&tensor, heads).ok_or_else(|| {
                    Error::tensor(&info.name, path, format!("its rows are no {heads} heads"))
                })?;
            }
        }
        if tensors.insert(name, tensor).is_some() {
            return Err(Error::tensor(&info.name, path, "it comes twice"));
        }
    }
    Ok(tensors)
}

fn canonical_name(name: &str) -> Option<String> {
    let known = match name {
        "token_embd.weight" => "model.embed_tokens.weight",
        "output_norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => "",
    };
    if !known.is_empty() {
        return Some(known.to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (part, kind) = rest.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
    let part = match part {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "ffn_norm" | "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

fn dtype(kind: u32) -> std::result::Result<SourceDtype, String> {
    let name = match kind {
        0 => return Ok(SourceDtype::F32),
        1 => return Ok(SourceDtype::F16),
        2 => return Ok(SourceDtype::Quantized(QuantKind::Q4_0)),
        3 => return Ok(SourceDtype::Quantized(QuantKind::Q4_1)),
        8 => return Ok(SourceDtype::Quantized(QuantKind::Q8_0)),
        12 => return Ok(SourceDtype::Quantized(QuantKind::Q4K)),
        14 => return Ok(SourceDtype::Quantized(QuantKind::Q6K)),
        28 => return Ok(SourceDtype::F64),
        30 => return Ok(SourceDtype::BF16),
        6 => "Q5_0",
        7 => "Q5_1",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        13 => "Q5_K",
        15 => "Q8_K",
        16..=23 | 29 => "IQ (codebook)",
        24..=27 => "integer",
        34 | 35 => "ternary",
        other => return Err(format!("its type {other} is unknown")),
    };
    Err(format!("its type {name} is not read (known: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q6_K)"))
}

/// Moves the rows of each head from interleaved to half-rotation order.
fn half_rotation_rows(tensor: &SourceTensor, heads: usize) -> Option<SourceTensor> {
    let rows = *tensor.shape.first()?;
    let head_dim = rows.checked_div(heads).filter(|size| size * heads == rows && size.is_multiple_of(2))?;
    let columns: usize = tensor.shape[1..].iter().product();
    let row_bytes = tensor.dtype.bytes(columns)?;
    let source = &(*tensor.data).as_ref()[tensor.offset..][..rows * row_bytes];
    let mut moved = vec![0; source.len()];
    for (to, row) in moved.chunks_exact_mut(row_bytes.max(1)).enumerate() {
        let (head, within) = (to / head_dim, to % head_dim);
        let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
        let from = head * head_dim + 2 * pair + half;
        row.copy_from_slice(&source[from * row_bytes..][..row_bytes]);
    }
    SourceTensor::new(tensor.dtype, tensor.shape.clone(), Arc::new(moved), 0).ok()
}

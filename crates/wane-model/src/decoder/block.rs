//! One block forward. Training and generation differ only in who attends ([`Attending`]) and in
//! whether intermediate results are kept ([`Saved`]).
//!
//! n rows (batch * tokens), h query heads, g KV heads, d head_dim, w = g * d, f FFN width.

use wane_attention::{Chunk, DecodeBatch, Outputs, Qkv, SequenceCache};
use wane_kernels::ops::activation::{add, gelu, sigmoid_gate, swiglu};
use wane_kernels::ops::attention::{Attended, AttentionDims, Pattern, attention, attention_documents};
use wane_kernels::ops::columns::contiguous;
use wane_kernels::ops::decay_scan::{ScanDims, Scanned, scan, scan_documents};
use wane_kernels::ops::linear::{linear, linear_into, linear_residual};
use wane_kernels::ops::rms_norm::rms_norm;
use wane_kernels::ops::rope::rope;
use wane_kernels::{DType, Documents, Tensor};

use super::parameters::LayerIndices;
use super::{Decoder, Isolation};
use crate::Result;
use crate::config::{FfnActivation, NormPlacement};

/// Whole sequences, how they attend and what their documents share.
#[derive(Clone, Copy)]
pub(super) struct Whole<'a> {
    pub(super) dims: ScanDims,
    pub(super) pattern: Pattern,
    pub(super) isolation: &'a Isolation,
}

/// Who attends, and where the memory's state lives.
pub(super) enum Attending<'a> {
    /// Whole sequences at once, nothing cached: training and plain logits.
    Whole(Whole<'a>),
    /// A chunk of one sequence's prompt.
    Prefill { cache: &'a mut SequenceCache, chunk: Chunk, outputs: Outputs },
    /// One token of every sequence.
    Decode { batch: &'a mut DecodeBatch },
}

impl Attending<'_> {
    fn scan_dims(&self, rows: usize) -> ScanDims {
        match self {
            Self::Whole(whole) => whole.dims,
            Self::Prefill { .. } => ScanDims { batch: 1, tokens: rows },
            Self::Decode { .. } => ScanDims { batch: rows, tokens: 1 },
        }
    }

    /// First of `rows` rows that a block goes on with after attention.
    fn first_kept(&self, rows: usize) -> usize {
        match self {
            Self::Prefill { outputs: Outputs::LastRow, .. } => rows - 1,
            _ => 0,
        }
    }

    fn memory_state(&self, layer: usize) -> Option<Tensor> {
        match self {
            Self::Whole(_) => None,
            Self::Prefill { cache, .. } => cache.memory_state(layer).cloned(),
            Self::Decode { batch } => batch.memory_state(layer).cloned(),
        }
    }

    /// Documents at whose start the memory is empty, if it is to be.
    fn reset_at(&self) -> Option<&Documents> {
        match self {
            Self::Whole(whole) => whole.isolation.memory.as_deref(),
            _ => None,
        }
    }

    fn set_memory_state(&mut self, layer: usize, state: Tensor) {
        match self {
            Self::Whole(_) => {}
            Self::Prefill { cache, .. } => cache.set_memory_state(layer, state),
            Self::Decode { batch } => batch.set_memory_state(layer, state),
        }
    }
}

/// Keys and values with memory, before RoPE [n, w].
#[derive(Debug)]
pub(super) struct Remembered {
    pub(super) keys: Tensor,
    pub(super) values: Tensor,
}

/// What the backward pass of one block needs.
#[derive(Debug)]
pub(super) struct Saved {
    /// Input of the block [n, hidden].
    pub(super) x: Tensor,
    /// Input of the projection: normalized `x`, or `x` itself (post-norm).
    pub(super) projection_input: Tensor,
    /// [n, columns]: `[o q k v f]`.
    pub(super) projected: Tensor,
    /// Normalized keys before the memory, if keys are normalized [n, w].
    pub(super) normed_keys: Option<Tensor>,
    /// Rotated queries [n, h * d].
    pub(super) q: Tensor,
    /// Keys and values with memory, before RoPE.
    pub(super) scanned: Option<Remembered>,
    /// Rotated keys [n, w].
    pub(super) k: Tensor,
    /// Values as attended [n, w].
    pub(super) v: Tensor,
    pub(super) attended: Attended,
    /// Input of the output projection [n, h * d].
    pub(super) gated: Tensor,
    /// Output of the output projection before its norm (post-norm only).
    pub(super) attention_out: Option<Tensor>,
    /// What the FFN's half needs, which is used first.
    pub(super) ffn: Option<SavedFfn>,
}

/// What the backward pass of a block's FFN needs.
#[derive(Debug)]
pub(super) struct SavedFfn {
    /// After attention [n, hidden].
    pub(super) middle: Tensor,
    /// Input of the FFN: normalized `middle`, or `middle` itself.
    pub(super) ffn_input: Tensor,
    /// [n, 2 f] (`[gate | up]`) or [n, f].
    pub(super) up: Tensor,
    /// [n, f].
    pub(super) activated: Tensor,
    /// Output of the FFN before its norm (post-norm only).
    pub(super) ffn_out: Option<Tensor>,
}

impl Decoder {
    /// Runs block `layer` on `x` [n, hidden] at `positions` (I32 [n]).
    pub(super) fn block_forward(
        &self,
        layer: usize,
        x: &Tensor,
        positions: &Tensor,
        attending: &mut Attending<'_>,
        save: Option<&mut Option<Saved>>,
    ) -> Result<Tensor> {
        let indices = &self.layers[layer];
        let pre = self.config.norm_placement == NormPlacement::Pre;
        let eps = self.config.rms_norm_eps as f32;
        let norm =
            |x: &Tensor, index: usize| -> Result<Tensor> { Ok(rms_norm(x.into(), self.dense(index)?, eps)?) };

        let projection_input = if pre { norm(x, indices.attention_norm)? } else { x.clone() };
        let projected = self.project(indices, &projection_input)?;
        let heads = self.attend(layer, &projected, positions, attending)?;
        let (x, projected) = match attending.first_kept(x.rows()) {
            0 => (x.clone(), projected),
            first => (x.slice(first, x.rows())?, projected.slice(first, x.rows())?),
        };
        let gated = if self.config.output_gate {
            let gate = projected.cols(indices.columns.output_gate, self.config.q_width());
            sigmoid_gate(&heads.attended.output, gate)?
        } else {
            heads.attended.output.clone()
        };
        let (middle, attention_out) = self.output(indices, &x, &gated, pre)?;

        let ffn_input = if pre { norm(&middle, indices.ffn_norm)? } else { middle.clone() };
        let up = self.ffn_up(indices, &ffn_input)?;
        let activated = match self.config.ffn_activation {
            FfnActivation::SwiGlu => swiglu(&up)?,
            FfnActivation::Gelu => gelu(&up)?,
        };
        let down = self.weight(indices.down);
        let (out, ffn_out) = if pre {
            (linear_residual(&activated, down, &middle)?, None)
        } else {
            let ffn_out = linear(&activated, down, None)?;
            (add(&middle, &norm(&ffn_out, indices.ffn_norm)?)?, Some(ffn_out))
        };
        if let Some(slot) = save {
            *slot = Some(Saved {
                x,
                projection_input,
                projected,
                normed_keys: heads.normed_keys,
                q: heads.q,
                scanned: heads.scanned,
                k: heads.k,
                v: heads.v,
                attended: heads.attended,
                gated,
                attention_out,
                ffn: Some(SavedFfn { middle, ffn_input, up, activated, ffn_out }),
            });
        }
        Ok(out)
    }

    /// `[o q k v f]` [n, columns].
    fn project(&self, indices: &LayerIndices, input: &Tensor) -> Result<Tensor> {
        let shape = [input.rows(), indices.columns.total];
        let mut projected = Tensor::uninit(&shape, input.dtype(), input.device())?;
        for part in &indices.parts {
            let bias = part.bias.map(|index| self.dense(index)).transpose()?;
            let columns = projected.cols_mut(part.start, part.width);
            linear_into(input.into(), self.weight(part.weight), bias, columns)?;
        }
        Ok(projected)
    }

    /// Everything between the projections: QK-norm, memory, RoPE, attention.
    fn attend(
        &self,
        layer: usize,
        projected: &Tensor,
        positions: &Tensor,
        attending: &mut Attending<'_>,
    ) -> Result<Heads> {
        let indices = &self.layers[layer];
        let (columns, config) = (&indices.columns, &self.config);
        let (q_width, width) = (config.q_width(), config.kv_width());
        let normed = |start, width, index: Option<usize>| -> Result<Option<Tensor>> {
            let Some(index) = index else { return Ok(None) };
            Ok(Some(rms_norm(projected.cols(start, width), self.dense(index)?, config.rms_norm_eps as f32)?))
        };
        let normed_queries = normed(columns.query, q_width, indices.q_norm)?;
        let normed_keys = normed(columns.key, width, indices.k_norm)?;
        let queries = normed_queries.as_ref().map_or(projected.cols(columns.query, q_width), Into::into);
        let keys = normed_keys.as_ref().map_or(projected.cols(columns.key, width), Into::into);
        let values = projected.cols(columns.value, width);

        let scanned = if config.memory.is_some() {
            let gate = projected.cols(columns.memory_gate, width);
            Some(match attending.reset_at() {
                Some(documents) => {
                    let (keys, values) = scan_documents(keys, values, gate, documents)?;
                    Remembered { keys, values }
                }
                None => {
                    let initial = attending.memory_state(layer);
                    let dims = attending.scan_dims(projected.rows());
                    let Scanned { keys, values, state } = scan(keys, values, gate, dims, initial.as_ref())?;
                    attending.set_memory_state(layer, state);
                    Remembered { keys, values }
                }
            })
        } else {
            None
        };
        let (k, v) = match &scanned {
            Some(scanned) => (
                rope((&scanned.keys).into(), config.head_dim, positions, &self.rope)?,
                scanned.values.clone(),
            ),
            None => (rope(keys, config.head_dim, positions, &self.rope)?, contiguous(values)?),
        };
        let q = rope(queries, config.head_dim, positions, &self.rope)?;
        let attended = match attending {
            Attending::Whole(Whole { dims, pattern, isolation }) => {
                let dims = self.attention_dims(*dims, *pattern);
                match &isolation.attention {
                    None => attention(&q, &k, &v, dims)?,
                    Some(documents) => attention_documents(&q, &k, &v, dims, documents)?,
                }
            }
            Attending::Prefill { cache, chunk, outputs } => {
                let qkv = Qkv { q: &q, k: &k, v: &v };
                without_lse(cache.prefill_outputs(layer, qkv, *chunk, *outputs)?)?
            }
            Attending::Decode { batch } => {
                without_lse(batch.decode_layer(layer, Qkv { q: &q, k: &k, v: &v })?)?
            }
        };
        Ok(Heads { q, normed_keys, scanned, k, v, attended })
    }

    pub(super) fn attention_dims(&self, dims: ScanDims, pattern: Pattern) -> AttentionDims {
        AttentionDims {
            batch: dims.batch,
            queries: dims.tokens,
            keys: dims.tokens,
            heads: self.config.num_attention_heads,
            kv_heads: self.config.num_key_value_heads,
            head_dim: self.config.head_dim,
            scale: (self.config.head_dim as f32).powf(-0.5),
            pattern,
        }
    }

    fn output(
        &self,
        indices: &LayerIndices,
        x: &Tensor,
        gated: &Tensor,
        pre: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let weight = self.weight(indices.out);
        if pre && indices.out_bias.is_none() {
            return Ok((linear_residual(gated, weight, x)?, None));
        }
        let bias = indices.out_bias.map(|index| self.dense(index)).transpose()?;
        let out = linear(gated, weight, bias)?;
        if pre {
            return Ok((add(x, &out)?, None));
        }
        let normed =
            rms_norm((&out).into(), self.dense(indices.attention_norm)?, self.config.rms_norm_eps as f32)?;
        Ok((add(x, &normed)?, Some(out)))
    }

    fn ffn_up(&self, indices: &LayerIndices, input: &Tensor) -> Result<Tensor> {
        let width: usize = indices.up.iter().map(|&index| self.weight(index).rows()).sum();
        let mut up = Tensor::uninit(&[input.rows(), width], input.dtype(), input.device())?;
        let mut start = 0;
        for &index in &indices.up {
            let rows = self.weight(index).rows();
            linear_into(input.into(), self.weight(index), None, up.cols_mut(start, rows))?;
            start += rows;
        }
        Ok(up)
    }
}

// Generation never runs a backward pass.
fn without_lse(output: Tensor) -> Result<Attended> {
    let lse = Tensor::zeros(&[0], DType::F32, output.device())?;
    Ok(Attended { output, lse })
}

struct Heads {
    q: Tensor,
    normed_keys: Option<Tensor>,
    scanned: Option<Remembered>,
    k: Tensor,
    v: Tensor,
    attended: Attended,
}

//! Gradients of one block, from what its forward pass saved. The steps mirror `block` in reverse.

use wane_kernels::ops::activation::{add, gelu_backward, sigmoid_gate_backward, swiglu_backward};
use wane_kernels::ops::attention::{self, AttentionGrads, AttentionSaved};
use wane_kernels::ops::columns::copy;
use wane_kernels::ops::decay_scan::{self, ScanSaved};
use wane_kernels::ops::linear::{backward_bias, backward_input, backward_weight};
use wane_kernels::ops::{rms_norm, rope};
use wane_kernels::{Cols, Tensor};

use super::Decoder;
use super::block::{Saved, SavedFfn, Whole};
use super::training::Gradients;
use crate::Result;
use crate::config::{FfnActivation, NormPlacement};

/// Which block, at which positions, of which sequences.
#[derive(Clone, Copy)]
struct Place<'a> {
    layer: usize,
    positions: &'a Tensor,
    whole: Whole<'a>,
}

impl Decoder {
    /// The gradient of the block's input from that of its output, `dout` [n, hidden]; parameter
    /// gradients are added to `gradients`.
    pub(super) fn block_backward(
        &self,
        layer: usize,
        dout: Tensor,
        positions: &Tensor,
        mut saved: Saved,
        whole: Whole<'_>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let indices = &self.layers[layer];
        let pre = self.config.norm_placement == NormPlacement::Pre;

        let dmiddle = self.ffn_backward(layer, dout, saved.ffn.take(), gradients)?;

        // Output projection and gate.
        let dattention_out = match &saved.attention_out {
            None => dmiddle.clone(),
            Some(out) => self.norm_backward(&dmiddle, out.into(), indices.attention_norm, None, gradients)?,
        };
        if let Some(bias) = indices.out_bias {
            backward_bias((&dattention_out).into(), gradients.tensor_mut(bias))?;
        }
        let dgated = self.linear_backward((&dattention_out).into(), &saved.gated, indices.out, gradients)?;
        let shape = [dgated.rows(), indices.columns.total];
        let mut dprojected = Tensor::uninit(&shape, dgated.dtype(), dgated.device())?;
        let dattended = if self.config.output_gate {
            let (start, width) = (indices.columns.output_gate, self.config.q_width());
            let gate = saved.projected.cols(start, width);
            let dgate = dprojected.cols_mut(start, width);
            let dattended = sigmoid_gate_backward(&dgated, &saved.attended.output, gate, dgate)?;
            drop(dgated);
            dattended
        } else {
            dgated
        };

        // Attention, RoPE, memory, QK-norm.
        let attention_saved =
            AttentionSaved { q: &saved.q, k: &saved.k, v: &saved.v, attended: &saved.attended };
        let dims = self.attention_dims(whole.dims, whole.pattern);
        let grads = match &whole.isolation.attention {
            None => attention::backward(&dattended, attention_saved, dims)?,
            Some(documents) => attention::backward_documents(&dattended, attention_saved, dims, documents)?,
        };
        drop(dattended);
        let place = Place { layer, positions, whole };
        self.heads_backward(place, grads, &saved, &mut dprojected, gradients)?;

        // Input projection.
        let mut dinput: Option<Tensor> = None;
        for part in &indices.parts {
            let columns = dprojected.cols(part.start, part.width);
            if let Some(bias) = part.bias {
                backward_bias(columns, gradients.tensor_mut(bias))?;
            }
            let dx = self.linear_backward(columns, &saved.projection_input, part.weight, gradients)?;
            dinput = Some(sum(dinput, dx)?);
        }
        let dinput = sum(dinput.take(), None)?;
        if pre {
            self.norm_backward(&dinput, (&saved.x).into(), indices.attention_norm, Some(&dmiddle), gradients)
        } else {
            Ok(add(&dmiddle, &dinput)?)
        }
    }

    /// The gradient of what goes into the FFN's half of the block, from that of what comes out. What it needs is freed
    /// before the other half begins: together they would set the peak of a training step's memory.
    fn ffn_backward(
        &self,
        layer: usize,
        dout: Tensor,
        saved: Option<SavedFfn>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let indices = &self.layers[layer];
        let pre = self.config.norm_placement == NormPlacement::Pre;
        let nothing = || crate::Error::Invalid("a block kept nothing for its backward pass".into());
        let SavedFfn { middle, ffn_input, up, activated, ffn_out } = saved.ok_or_else(nothing)?;
        let dffn_out = match &ffn_out {
            None => dout.clone(),
            Some(out) => self.norm_backward(&dout, out.into(), indices.ffn_norm, None, gradients)?,
        };
        let dactivated = self.linear_backward((&dffn_out).into(), &activated, indices.down, gradients)?;
        let dup = match self.config.ffn_activation {
            FfnActivation::SwiGlu => swiglu_backward(&dactivated, &up)?,
            FfnActivation::Gelu => gelu_backward(&dactivated, &up)?,
        };
        drop((dactivated, activated, up));
        let mut dffn_input: Option<Tensor> = None;
        let mut start = 0;
        for &index in &indices.up {
            let rows = self.weight(index).rows();
            let part = self.linear_backward(dup.cols(start, rows), &ffn_input, index, gradients)?;
            dffn_input = Some(sum(dffn_input, part)?);
            start += rows;
        }
        let dffn_input = sum(dffn_input.take(), None)?;
        if pre {
            self.norm_backward(&dffn_input, (&middle).into(), indices.ffn_norm, Some(&dout), gradients)
        } else {
            Ok(add(&dout, &dffn_input)?)
        }
    }

    /// Gradients of queries, keys, values and memory gate, into their columns of `dprojected`.
    fn heads_backward(
        &self,
        place: Place<'_>,
        grads: AttentionGrads,
        saved: &Saved,
        dprojected: &mut Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let Place { layer, positions, whole } = place;
        let (indices, config) = (&self.layers[layer], &self.config);
        let (columns, head_dim) = (&indices.columns, config.head_dim);
        let (q_width, width) = (config.q_width(), config.kv_width());
        let unrotate = |dy: &Tensor, width: usize| -> Result<Tensor> {
            let mut dx = Tensor::uninit(&[dy.rows(), width], dy.dtype(), dy.device())?;
            rope::backward(dy, head_dim, positions, &self.rope, dx.cols_mut(0, width))?;
            Ok(dx)
        };

        // Queries.
        match indices.q_norm {
            None => {
                let target = dprojected.cols_mut(columns.query, q_width);
                rope::backward(&grads.dq, head_dim, positions, &self.rope, target)?;
            }
            Some(norm) => {
                let dq = unrotate(&grads.dq, q_width)?;
                let input = saved.projected.cols(columns.query, q_width);
                let dq = self.norm_backward(&dq, input, norm, None, gradients)?;
                copy((&dq).into(), dprojected.cols_mut(columns.query, q_width))?;
            }
        }

        // Keys and values, through the memory if there is one.
        let Some(scanned) = &saved.scanned else {
            copy((&grads.dv).into(), dprojected.cols_mut(columns.value, width))?;
            return match indices.k_norm {
                None => {
                    let target = dprojected.cols_mut(columns.key, width);
                    Ok(rope::backward(&grads.dk, head_dim, positions, &self.rope, target)?)
                }
                Some(norm) => {
                    let dk = unrotate(&grads.dk, width)?;
                    self.key_norm_backward(&dk, saved, columns.key, norm, dprojected, gradients)
                }
            };
        };
        let dkeys = unrotate(&grads.dk, width)?;
        let scan_saved = ScanSaved {
            keys: saved.normed_keys.as_ref().map_or(saved.projected.cols(columns.key, width), Into::into),
            values: saved.projected.cols(columns.value, width),
            gate_logits: saved.projected.cols(columns.memory_gate, width),
            scanned_keys: &scanned.keys,
            scanned_values: &scanned.values,
            initial: None,
        };
        // Keys, values and gate are neighbours in the projection.
        let target = dprojected.cols_mut(columns.key, 3 * width);
        match &whole.isolation.memory {
            None => drop(decay_scan::backward(&dkeys, &grads.dv, scan_saved, whole.dims, target)?),
            Some(documents) => {
                decay_scan::backward_documents(&dkeys, &grads.dv, scan_saved, documents, target)?;
            }
        }
        if let Some(norm) = indices.k_norm {
            let dk = wane_kernels::ops::columns::contiguous(dprojected.cols(columns.key, width))?;
            self.key_norm_backward(&dk, saved, columns.key, norm, dprojected, gradients)?;
        }
        Ok(())
    }

    fn key_norm_backward(
        &self,
        dkeys: &Tensor,
        saved: &Saved,
        column: usize,
        norm: usize,
        dprojected: &mut Tensor,
        gradients: &mut Gradients,
    ) -> Result<()> {
        let width = self.config.kv_width();
        let dkeys = self.norm_backward(dkeys, saved.projected.cols(column, width), norm, None, gradients)?;
        Ok(copy((&dkeys).into(), dprojected.cols_mut(column, width))?)
    }

    /// Input gradient of a linear layer; adds the weight's to `gradients`.
    fn linear_backward(
        &self,
        dy: Cols<'_>,
        input: &Tensor,
        weight: usize,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        backward_weight(dy, input, gradients.tensor_mut(weight))?;
        Ok(backward_input(dy, self.weight(weight))?)
    }

    pub(super) fn norm_backward(
        &self,
        dy: &Tensor,
        input: Cols<'_>,
        norm: usize,
        residual: Option<&Tensor>,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let eps = self.config.rms_norm_eps as f32;
        Ok(rms_norm::backward(dy, input, self.dense(norm)?, eps, residual, gradients.tensor_mut(norm))?)
    }
}

fn sum(total: Option<Tensor>, part: impl Into<Option<Tensor>>) -> Result<Tensor> {
    match (total, part.into()) {
        (Some(total), Some(part)) => Ok(add(&total, &part)?),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err(crate::Error::Invalid("a projection has no parts".into())),
    }
}

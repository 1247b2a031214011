//! Losses and gradients of a batch: embed, blocks, head, and back.
//!
//! `recompute` keeps only each block's input and runs the block again in the backward pass:
//! about a third more arithmetic for a fraction of the memory.

use std::sync::Arc;

use wane_kernels::ops::attention::Pattern;
use wane_kernels::ops::cross_entropy::{self, LossGrads};
use wane_kernels::ops::decay_scan::ScanDims;
use wane_kernels::ops::embedding;
use wane_kernels::ops::rms_norm::rms_norm;
use wane_kernels::{DType, Documents, Tensor};

use super::Decoder;
use super::block::{Attending, Saved, Whole};
use crate::{Error, Result};

/// What is kept apart between the documents packed into one sequence; by default nothing is.
#[derive(Debug, Clone, Default)]
pub struct Isolation {
    /// Documents that attention does not leave; positions are counted from their first tokens.
    pub attention: Option<Arc<Documents>>,
    /// Documents at whose start the memory is empty.
    pub memory: Option<Arc<Documents>>,
}

/// Sequences of equal length, row after row.
#[derive(Debug, Clone)]
pub struct Batch {
    /// I32 [batch * tokens].
    pub ids: Tensor,
    /// The token that follows each, I32 [batch * tokens].
    pub targets: Tensor,
    /// Loss weight of each target, f32 [batch * tokens].
    pub weights: Tensor,
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// What packed documents do not share.
    pub isolation: Isolation,
}

/// How a batch is processed.
#[derive(Debug, Clone, Copy)]
pub struct TrainOptions {
    /// Who sees whom: dense, or the dilated pass of joint training.
    pub pattern: Pattern,
    /// What the backward pass keeps.
    pub keep: Keep,
    /// The objective is `scale * sum of weight * loss`: 1 / (sum of weights) for a mean.
    pub scale: f32,
}

/// What stays in memory between forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Every intermediate result.
    Everything,
    /// The input of each block; the rest is computed again.
    BlockInputs,
}

/// Gradients of all parameters, f32, in the order of [`Decoder::parameters`].
#[derive(Debug)]
pub struct Gradients {
    tensors: Vec<Tensor>,
}

impl Gradients {
    /// All zeros.
    ///
    /// # Errors
    /// Out of memory.
    pub fn zeros(decoder: &Decoder) -> Result<Self> {
        let zeros = |p: &super::Parameter| -> Result<Tensor> {
            Ok(Tensor::zeros(p.weight.dense()?.shape(), DType::F32, &decoder.device)?)
        };
        Ok(Self { tensors: decoder.parameters.iter().map(zeros).collect::<Result<_>>()? })
    }

    /// Sets everything to zero.
    ///
    /// # Errors
    /// The device failed.
    pub fn clear(&mut self) -> Result<()> {
        for tensor in &mut self.tensors {
            tensor.fill_zero()?;
        }
        Ok(())
    }

    /// One tensor per parameter.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// All of them, to be changed (summed over processes).
    pub fn tensors_mut(&mut self) -> &mut [Tensor] {
        &mut self.tensors
    }

    /// The gradient of one parameter, to add to.
    pub fn tensor_mut(&mut self, index: usize) -> &mut Tensor {
        &mut self.tensors[index]
    }
}

impl Decoder {
    /// Adds the gradients of `options.scale * sum of weight * loss` to `gradients`. Returns the
    /// unweighted loss of every token, f32 [batch * tokens], on the device (nothing waits for it).
    ///
    /// # Errors
    /// Shapes that do not fit, quantized weights, out of memory.
    pub fn loss_and_gradients(
        &self,
        batch: &Batch,
        options: &TrainOptions,
        gradients: &mut Gradients,
    ) -> Result<Tensor> {
        let (dims, positions) = self.check(batch)?;
        let whole = Whole { dims, pattern: options.pattern, isolation: &batch.isolation };
        let mut x = embedding::embedding(&batch.ids, self.weight(self.embedding), self.activation_dtype())?;
        let mut kept: Vec<(Option<Tensor>, Option<Saved>)> = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let mut attending = Attending::Whole(whole);
            let mut saved = None;
            let keep_all = options.keep == Keep::Everything;
            let slot = keep_all.then_some(&mut saved);
            let out = self.block_forward(layer, &x, &positions, &mut attending, slot)?;
            kept.push(((!keep_all).then_some(x), saved));
            x = out;
        }
        let hidden = rms_norm((&x).into(), self.dense(self.final_norm)?, self.config.rms_norm_eps as f32)?;
        let LossGrads { losses, dhidden } = cross_entropy::forward_backward(
            &hidden,
            self.weight(self.head),
            &batch.targets,
            &batch.weights,
            options.scale,
            gradients.tensor_mut(self.head),
        )?;
        drop(hidden);
        let mut dx = self.norm_backward(&dhidden, (&x).into(), self.final_norm, None, gradients)?;
        drop((dhidden, x));
        for layer in (0..self.layers.len()).rev() {
            let (input, mut saved) = kept.pop().unwrap_or_default();
            if let Some(input) = input {
                let mut attending = Attending::Whole(whole);
                self.block_forward(layer, &input, &positions, &mut attending, Some(&mut saved))?;
            }
            let saved =
                saved.ok_or_else(|| Error::Invalid("a block kept nothing for its backward pass".into()))?;
            dx = self.block_backward(layer, dx, &positions, saved, whole, gradients)?;
        }
        embedding::backward(&batch.ids, &dx, gradients.tensor_mut(self.embedding))?;
        Ok(losses)
    }

    /// The unweighted loss of every token, f32 [batch * tokens], on the device.
    ///
    /// # Errors
    /// As [`Self::loss_and_gradients`].
    pub fn losses(&self, batch: &Batch, pattern: Pattern) -> Result<Tensor> {
        let (dims, positions) = self.check(batch)?;
        let whole = Whole { dims, pattern, isolation: &batch.isolation };
        let hidden = self.whole_hidden_states(&batch.ids, &positions, whole)?;
        Ok(cross_entropy::losses(&hidden, self.weight(self.head), &batch.targets)?)
    }

    /// Final hidden states (after the last norm) of whole sequences: [batch * tokens, hidden].
    ///
    /// # Errors
    /// More tokens than positions; out of memory.
    pub fn hidden_states(
        &self,
        ids: &Tensor,
        batch: usize,
        tokens: usize,
        pattern: Pattern,
    ) -> Result<Tensor> {
        let dims = ScanDims { batch, tokens };
        let whole = Whole { dims, pattern, isolation: &Isolation::default() };
        self.whole_hidden_states(ids, &self.positions(dims)?, whole)
    }

    fn whole_hidden_states(&self, ids: &Tensor, positions: &Tensor, whole: Whole<'_>) -> Result<Tensor> {
        let mut x = embedding::embedding(ids, self.weight(self.embedding), self.activation_dtype())?;
        for layer in 0..self.layers.len() {
            x = self.block_forward(layer, &x, positions, &mut Attending::Whole(whole), None)?;
        }
        Ok(rms_norm((&x).into(), self.dense(self.final_norm)?, self.config.rms_norm_eps as f32)?)
    }

    fn check(&self, batch: &Batch) -> Result<(ScanDims, Tensor)> {
        let rows = batch.batch * batch.tokens;
        for (name, tensor) in [("ids", &batch.ids), ("targets", &batch.targets), ("weights", &batch.weights)]
        {
            if tensor.len() != rows {
                return Err(Error::Invalid(format!(
                    "batch: expected {} x {} {name}, got {}",
                    batch.batch,
                    batch.tokens,
                    tensor.len()
                )));
            }
        }
        let dims = ScanDims { batch: batch.batch, tokens: batch.tokens };
        let positions = match &batch.isolation.attention {
            None => self.positions(dims)?,
            Some(documents) => {
                self.check_length(batch.tokens)?;
                Tensor::from_i32(&documents.positions(), &[documents.rows()], &self.device)?
            }
        };
        Ok((dims, positions))
    }

    pub(super) fn positions(&self, dims: ScanDims) -> Result<Tensor> {
        self.check_length(dims.tokens)?;
        let positions: Vec<i32> = (0..dims.batch).flat_map(|_| 0..dims.tokens as i32).collect();
        Ok(Tensor::from_i32(&positions, &[positions.len()], &self.device)?)
    }

    /// Refuses sequences that the positions or the sliding window do not cover.
    pub(super) fn check_length(&self, tokens: usize) -> Result<()> {
        let limit = self.config.max_position_embeddings;
        if tokens > limit {
            return Err(Error::Invalid(format!(
                "{tokens} tokens do not fit the model's context of {limit}: shorten the prompt or generate fewer tokens"
            )));
        }
        match self.config.sliding_window {
            Some(window) if tokens > window => Err(Error::Invalid(format!(
                "{tokens} tokens exceed the model's sliding window of {window}, which is only supported up to its length"
            ))),
            _ => Ok(()),
        }
    }

    /// The device's copy of `ids`, checked against the vocabulary.
    pub(super) fn ids_tensor(&self, ids: &[u32]) -> Result<Tensor> {
        let vocabulary = self.config.vocab_size;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocabulary) {
            return Err(Error::Invalid(format!("token id {id} is outside the vocabulary of {vocabulary}")));
        }
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        Ok(Tensor::from_i32(&ids, &[ids.len()], &self.device)?)
    }
}

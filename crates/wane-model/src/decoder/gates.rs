//! The memory at work on given text: gates, and keys and values before and after it, for statistics of how far the
//! memory reaches.

use wane_kernels::ops::attention::Pattern;
use wane_kernels::ops::columns::contiguous;
use wane_kernels::ops::decay_scan::ScanDims;
use wane_kernels::ops::embedding;

use super::block::{Attending, Whole};
use super::{Decoder, Isolation};
use crate::{Error, Result};

/// One layer's memory on one sequence; everything [tokens, kv_heads * head_dim] on the host, before RoPE.
#[derive(Debug, Clone)]
pub struct MemoryTrace {
    /// `g = sigmoid(f)`.
    pub gates: Vec<f32>,
    /// `k`, as it enters the memory.
    pub keys: Vec<f32>,
    /// `v`, as it enters the memory.
    pub values: Vec<f32>,
    /// `k~_t = g_t k~_{t-1} + (1 - g_t) k_t`.
    pub memory_keys: Vec<f32>,
    /// `v~`.
    pub memory_values: Vec<f32>,
}

impl Decoder {
    /// Calls back with the memory of every layer, first layer first, for one sequence under dense attention.
    ///
    /// # Errors
    /// A model without memory, a token outside the vocabulary, more tokens than the context, and what
    /// `on_layer` returns.
    pub fn memory_trace(
        &self,
        ids: &[u32],
        on_layer: &mut dyn FnMut(usize, MemoryTrace) -> Result<()>,
    ) -> Result<()> {
        if self.config.memory.is_none() {
            return Err(Error::Invalid("the model has no memory".into()));
        }
        let dims = ScanDims { batch: 1, tokens: ids.len() };
        let positions = self.positions(dims)?;
        let mut x = embedding::embedding(
            &self.ids_tensor(ids)?,
            self.weight(self.embedding),
            self.activation_dtype(),
        )?;
        let width = self.config.kv_width();
        let isolation = Isolation::default();
        for layer in 0..self.layers.len() {
            let mut saved = None;
            let mut attending =
                Attending::Whole(Whole { dims, pattern: Pattern::Causal, isolation: &isolation });
            x = self.block_forward(layer, &x, &positions, &mut attending, Some(&mut saved))?;
            let kept_nothing = || Error::Invalid("a block kept nothing".into());
            let saved = saved.ok_or_else(kept_nothing)?;
            let scanned = saved.scanned.as_ref().ok_or_else(kept_nothing)?;
            let columns = &self.layers[layer].columns;
            let column = |start| -> Result<Vec<f32>> {
                Ok(contiguous(saved.projected.cols(start, width))?.to_f32_vec()?)
            };
            let trace = MemoryTrace {
                gates: column(columns.memory_gate)?.into_iter().map(|f| 1.0 / (1.0 + (-f).exp())).collect(),
                keys: match &saved.normed_keys {
                    Some(keys) => keys.to_f32_vec()?,
                    None => column(columns.key)?,
                },
                values: column(columns.value)?,
                memory_keys: scanned.keys.to_f32_vec()?,
                memory_values: scanned.values.to_f32_vec()?,
            };
            on_layer(layer, trace)?;
        }
        Ok(())
    }

    /// `sigmoid(f)` of every layer, [tokens, kv_heads * head_dim] on the host, for one sequence under dense
    /// attention.
    ///
    /// # Errors
    /// As [`Self::memory_trace`].
    pub fn memory_gates(&self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut gates = Vec::with_capacity(self.layers.len());
        self.memory_trace(ids, &mut |_, trace| {
            gates.push(trace.gates);
            Ok(())
        })?;
        Ok(gates)
    }
}

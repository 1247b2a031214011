//! The memory's gates on given text, for statistics of how far the memory reaches.

use wane_kernels::ops::attention::Pattern;
use wane_kernels::ops::columns::contiguous;
use wane_kernels::ops::decay_scan::ScanDims;
use wane_kernels::ops::embedding;

use super::block::{Attending, Whole};
use super::{Decoder, Isolation};
use crate::{Error, Result};

impl Decoder {
    /// `sigmoid(f)` of every layer, [tokens, kv_heads * head_dim] on the host, for one sequence under dense
    /// attention.
    ///
    /// # Errors
    /// A model without memory, a token outside the vocabulary, more tokens than the context.
    pub fn memory_gates(&self, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
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
        let isolation = Isolation::default();
        let mut gates = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let mut saved = None;
            let mut attending =
                Attending::Whole(Whole { dims, pattern: Pattern::Causal, isolation: &isolation });
            x = self.block_forward(layer, &x, &positions, &mut attending, Some(&mut saved))?;
            let saved = saved.ok_or_else(|| Error::Invalid("a block kept nothing".into()))?;
            let columns = &self.layers[layer].columns;
            let raw = contiguous(saved.projected.cols(columns.memory_gate, self.config.kv_width()))?
                .to_f32_vec()?;
            gates.push(raw.into_iter().map(|f| 1.0 / (1.0 + (-f).exp())).collect());
        }
        Ok(gates)
    }
}

//! Softmax attention over selected blocks of keys: of contiguous keys in a prefill, of cached
//! pages in a decode step (which without a selection is dense decoding).

mod cpu;
mod cuda;

use crate::ops::attention::AttentionDims;
use crate::{Device, Error, KvView, Result, Selection, Tensor};

/// Prefill: query `i` of head `h` reads the keys `j <= position(i)` that lie in its selected blocks.
///
/// # Shapes
/// As [`crate::ops::attention::attention`] with `batch` = 1 and [`crate::ops::attention::Pattern::Causal`];
/// `selection` rows are (head, query): row `h * queries + i`, indices of blocks of `block` keys.
/// Result [queries, heads * head_dim].
///
/// # Errors
/// Shapes that do not fit.
pub fn prefill(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<Tensor> {
    match q.device() {
        Device::Cpu => cpu::prefill(q, k, v, selection, block, dims),
        Device::Cuda(_) => cuda::prefill(q, k, v, selection, block, dims),
    }
}

/// What a decode step reads.
#[derive(Debug, Clone, Copy)]
pub enum Reads<'a> {
    /// Every cached row.
    All,
    /// Selected blocks of `block` rows. Rows of the selection are (sequence, selector), where the
    /// selectors of a sequence are its query heads or its KV heads, as the row count says.
    Blocks {
        /// Blocks of each selector.
        selection: &'a Selection,
        /// Rows per block.
        block: usize,
    },
}

/// One decode step of every sequence: query [sequences, heads * head_dim] against the cached
/// rows (the newest included). Result in the shape and dtype of `q`.
///
/// # Errors
/// Shapes that do not fit.
pub fn decode(q: &Tensor, kv: KvView<'_>, heads: usize, scale: f32, reads: Reads<'_>) -> Result<Tensor> {
    match q.device() {
        Device::Cpu => cpu::decode(q, kv, heads, scale, reads),
        Device::Cuda(_) => cuda::decode(q, kv, heads, scale, reads),
    }
}

//! Softmax attention over selected blocks of keys: of contiguous keys in a prefill, of cached
//! pages in a decode step (which without a selection is dense decoding).

mod cpu;
mod cuda;
mod gathered;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

pub use cuda::PrefillVariant as CudaPrefill;

use crate::ops::attention::{AttentionDims, Pattern, check_matrix};
use crate::{Device, Error, KvView, Result, Selection, Tensor};

/// Prefill: query `i` of head `h` reads the keys `j <= position(i)` that lie in its selected blocks; one that
/// reads none gets zeros. Indices of blocks that do not exist count for nothing.
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
    check_prefill([q, k, v], selection, block, dims)?;
    match q.device() {
        Device::Cpu => cpu::prefill(q, k, v, selection, block, dims),
        Device::Cuda(_) => cuda::prefill([q, k, v], selection, block, dims, None),
    }
}

fn check_prefill(
    [q, k, v]: [&Tensor; 3],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<()> {
    dims.check("block_attention::prefill", &[q], &[k, v])?;
    selection.check("block_attention::prefill")?;
    if dims.batch != 1
        || dims.pattern != Pattern::Causal
        || block == 0
        || selection.rows() != dims.heads * dims.queries
    {
        return Err(Error::shape(
            "block_attention::prefill",
            "one sequence, the causal pattern, block > 0 and a selection row per (head, query)",
            format!("{dims:?}, block {block}, {} rows", selection.rows()),
        ));
    }
    Ok(())
}

impl CudaPrefill {
    /// [`prefill`] on a GPU by these kernels, for comparing them; elsewhere the choice is made from the sizes
    /// and `WANE_CUDA_ATTENTION`.
    ///
    /// # Errors
    /// As for [`prefill`].
    pub fn prefill(
        self,
        tensors: [&Tensor; 3],
        selection: &Selection,
        block: usize,
        dims: AttentionDims,
    ) -> Result<Tensor> {
        check_prefill(tensors, selection, block, dims)?;
        cuda::prefill(tensors, selection, block, dims, Some(self))
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
    kv.check("block_attention::decode")?;
    if heads == 0 || !heads.is_multiple_of(kv.kv_heads) {
        return Err(Error::shape(
            "block_attention::decode",
            format!("query heads a multiple of {}", kv.kv_heads),
            heads,
        ));
    }
    check_matrix("block_attention::decode", q, kv.sequences(), heads * kv.head_dim)?;
    if let Reads::Blocks { selection, block } = reads {
        selection.check("block_attention::decode")?;
        let rows = selection.rows();
        if block == 0 || (rows != kv.sequences() * heads && rows != kv.lanes()) {
            return Err(Error::shape(
                "block_attention::decode",
                format!("block > 0 and {} or {} selection rows", kv.sequences() * heads, kv.lanes()),
                format!("block {block}, {rows} rows"),
            ));
        }
    }
    match q.device() {
        Device::Cpu => cpu::decode(q, kv, heads, scale, reads),
        Device::Cuda(_) => cuda::decode(q, kv, heads, scale, reads),
    }
}

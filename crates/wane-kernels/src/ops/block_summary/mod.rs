//! What a selector knows of a block of keys: the per-channel minimum and maximum (Quest) or the
//! mean (MoBA); and the scores computed from them.

mod cpu;
mod cuda;

use crate::{Device, Error, KvView, Result, Tensor};

/// Updates minima and maxima of blocks of `block` cached key rows, for every lane, from block
/// `from / block` on (`from` = first row that is new; 0 rebuilds everything).
///
/// # Shapes
/// `summary` f32 [lanes, max_blocks, 2, head_dim]: minimum, then maximum.
///
/// # Errors
/// `summary` is too small.
pub fn update_min_max(kv: KvView<'_>, block: usize, from: &[usize], summary: &mut Tensor) -> Result<()> {
    match kv.table.device() {
        Device::Cpu => cpu::update_min_max(kv, block, from, summary),
        Device::Cuda(_) => cuda::update_min_max(kv, block, from, summary),
    }
}

/// Quest's upper bound of `q . k` over a block: `sum_i max(q_i min_i, q_i max_i)`.
///
/// # Shapes
/// `q` [sequences, heads * head_dim], `summary` as above; result f32 [sequences * heads, max_blocks]
/// (entries beyond a lane's blocks are unspecified).
///
/// # Errors
/// Shapes that do not fit.
pub fn quest_scores(q: &Tensor, summary: &Tensor, kv: KvView<'_>, block: usize) -> Result<Tensor> {
    match q.device() {
        Device::Cpu => cpu::quest_scores(q, summary, kv, block),
        Device::Cuda(_) => cuda::quest_scores(q, summary, kv, block),
    }
}

/// Means of whole blocks of contiguous keys `k` [keys, kv_heads * head_dim]: f32
/// [kv_heads, ceil(keys / block), head_dim]; a partial last block averages its valid rows.
///
/// # Errors
/// Shapes that do not fit.
pub fn block_means(k: &Tensor, kv_heads: usize, block: usize) -> Result<Tensor> {
    match k.device() {
        Device::Cpu => cpu::block_means(k, kv_heads, block),
        Device::Cuda(_) => cuda::block_means(k, kv_heads, block),
    }
}

/// MoBA's gate `q . mean(block)`: `q` [queries, heads * head_dim], `means` [kv_heads, blocks,
/// head_dim]; result f32 [heads * queries, blocks].
///
/// # Errors
/// Shapes that do not fit.
pub fn mean_scores(q: &Tensor, means: &Tensor) -> Result<Tensor> {
    match q.device() {
        Device::Cpu => cpu::mean_scores(q, means),
        Device::Cuda(_) => cuda::mean_scores(q, means),
    }
}

/// Reduces scores of query heads to one row per KV head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupReduce {
    /// Sum over the group.
    Sum,
    /// Mean over the group.
    Mean,
}

/// `scores` f32 [outer * heads * inner, n], heads grouped `heads / kv_heads` by one: result f32
/// [outer * kv_heads * inner, n].
///
/// # Errors
/// Shapes that do not fit.
pub fn group_scores(
    scores: &Tensor,
    heads: usize,
    kv_heads: usize,
    inner: usize,
    reduce: GroupReduce,
) -> Result<Tensor> {
    match scores.device() {
        Device::Cpu => cpu::group_scores(scores, heads, kv_heads, inner, reduce),
        Device::Cuda(_) => cuda::group_scores(scores, heads, kv_heads, inner, reduce),
    }
}

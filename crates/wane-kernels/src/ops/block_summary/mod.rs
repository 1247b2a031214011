//! What a selector knows of a block of keys: the per-channel minimum and maximum (Quest) or the
//! mean (MoBA); and the scores computed from them.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::ops::attention::check_matrix;
use crate::{DType, Device, Error, KvView, Result, Tensor};

/// Updates minima and maxima of blocks of `block` cached key rows, for every lane, from block
/// `from / block` on (`from` = first row that is new; 0 rebuilds everything).
///
/// # Shapes
/// `summary` f32 [lanes, max_blocks, 2, head_dim]: minimum, then maximum.
///
/// # Errors
/// `summary` is too small.
pub fn update_min_max(kv: KvView<'_>, block: usize, from: &[usize], summary: &mut Tensor) -> Result<()> {
    check_summary("block_summary::update_min_max", kv, block, summary)?;
    if from.len() != kv.lanes() {
        return Err(Error::shape(
            "block_summary::update_min_max",
            format!("{} first rows", kv.lanes()),
            from.len(),
        ));
    }
    match kv.table.device() {
        Device::Cpu => cpu::update_min_max(kv, block, from, summary),
        Device::Cuda(_) => cuda::update_min_max(kv, block, from, summary),
    }
}

fn check_summary(op: &'static str, kv: KvView<'_>, block: usize, summary: &Tensor) -> Result<()> {
    kv.check(op)?;
    let blocks = kv.max_len.div_ceil(block.max(1));
    let fits = matches!(summary.shape(), [lanes, max_blocks, 2, head_dim]
        if *lanes == kv.lanes() && *max_blocks >= blocks && *head_dim == kv.head_dim);
    if block > 0 && fits && summary.dtype() == DType::F32 {
        return Ok(());
    }
    Err(Error::shape(
        op,
        format!("blocks > 0 and a summary f32 [{}, {blocks} or more, 2, {}]", kv.lanes(), kv.head_dim),
        format!("block {block}, {summary:?}"),
    ))
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
    check_summary("block_summary::quest_scores", kv, block, summary)?;
    let heads = q.width() / kv.head_dim;
    if !heads.is_multiple_of(kv.kv_heads) || heads == 0 {
        return Err(Error::shape(
            "block_summary::quest_scores",
            "query heads a multiple of the kv heads",
            heads,
        ));
    }
    check_matrix("block_summary::quest_scores", q, kv.sequences(), heads * kv.head_dim)?;
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
    if kv_heads == 0 || block == 0 || !k.width().is_multiple_of(kv_heads) || k.dtype() == DType::I32 {
        return Err(Error::shape(
            "block_summary::block_means",
            "keys [keys, kv_heads * head_dim], kv_heads and block > 0",
            format!("{k:?}, {kv_heads} kv heads, block {block}"),
        ));
    }
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
    let fits = matches!(means.shape(), [kv_heads, _, head_dim]
        if *kv_heads > 0 && *head_dim > 0 && q.width().is_multiple_of(kv_heads * head_dim));
    if !fits || means.dtype() != DType::F32 || q.dtype() == DType::I32 {
        return Err(Error::shape(
            "block_summary::mean_scores",
            "q [queries, heads * head_dim] and means f32 [kv_heads, blocks, head_dim]",
            format!("{q:?} and {means:?}"),
        ));
    }
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

impl GroupReduce {
    /// What the sum over `group` heads is multiplied by.
    fn factor(self, group: usize) -> f32 {
        match self {
            Self::Sum => 1.0,
            Self::Mean => 1.0 / group as f32,
        }
    }
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
    let fits = kv_heads > 0
        && inner > 0
        && heads > 0
        && heads.is_multiple_of(kv_heads)
        && scores.rows().is_multiple_of(heads * inner)
        && scores.dtype() == DType::F32;
    if !fits {
        return Err(Error::shape(
            "block_summary::group_scores",
            "f32 [outer * heads * inner, n], heads a multiple of kv_heads",
            format!("{scores:?}, {heads} heads, {kv_heads} kv heads, inner {inner}"),
        ));
    }
    match scores.device() {
        Device::Cpu => cpu::group_scores(scores, heads, kv_heads, inner, reduce),
        Device::Cuda(_) => cuda::group_scores(scores, heads, kv_heads, inner, reduce),
    }
}

//! Block summaries on NVIDIA GPUs. Scores are computed in f32 without tensor cores, each in one fixed
//! order, so that a selection does not depend on the batch.

use super::GroupReduce;
use crate::cuda::{Launch, Module, address, args, device_of, typed};
use crate::{DType, KvView, Result, Tensor};

static MODULE: Module<'static> = Module::new("block_summary", include_str!("block_summary.cu"));

pub(super) fn update_min_max(
    kv: KvView<'_>,
    block: usize,
    from: &[usize],
    summary: &mut Tensor,
) -> Result<()> {
    let first = from.iter().map(|from| from / block).min().unwrap_or(0);
    let new_blocks = kv.max_len.div_ceil(block).saturating_sub(first);
    if new_blocks == 0 {
        return Ok(());
    }
    let from: Vec<i32> = from.iter().map(|&row| row as i32).collect();
    let from = Tensor::from_i32(&from, &[from.len()], kv.table.device())?;
    device_of(kv.table)?.launch(
        &MODULE,
        &typed("min_max", kv.dtype)?,
        Launch::new(new_blocks * kv.lanes(), 128),
        args![
            address(kv.table)?,
            address(kv.lens)?,
            address(&from)?,
            address(summary)?,
            new_blocks as i32,
            block as i32,
            kv.head_dim as i32,
            kv.table.dim(1) as i32,
            summary.dim(1) as i32
        ],
    )
}

pub(super) fn quest_scores(q: &Tensor, summary: &Tensor, kv: KvView<'_>, block: usize) -> Result<Tensor> {
    let (heads, max_blocks) = (q.width() / kv.head_dim, summary.dim(1));
    let scores = Tensor::uninit(&[kv.sequences() * heads, max_blocks], DType::F32, q.device())?;
    device_of(q)?.launch(
        &MODULE,
        &typed("quest", q.dtype())?,
        Launch::cover(kv.lanes() * max_blocks, 8).threads(256),
        args![
            address(q)?,
            address(summary)?,
            address(kv.lens)?,
            address(&scores)?,
            kv.lanes() as i64,
            block as i32,
            kv.kv_heads as i32,
            (heads / kv.kv_heads) as i32,
            kv.head_dim as i32,
            max_blocks as i32
        ],
    )?;
    Ok(scores)
}

pub(super) fn block_means(k: &Tensor, kv_heads: usize, block: usize) -> Result<Tensor> {
    let (keys, head_dim) = (k.rows(), k.width() / kv_heads);
    let blocks = keys.div_ceil(block);
    let means = Tensor::uninit(&[kv_heads, blocks, head_dim], DType::F32, k.device())?;
    device_of(k)?.launch(
        &MODULE,
        &typed("means", k.dtype())?,
        Launch::new(kv_heads * blocks, 128),
        args![
            address(k)?,
            address(&means)?,
            keys as i32,
            kv_heads as i32,
            head_dim as i32,
            block as i32,
            blocks as i32
        ],
    )?;
    Ok(means)
}

pub(super) fn mean_scores(q: &Tensor, means: &Tensor) -> Result<Tensor> {
    let (kv_heads, blocks, head_dim) = (means.dim(0), means.dim(1), means.dim(2));
    let (queries, heads) = (q.rows(), q.width() / head_dim);
    let scores = Tensor::uninit(&[heads * queries, blocks], DType::F32, q.device())?;
    let tiles = [queries.div_ceil(64), blocks.div_ceil(64)];
    device_of(q)?.launch(
        &MODULE,
        &typed("mean_scores", q.dtype())?,
        Launch::new(0, 256).grid(tiles[0] * tiles[1], heads, 1),
        args![
            address(q)?,
            address(means)?,
            address(&scores)?,
            queries as i32,
            heads as i32,
            (heads / kv_heads) as i32,
            head_dim as i32,
            blocks as i32,
            tiles[1] as i32
        ],
    )?;
    Ok(scores)
}

pub(super) fn group_scores(
    scores: &Tensor,
    heads: usize,
    kv_heads: usize,
    inner: usize,
    reduce: GroupReduce,
) -> Result<Tensor> {
    let (group, n) = (heads / kv_heads, scores.width());
    let out = Tensor::uninit(&[scores.rows() / group, n], DType::F32, scores.device())?;
    device_of(scores)?.launch(
        &MODULE,
        "group_sums",
        Launch::cover(out.len(), 256),
        args![
            address(scores)?,
            address(&out)?,
            out.len() as i64,
            group as i32,
            (inner * n) as i64,
            reduce.factor(group)
        ],
    )?;
    Ok(out)
}

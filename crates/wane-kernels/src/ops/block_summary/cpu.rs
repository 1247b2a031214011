//! Block summaries and their scores on the CPU.

use rayon::prelude::*;

use super::GroupReduce;
use crate::kv::{Element, HostKv, page_runs, with_element};
use crate::{DType, Error, KvView, Result, Tensor};

pub(super) fn update_min_max(
    kv: KvView<'_>,
    block: usize,
    from: &[usize],
    summary: &mut Tensor,
) -> Result<()> {
    let (host, head_dim, lane_len) = (HostKv::new(kv), kv.head_dim, summary.dim(1) * 2 * kv.head_dim);
    for lane in 0..kv.lanes() {
        host.check_rows("block_summary::update_min_max", lane, host.len(lane))?;
        if host.len(lane) > kv.max_len {
            return Err(Error::shape(
                "block_summary::update_min_max",
                "lanes within max_len",
                host.len(lane),
            ));
        }
    }
    if lane_len == 0 {
        return Ok(());
    }
    with_element!(kv.dtype, "block_summary::update_min_max", T => {
        summary.f32s_mut().par_chunks_mut(lane_len).enumerate().for_each(|(lane, summary)| {
            let len = host.len(lane);
            for b in from[lane] / block..len.div_ceil(block) {
                let (min, max) = summary[b * 2 * head_dim..][..2 * head_dim].split_at_mut(head_dim);
                min.fill(f32::INFINITY);
                max.fill(f32::NEG_INFINITY);
                for (row, rows) in page_runs(b * block, ((b + 1) * block).min(len)) {
                    for key in host.rows::<T>(lane, row, rows).0.chunks_exact(head_dim) {
                        for ((min, max), x) in min.iter_mut().zip(&mut *max).zip(key) {
                            let x = x.to_f32();
                            *min = if x < *min { x } else { *min };
                            *max = if x > *max { x } else { *max };
                        }
                    }
                }
            }
        });
        Ok(())
    })
}

pub(super) fn quest_scores(q: &Tensor, summary: &Tensor, kv: KvView<'_>, block: usize) -> Result<Tensor> {
    let (head_dim, blocks, heads) = (kv.head_dim, summary.dim(1), q.width() / kv.head_dim);
    let mut scores = Tensor::uninit(&[kv.sequences() * heads, blocks], DType::F32, q.device())?;
    let host = HostKv::new(kv);
    let (queries, summary, group) = (q.f32s(), summary.f32s(), heads / kv.kv_heads);
    if blocks == 0 {
        return Ok(scores);
    }
    scores.f32s_mut().par_chunks_mut(blocks).enumerate().for_each(|(row, scores)| {
        let lane = row / heads * kv.kv_heads + row % heads / group;
        let query = &queries[row * head_dim..][..head_dim];
        let used = host.len(lane).div_ceil(block).min(blocks);
        for (b, score) in scores.iter_mut().enumerate() {
            let bounds = &summary[(lane * blocks + b) * 2 * head_dim..][..2 * head_dim];
            let (min, max) = bounds.split_at(head_dim);
            *score = if b < used { upper_bound(query, min, max) } else { f32::NEG_INFINITY };
        }
    });
    Ok(scores)
}

fn upper_bound(query: &[f32], min: &[f32], max: &[f32]) -> f32 {
    query.iter().zip(min.iter().zip(max)).map(|(q, (min, max))| (q * min).max(q * max)).sum()
}

pub(super) fn block_means(k: &Tensor, kv_heads: usize, block: usize) -> Result<Tensor> {
    let (keys, width) = (k.rows(), k.width());
    let (head_dim, blocks) = (width / kv_heads, keys.div_ceil(block));
    let mut means = Tensor::uninit(&[kv_heads, blocks, head_dim], DType::F32, k.device())?;
    if means.is_empty() {
        return Ok(means);
    }
    with_element!(k.dtype(), "block_summary::block_means", T => {
        let rows = T::slice(k);
        means.f32s_mut().par_chunks_mut(head_dim).enumerate().for_each(|(i, mean)| {
            let (head, b) = (i / blocks, i % blocks);
            let (start, end) = (b * block, ((b + 1) * block).min(keys));
            mean.fill(0.0);
            for row in start..end {
                let key = &rows[row * width + head * head_dim..][..head_dim];
                mean.iter_mut().zip(key).for_each(|(mean, x)| *mean += x.to_f32());
            }
            let scale = 1.0 / (end - start) as f32;
            mean.iter_mut().for_each(|mean| *mean *= scale);
        });
        Ok(means)
    })
}

pub(super) fn mean_scores(q: &Tensor, means: &Tensor) -> Result<Tensor> {
    let (kv_heads, blocks, head_dim) = (means.dim(0), means.dim(1), means.dim(2));
    let (queries, heads) = (q.rows(), q.width() / head_dim);
    let mut scores = Tensor::uninit(&[heads * queries, blocks], DType::F32, q.device())?;
    if scores.is_empty() {
        return Ok(scores);
    }
    let (q, means, group) = (q.f32s(), means.f32s(), heads / kv_heads);
    scores.f32s_mut().par_chunks_mut(blocks).enumerate().for_each(|(row, scores)| {
        let (head, i) = (row / queries, row % queries);
        let query = &q[(i * heads + head) * head_dim..][..head_dim];
        for (b, score) in scores.iter_mut().enumerate() {
            let mean = &means[(head / group * blocks + b) * head_dim..][..head_dim];
            *score = query.iter().zip(mean).map(|(q, m)| q * m).sum();
        }
    });
    Ok(scores)
}

pub(super) fn group_scores(
    scores: &Tensor,
    heads: usize,
    kv_heads: usize,
    inner: usize,
    reduce: GroupReduce,
) -> Result<Tensor> {
    let (n, group) = (scores.width(), heads / kv_heads);
    let outer = scores.rows() / (heads * inner);
    let mut reduced = Tensor::uninit(&[outer * kv_heads * inner, n], DType::F32, scores.device())?;
    if reduced.is_empty() {
        return Ok(reduced);
    }
    let from = scores.f32s();
    let scale = match reduce {
        GroupReduce::Sum => 1.0,
        GroupReduce::Mean => 1.0 / group as f32,
    };
    reduced.f32s_mut().par_chunks_mut(n).enumerate().for_each(|(row, to)| {
        let (lane, i) = (row / inner, row % inner);
        to.fill(0.0);
        for member in 0..group {
            let source = &from[((lane * group + member) * inner + i) * n..][..n];
            to.iter_mut().zip(source).for_each(|(to, from)| *to += from);
        }
        to.iter_mut().for_each(|to| *to *= scale);
    });
    Ok(reduced)
}

//! Block summaries and their scores on the CPU.

mod quest;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use super::GroupReduce;
use crate::cpu::Isa;
use crate::kv::{Element, HostKv, page_runs, with_element};
use crate::ops::attention::cpu::expect_f32;
use crate::ops::attention::cpu::floats::Floats;
use crate::ops::attention::cpu::lanes::launch;
use crate::ops::attention::cpu::pack::{HeadRows, Layout, Packed, TILE, pack_row, padded};
use crate::ops::attention::cpu::scores::Scores;
use crate::ops::attention::cpu::shared::Shared;
use crate::ops::attention::cpu::softmax::STRIP;
use crate::{DType, Error, KvView, Result, Tensor};

/// Queries of a task of [`mean_scores`]; a multiple of [`STRIP`].
const TASK_QUERIES: usize = 96;

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
            let (first, end) = (from[lane] / block, len.div_ceil(block));
            if first >= end {
                return;
            }
            let new = &mut summary[first * 2 * head_dim..end * 2 * head_dim];
            new.par_chunks_exact_mut(2 * head_dim).with_min_len(8).enumerate().for_each(|(i, bounds)| {
                let b = first + i;
                let (min, max) = bounds.split_at_mut(head_dim);
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
            });
        });
        Ok(())
    })
}

pub(super) fn quest_scores(q: &Tensor, summary: &Tensor, kv: KvView<'_>, block: usize) -> Result<Tensor> {
    expect_f32("block_summary::quest_scores", &[q])?;
    quest::quest_scores(Isa::current(), q, summary, kv, block)
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
    expect_f32("block_summary::mean_scores", &[q])?;
    mean_scores_of(Isa::current(), q, means)
}

fn mean_scores_of(isa: Isa, q: &Tensor, means: &Tensor) -> Result<Tensor> {
    let (kv_heads, blocks, head_dim) = (means.dim(0), means.dim(1), means.dim(2));
    let (queries, heads) = (q.rows(), q.width() / head_dim);
    let mut scores = Tensor::uninit(&[heads * queries, blocks], DType::F32, q.device())?;
    if scores.is_empty() {
        return Ok(scores);
    }
    let (q, means) = (q.f32s(), means.f32s());
    let packed = Packed::new(Layout::Transposed, [kv_heads, blocks, head_dim], |head, b| {
        &means[(head * blocks + b) * head_dim..][..head_dim]
    });
    let (width, stride) = (padded(head_dim), blocks.next_multiple_of(TILE));
    let tasks: Vec<_> = (0..heads)
        .flat_map(|head| (0..queries).step_by(TASK_QUERIES).map(move |first| (head, first)))
        .collect();
    let shared = Shared::new(scores.f32s_mut());
    tasks.par_iter().for_each_init(
        || (Floats::new(TASK_QUERIES * width), Floats::new(TASK_QUERIES * stride)),
        |(packed_queries, to), &(head, first)| {
            let rows = TASK_QUERIES.min(queries - first);
            let strips = rows.next_multiple_of(STRIP);
            let query = HeadRows::new(q, [heads, head_dim], first, head);
            for (i, to) in packed_queries.chunks_exact_mut(width).take(strips).enumerate() {
                pack_row(query.row(i.min(rows - 1)), 1.0, to);
            }
            let kernel = Scores {
                queries: &packed_queries[..strips * width],
                head_dim,
                keys: &packed,
                lane: head / (heads / kv_heads),
                to,
                stride,
            };
            // SAFETY: `isa` is one this processor has.
            unsafe { launch(isa, kernel) };
            // SAFETY: every task has its own head and queries.
            let scores = unsafe { shared.range((head * queries + first) * blocks, rows * blocks) };
            for (scores, from) in scores.chunks_exact_mut(blocks).zip(to.chunks_exact(stride)) {
                scores.copy_from_slice(&from[..blocks]);
            }
        },
    );
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
    let scale = reduce.factor(group);
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

//! Window scores and pooling on the CPU: one task per head, which holds [queries, keys] scores.

use rayon::prelude::*;

use super::Pooling;
use crate::cpu::Isa;
use crate::kv::{Element, with_element};
use crate::ops::attention::AttentionDims;
use crate::ops::attention::cpu::expect_f32;
use crate::ops::attention::cpu::floats::Floats;
use crate::ops::attention::cpu::forward::{lanes, score_factor};
use crate::ops::attention::cpu::lanes::{Kernel, LANES, Lanes, launch};
use crate::ops::attention::cpu::pack::{HeadRows, Layout, Packed, TILE, pack_row, padded};
use crate::ops::attention::cpu::scores::Scores;
use crate::ops::attention::cpu::softmax::STRIP;
use crate::{DType, Result, Tensor};

pub(super) fn window_scores(q: &Tensor, k: &Tensor, dims: AttentionDims) -> Result<Tensor> {
    expect_f32("window_scores", &[q])?;
    with_element!(k.dtype(), "window_scores", T => window_scores_of(Isa::current(), q, T::slice(k), dims))
}

pub(super) fn window_scores_of<T: Element>(
    isa: Isa,
    q: &Tensor,
    k: &[T],
    dims: AttentionDims,
) -> Result<Tensor> {
    let AttentionDims { queries, keys, heads, kv_heads, head_dim, .. } = dims;
    let before = keys - queries;
    let mut sums = Tensor::uninit(&[heads, before], DType::F32, q.device())?;
    if sums.is_empty() {
        return Ok(sums);
    }
    let rows_of = lanes(k, dims);
    let packed = Packed::new(Layout::Transposed, [kv_heads, keys, head_dim], |lane, i| rows_of(lane).row(i));
    let (q, width, stride) = (q.f32s(), padded(head_dim), keys.next_multiple_of(TILE));
    let rows = queries.next_multiple_of(STRIP);
    sums.f32s_mut().par_chunks_mut(before).enumerate().with_max_len(1).for_each_init(
        || (Floats::new(rows * width), Floats::new(rows * stride), Floats::new(stride)),
        |(packed_queries, scores, totals), (head, sums)| {
            let query = HeadRows::new(q, [heads, head_dim], 0, head);
            packed_queries.fill(0.0);
            for (i, to) in packed_queries.chunks_exact_mut(width).take(queries).enumerate() {
                pack_row(query.row(i), score_factor(dims), to);
            }
            totals.fill(0.0);
            let scores = Scores {
                queries: packed_queries,
                head_dim,
                keys: &packed,
                lane: head / dims.group(),
                to: scores,
                stride,
            };
            // SAFETY: `isa` is one this processor has.
            unsafe { launch(isa, Window { scores, queries, before, totals }) };
            sums.copy_from_slice(&totals[..before]);
        },
    );
    Ok(sums)
}

/// One head: scores, then the softmax of each row, added up over the rows.
struct Window<'a> {
    scores: Scores<'a>,
    queries: usize,
    /// Keys before the window.
    before: usize,
    /// [stride], whole vectors of which the first `before` elements count.
    totals: &'a mut [f32],
}

impl Kernel for Window<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { scores, queries, before, totals } = self;
        let stride = scores.stride;
        // SAFETY: rows and totals hold `stride` elements, whole vectors.
        unsafe {
            let scores = scores.fill::<L>();
            for i in 0..queries {
                let (row, seen) = (scores.as_mut_ptr().add(i * stride), before + i + 1);
                let mut max = L::splat(f32::NEG_INFINITY);
                for start in (0..seen).step_by(LANES) {
                    let mut x = L::load(row.add(start));
                    if start + LANES > seen {
                        x = L::keep(x, 0, (seen - start) as isize, f32::NEG_INFINITY);
                        L::store(row.add(start), x);
                    }
                    max = L::max(max, x);
                }
                let max = L::splat(L::largest(max));
                let mut sum = L::splat(0.0);
                for start in (0..seen).step_by(LANES) {
                    let p = L::exp2(L::sub(L::load(row.add(start)), max));
                    L::store(row.add(start), p);
                    sum = L::add(sum, p);
                }
                let scale = L::splat(1.0 / L::sum(sum));
                for start in (0..before).step_by(LANES) {
                    let total = totals.as_mut_ptr().add(start);
                    L::store(total, L::mul_add(scale, L::load(row.add(start)), L::load(total)));
                }
            }
        }
    }
}

pub(super) fn pool(scores: &Tensor, kernel: usize, pooling: Pooling) -> Result<Tensor> {
    let (n, half) = (scores.width(), kernel / 2);
    let mut pooled = Tensor::uninit(scores.shape(), DType::F32, scores.device())?;
    if pooled.is_empty() {
        return Ok(pooled);
    }
    pooled.f32s_mut().par_chunks_mut(n).zip(scores.f32s().par_chunks(n)).for_each(|(to, from)| {
        for (i, to) in to.iter_mut().enumerate() {
            let near = &from[i.saturating_sub(half)..n.min(i + half + 1)];
            *to = match pooling {
                Pooling::Average => near.iter().sum::<f32>() / kernel as f32,
                Pooling::Max => near.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            };
        }
    });
    Ok(pooled)
}

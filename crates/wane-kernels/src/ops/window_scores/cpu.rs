//! Window scores and pooling on the CPU: one task per head.

use rayon::prelude::*;

use super::Pooling;
use crate::kv::{Element, with_element};
use crate::ops::attention::AttentionDims;
use crate::{DType, Result, Tensor};

pub(super) fn window_scores(q: &Tensor, k: &Tensor, dims: AttentionDims) -> Result<Tensor> {
    let AttentionDims { queries, keys, heads, kv_heads, head_dim, scale, .. } = dims;
    let before = keys - queries;
    let mut sums = Tensor::uninit(&[heads, before], DType::F32, q.device())?;
    if before == 0 {
        return Ok(sums);
    }
    let q = q.f32s();
    with_element!(k.dtype(), "window_scores", T => {
        let k = T::slice(k);
        sums.f32s_mut().par_chunks_mut(before).enumerate().for_each(|(head, sums)| {
            sums.fill(0.0);
            for i in 0..queries {
                let query = &q[(i * heads + head) * head_dim..][..head_dim];
                let mut scores: Vec<f32> = (0..=dims.position(i))
                    .map(|j| {
                        let key = &k[(j * kv_heads + head / dims.group()) * head_dim..][..head_dim];
                        scale * query.iter().zip(key).map(|(q, k)| q * k.to_f32()).sum::<f32>()
                    })
                    .collect();
                let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores.iter_mut().for_each(|s| *s = (*s - max).exp());
                let total = 1.0 / scores.iter().sum::<f32>();
                sums.iter_mut().zip(&scores).for_each(|(sum, s)| *sum += s * total);
            }
        });
        Ok(sums)
    })
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

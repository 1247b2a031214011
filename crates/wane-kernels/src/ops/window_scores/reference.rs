//! Window scores and pooling, one query at a time, in f64.

use crate::ops::attention::AttentionDims;

/// Attention mass [heads, keys - queries] that each earlier position receives from the queries.
pub(super) fn window_scores(q: &[f32], k: &[f32], dims: AttentionDims) -> Vec<f64> {
    let head_dim = dims.head_dim;
    let before = dims.keys - dims.queries;
    let mut sums = vec![0.0; dims.heads * before];
    for head in 0..dims.heads {
        for i in 0..dims.queries {
            let query = &q[(i * dims.heads + head) * head_dim..][..head_dim];
            let kv_head = head / (dims.heads / dims.kv_heads);
            let weights: Vec<f64> = (0..=before + i)
                .map(|j| {
                    let key = &k[(j * dims.kv_heads + kv_head) * head_dim..][..head_dim];
                    let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                    (f64::from(dims.scale) * dot).exp()
                })
                .collect();
            let total: f64 = weights.iter().sum();
            for j in 0..before {
                sums[head * before + j] += weights[j] / total;
            }
        }
    }
    sums
}

/// Mean over `kernel` neighbours of one row, zeros beyond its ends.
pub(super) fn average(row: &[f32], kernel: usize) -> Vec<f64> {
    neighbours(row, kernel)
        .map(|near| near.iter().map(|&x| f64::from(x)).sum::<f64>() / kernel as f64)
        .collect()
}

/// Maximum over `kernel` neighbours of one row.
pub(super) fn maximum(row: &[f32], kernel: usize) -> Vec<f64> {
    neighbours(row, kernel)
        .map(|near| f64::from(near.iter().copied().fold(f32::NEG_INFINITY, f32::max)))
        .collect()
}

fn neighbours(row: &[f32], kernel: usize) -> impl Iterator<Item = &[f32]> {
    let half = kernel / 2;
    (0..row.len()).map(move |i| &row[i.saturating_sub(half)..(i + half + 1).min(row.len())])
}

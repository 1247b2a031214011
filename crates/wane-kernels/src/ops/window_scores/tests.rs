//! Window scores and pooling against the reference.

use super::*;
use crate::testing::{
    activations, assert_close, device, narrow, noise, noise_activations, noise_tensor, tolerance,
};

const TOLERANCE_F32: f32 = 3e-6;
// Scores are kept in f32 everywhere; only the order of sums differs.
const TOLERANCE_BF16: f32 = 1e-4;

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().expect("floats")
}

#[test]
fn the_windows_attention_is_summed() {
    for (queries, keys, heads, kv_heads, head_dim) in [
        (1, 2, 1, 1, 32),
        (5, 5, 2, 2, 32),
        (16, 130, 4, 2, 40),
        (64, 257, 2, 1, 64),
        (33, 300, 6, 2, 96),
        (64, 1100, 1, 1, 128),
    ] {
        let dims = AttentionDims {
            batch: 1,
            queries,
            keys,
            heads,
            kv_heads,
            head_dim,
            scale: (head_dim as f32).sqrt().recip(),
            pattern: Pattern::Causal,
        };
        let stretched: Vec<f32> = noise(queries * heads * head_dim, 21).iter().map(|x| 4.0 * x).collect();
        let q = activations(&stretched, &[queries, heads * head_dim], &device());
        let k = noise_activations(&[keys, kv_heads * head_dim], 22, &device());
        let want = reference::window_scores(&host(&q), &host(&k), dims);
        let got = window_scores(&q, &k, dims).expect("scores");
        assert_eq!(got.shape(), [heads, keys - queries]);
        let tolerance = tolerance(&device(), TOLERANCE_F32, TOLERANCE_BF16);
        assert_close(&format!("{dims:?}"), &host(&got), &narrow(&want), tolerance);
    }
}

#[test]
fn neighbours_are_pooled() {
    for (n, kernel) in [(1, 5), (3, 7), (63, 5), (130, 7), (257, 1)] {
        let scores = noise_tensor(&[3, n], 23, &device());
        let rows = host(&scores);
        let average: Vec<f64> = rows.chunks(n).flat_map(|row| reference::average(row, kernel)).collect();
        let maximum: Vec<f64> = rows.chunks(n).flat_map(|row| reference::maximum(row, kernel)).collect();
        let got = pool(&scores, kernel, Pooling::Average).expect("average");
        assert_close("average", &host(&got), &narrow(&average), 1e-6);
        let got = pool(&scores, kernel, Pooling::Max).expect("max");
        assert_close("max", &host(&got), &narrow(&maximum), 0.0);
    }
    pool(&noise_tensor(&[1, 8], 1, &device()), 4, Pooling::Max).expect_err("an even kernel");
}

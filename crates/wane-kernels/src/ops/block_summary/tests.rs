//! Summaries and scores against the reference.

use super::*;
use crate::testing::paged::PagedKv;
use crate::testing::{assert_close, device, narrow, noise_activations, noise_tensor};

const TOLERANCE: f32 = 3e-6;

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().expect("floats")
}

/// The rows of block `b` of a lane's keys.
fn block_rows(keys: &[f32], b: usize, block: usize, head_dim: usize) -> &[f32] {
    &keys[b * block * head_dim..((b + 1) * block * head_dim).min(keys.len())]
}

#[track_caller]
fn check_summary_of(paged: &PagedKv, summary: &Tensor, lens: &[usize], block: usize) {
    let (head_dim, blocks, values) = (summary.width(), summary.dim(1), host(summary));
    for (lane, len) in lens.iter().enumerate() {
        for b in 0..len.div_ceil(block) {
            let rows = block_rows(&paged.keys[lane][..len * head_dim], b, block, head_dim);
            let (min, max) = reference::min_max(rows, head_dim);
            let got = &values[(lane * blocks + b) * 2 * head_dim..][..2 * head_dim];
            assert_eq!(got, [min, max].concat(), "lane {lane}, block {b} of {block}");
        }
    }
}

#[test]
fn minima_and_maxima_are_exact_whole_and_incremental() {
    for dtype in [DType::F32, DType::BF16] {
        for (head_dim, block) in [(64, 16), (40, 64), (32, 24), (96, 128)] {
            let lens = [130, 63, 257, 1];
            let mut paged = PagedKv::noise(&device(), dtype, 2, head_dim, &lens);
            let blocks = 257usize.div_ceil(block) + 1;
            let shape = [4, blocks, 2, head_dim];
            let mut summary = Tensor::uninit(&shape, DType::F32, &device()).expect("summary");
            let earlier = [100, 63, 200, 0];
            paged.set_lens(&earlier);
            update_min_max(paged.view(), block, &[0; 4], &mut summary).expect("update");
            check_summary_of(&paged, &summary, &earlier, block);
            paged.set_lens(&lens);
            update_min_max(paged.view(), block, &earlier, &mut summary).expect("update");
            check_summary_of(&paged, &summary, &lens, block);
        }
    }
}

#[test]
fn quest_scores_are_upper_bounds() {
    for (head_dim, group, block) in [(64, 1, 16), (40, 3, 24), (128, 2, 64), (32, 8, 128)] {
        let (device, lens, kv_heads) = (device(), [130, 63, 257, 64], 2);
        let heads = kv_heads * group;
        let paged = PagedKv::noise(&device, DType::BF16, kv_heads, head_dim, &lens);
        let blocks = 257usize.div_ceil(block);
        let mut summary = Tensor::uninit(&[4, blocks, 2, head_dim], DType::F32, &device).expect("summary");
        update_min_max(paged.view(), block, &[0; 4], &mut summary).expect("update");
        let q = noise_activations(&[2, heads * head_dim], 6, &device);
        let scores = quest_scores(&q, &summary, paged.view(), block).expect("scores");
        assert_eq!(scores.shape(), [2 * heads, blocks]);
        let (scores, q) = (host(&scores), host(&q));
        for row in 0..2 * heads {
            let lane = row / heads * kv_heads + row % heads / group;
            let used = lens[lane].div_ceil(block);
            let want: Vec<f64> = (0..used)
                .map(|b| {
                    let rows = block_rows(&paged.keys[lane], b, block, head_dim);
                    let (min, max) = reference::min_max(rows, head_dim);
                    reference::upper_bound(&q[row * head_dim..][..head_dim], &min, &max)
                })
                .collect();
            assert_close("quest", &scores[row * blocks..][..used], &narrow(&want), TOLERANCE);
        }
    }
}

#[test]
fn block_means_average_valid_rows() {
    for (keys, kv_heads, head_dim, block) in
        [(130, 2, 64, 64), (63, 3, 40, 16), (257, 1, 96, 24), (5, 2, 32, 64)]
    {
        let k = noise_activations(&[keys, kv_heads * head_dim], 7, &device());
        let means = block_means(&k, kv_heads, block).expect("means");
        let blocks = keys.div_ceil(block);
        assert_eq!(means.shape(), [kv_heads, blocks, head_dim]);
        let k = host(&k);
        let mut want = Vec::new();
        for head in 0..kv_heads {
            let column: Vec<f32> = k
                .chunks(kv_heads * head_dim)
                .flat_map(|row| row[head * head_dim..][..head_dim].to_vec())
                .collect();
            for b in 0..blocks {
                want.extend(reference::mean(block_rows(&column, b, block, head_dim), head_dim));
            }
        }
        assert_close("means", &host(&means), &narrow(&want), TOLERANCE);
    }
}

#[test]
fn mean_scores_are_dot_products() {
    for (queries, kv_heads, group, head_dim, blocks) in
        [(1, 2, 1, 64, 5), (63, 2, 2, 40, 70), (130, 1, 4, 128, 64)]
    {
        let heads = kv_heads * group;
        let q = noise_activations(&[queries, heads * head_dim], 8, &device());
        let means = noise_tensor(&[kv_heads, blocks, head_dim], 9, &device());
        let scores = mean_scores(&q, &means).expect("scores");
        assert_eq!(scores.shape(), [heads * queries, blocks]);
        let (q, means) = (host(&q), host(&means));
        let mut want = Vec::new();
        for head in 0..heads {
            for i in 0..queries {
                let query = &q[(i * heads + head) * head_dim..][..head_dim];
                for b in 0..blocks {
                    let mean = &means[(head / group * blocks + b) * head_dim..][..head_dim];
                    want.push(reference::dot(query, mean));
                }
            }
        }
        assert_close("mean scores", &host(&scores), &narrow(&want), TOLERANCE);
    }
}

#[test]
fn mean_scores_of_a_query_do_not_depend_on_the_others() {
    let q = noise_activations(&[37, 2 * 64], 8, &device());
    let means = noise_tensor(&[2, 19, 64], 9, &device());
    let whole = host(&mean_scores(&q, &means).expect("scores"));
    for i in 0..37 {
        let one = host(&mean_scores(&q.slice(i, i + 1).expect("a row"), &means).expect("scores"));
        for head in 0..2 {
            assert_eq!(one[head * 19..][..19], whole[(head * 37 + i) * 19..][..19], "query {i}");
        }
    }
}

#[test]
fn groups_are_reduced() {
    // Two outer rows, four heads over two, two inner rows, one score each.
    let scores: Vec<f32> = (0..16).map(|x| x as f32).collect();
    let scores = Tensor::from_f32(&scores, &[16, 1], &device()).expect("scores");
    let sum = group_scores(&scores, 4, 2, 2, GroupReduce::Sum).expect("sum");
    assert_eq!(host(&sum), [2., 4., 10., 12., 18., 20., 26., 28.]);
    let mean = group_scores(&scores, 4, 2, 2, GroupReduce::Mean).expect("mean");
    assert_eq!(host(&mean), [1., 2., 5., 6., 9., 10., 13., 14.]);
    group_scores(&scores, 3, 2, 2, GroupReduce::Sum).expect_err("three heads over two");
}

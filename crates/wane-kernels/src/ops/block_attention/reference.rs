//! Attention over listed keys, one query at a time, in f64.

/// Softmax attention of `query` over the rows `listed` of `keys` and `values` [rows, head_dim].
pub(super) fn attend(query: &[f32], keys: &[f32], values: &[f32], listed: &[usize], scale: f32) -> Vec<f64> {
    let head_dim = query.len();
    let scores: Vec<f64> = listed
        .iter()
        .map(|&j| {
            let key = &keys[j * head_dim..][..head_dim];
            f64::from(scale) * query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>()
        })
        .collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, s| max.max(*s));
    let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
    let mut output = vec![0.0; head_dim];
    for (&j, s) in listed.iter().zip(&scores) {
        for c in 0..head_dim {
            output[c] += (s - max).exp() / total * f64::from(values[j * head_dim + c]);
        }
    }
    output
}

/// The rows below `end` in the listed blocks.
pub(super) fn rows(blocks: &[i32], block: usize, end: usize) -> Vec<usize> {
    let mut rows = Vec::new();
    for &b in blocks.iter().filter(|b| **b >= 0) {
        rows.extend((b as usize * block..(b as usize + 1) * block).filter(|row| *row < end));
    }
    rows
}

//! Block summaries and scores, one element at a time, sums in f64.

/// Minimum and maximum of each channel over `rows` [rows, head_dim].
pub(super) fn min_max(rows: &[f32], head_dim: usize) -> (Vec<f32>, Vec<f32>) {
    let channel = |c: usize| rows.iter().skip(c).step_by(head_dim).copied();
    let min = (0..head_dim).map(|c| channel(c).fold(f32::INFINITY, f32::min)).collect();
    let max = (0..head_dim).map(|c| channel(c).fold(f32::NEG_INFINITY, f32::max)).collect();
    (min, max)
}

/// Largest `query . k` over the box `min <= k <= max`.
pub(super) fn upper_bound(query: &[f32], min: &[f32], max: &[f32]) -> f64 {
    (0..query.len())
        .map(|c| (f64::from(query[c]) * f64::from(min[c])).max(f64::from(query[c]) * f64::from(max[c])))
        .sum()
}

/// Mean of each channel over `rows` [rows, head_dim].
pub(super) fn mean(rows: &[f32], head_dim: usize) -> Vec<f64> {
    let count = (rows.len() / head_dim) as f64;
    (0..head_dim)
        .map(|c| rows.iter().skip(c).step_by(head_dim).map(|&x| f64::from(x)).sum::<f64>() / count)
        .collect()
}

/// `query . mean`.
pub(super) fn dot(query: &[f32], mean: &[f32]) -> f64 {
    query.iter().zip(mean).map(|(q, m)| f64::from(*q) * f64::from(*m)).sum()
}

//! What the pages of one lane must hold, as plain vectors of rows.

/// The rows of head `head` of a matrix [rows, kv_heads * head_dim].
pub(super) fn head_rows(matrix: &[f32], kv_heads: usize, head_dim: usize, head: usize) -> Vec<Vec<f32>> {
    matrix.chunks(kv_heads * head_dim).map(|row| row[head * head_dim..][..head_dim].to_vec()).collect()
}

/// The rows that `keep` lists, in order.
pub(super) fn compact(rows: &[Vec<f32>], keep: &[i32]) -> Vec<Vec<f32>> {
    keep.iter().map(|&row| rows[row as usize].clone()).collect()
}

//! Definition of the rotation, in f64.

/// Rotates one head by `angles[i]` in the planes (i, i + angles.len()).
pub(super) fn rotate(head: &[f64], angles: &[f64]) -> Vec<f64> {
    let half = angles.len();
    let mut out = head.to_vec();
    for (i, angle) in angles.iter().enumerate() {
        out[i] = head[i] * angle.cos() - head[i + half] * angle.sin();
        out[i + half] = head[i + half] * angle.cos() + head[i] * angle.sin();
    }
    out
}

//! Definition of the norm and its gradients, in f64.

/// Normalizes each group of `w.len()` elements.
pub(super) fn rms_norm(x: &[f64], w: &[f64], eps: f64) -> Vec<f64> {
    x.chunks_exact(w.len())
        .flat_map(|x| {
            let scale = inverse_rms(x, eps);
            x.iter().zip(w).map(move |(x, w)| x * scale * w).collect::<Vec<_>>()
        })
        .collect()
}

/// Gradients of the input and the weight.
pub(super) fn backward(dy: &[f64], x: &[f64], w: &[f64], eps: f64) -> (Vec<f64>, Vec<f64>) {
    let d = w.len();
    let (mut dx, mut dw) = (Vec::with_capacity(x.len()), vec![0.0; d]);
    for (dy, x) in dy.chunks_exact(d).zip(x.chunks_exact(d)) {
        let scale = inverse_rms(x, eps);
        let mean: f64 = (0..d).map(|j| w[j] * dy[j] * x[j]).sum::<f64>() / d as f64;
        for j in 0..d {
            dx.push(scale * w[j] * dy[j] - x[j] * scale.powi(3) * mean);
            dw[j] += dy[j] * x[j] * scale;
        }
    }
    (dx, dw)
}

fn inverse_rms(x: &[f64], eps: f64) -> f64 {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    1.0 / (mean + eps).sqrt()
}

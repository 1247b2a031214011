//! Definition of the products and their gradients, in f64.

/// Rows, output features, input features.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) n: usize,
    pub(super) m: usize,
    pub(super) k: usize,
}

/// `x W^T + bias`.
pub(super) fn linear(x: &[f64], w: &[f64], bias: Option<&[f64]>, s: Sizes) -> Vec<f64> {
    let mut y = vec![0.0; s.n * s.m];
    for i in 0..s.n {
        for j in 0..s.m {
            let mut sum = bias.map_or(0.0, |bias| bias[j]);
            for c in 0..s.k {
                sum += x[i * s.k + c] * w[j * s.k + c];
            }
            y[i * s.m + j] = sum;
        }
    }
    y
}

/// Gradients of the input, the weight and the bias.
pub(super) fn backward(dy: &[f64], x: &[f64], w: &[f64], s: Sizes) -> [Vec<f64>; 3] {
    let (mut dx, mut dw, mut dbias) = (vec![0.0; s.n * s.k], vec![0.0; s.m * s.k], vec![0.0; s.m]);
    for i in 0..s.n {
        for j in 0..s.m {
            let grad = dy[i * s.m + j];
            dbias[j] += grad;
            for c in 0..s.k {
                dx[i * s.k + c] += grad * w[j * s.k + c];
                dw[j * s.k + c] += grad * x[i * s.k + c];
            }
        }
    }
    [dx, dw, dbias]
}

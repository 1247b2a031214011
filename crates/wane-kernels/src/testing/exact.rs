//! Test inputs together with their exact values in f64, comparison with references in f64, and
//! the check of a reference's gradient by finite differences.

use half::bf16;

use super::{activation_dtype, assert_close, noise};
use crate::{DType, Device, Tensor};

/// `values` rounded to `dtype` on `device`, and the rounded values, from which a reference is
/// to be computed.
pub fn rounded(values: &[f32], shape: &[usize], dtype: DType, device: &Device) -> (Tensor, Vec<f64>) {
    let (bytes, exact): (Vec<u8>, Vec<f64>) = match dtype {
        DType::BF16 => {
            let halves: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
            (bytemuck::cast_slice(&halves).to_vec(), halves.iter().map(|x| x.to_f64()).collect())
        }
        _ => (bytemuck::cast_slice(values).to_vec(), values.iter().map(|&x| f64::from(x)).collect()),
    };
    (Tensor::from_bytes(&bytes, shape, dtype, device).expect("a test tensor"), exact)
}

/// Noise in the activation dtype of `device`, and its exact values.
pub fn noise_pair(shape: &[usize], seed: u64, device: &Device) -> (Tensor, Vec<f64>) {
    let values = noise(shape.iter().product(), seed);
    rounded(&values, shape, activation_dtype(device), device)
}

/// [`assert_close`] of a tensor with a reference in f64.
#[track_caller]
pub fn assert_tensor_close(name: &str, got: &Tensor, want: &[f64], tolerance: f32) {
    let want: Vec<f32> = want.iter().map(|&x| x as f32).collect();
    assert_close(name, &got.to_f32_vec().expect("a readable tensor"), &want, tolerance);
}

/// The columns `start..start + width` of a row-major matrix with `stride` columns.
pub fn columns(values: &[f64], stride: usize, start: usize, width: usize) -> Vec<f64> {
    values.chunks_exact(stride).flat_map(|row| row[start..start + width].iter().copied()).collect()
}

/// Compares a gradient with central differences of `loss`, both in f64.
#[track_caller]
pub fn assert_gradient(name: &str, x: &[f64], gradient: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{name}: length");
    let (mut x, step) = (x.to_vec(), 1e-5);
    for i in 0..x.len() {
        let at = x[i];
        x[i] = at + step;
        let above = loss(&x);
        x[i] = at - step;
        let below = loss(&x);
        x[i] = at;
        let want = (above - below) / (2.0 * step);
        let error = (gradient[i] - want).abs();
        assert!(error <= 1e-6 * (1.0 + want.abs()), "{name}[{i}] is {}, want {want}", gradient[i]);
    }
}

/// Noise in f64.
pub fn noise_f64(len: usize, seed: u64) -> Vec<f64> {
    noise(len, seed).into_iter().map(f64::from).collect()
}

/// `sum_i a_i b_i`: a loss whose gradient with respect to `a` is `b`.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

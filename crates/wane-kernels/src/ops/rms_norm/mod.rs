//! Root-mean-square normalization: `y = x / sqrt(mean(x^2) + eps) * w`, over groups of `d` columns.
//!
//! With `w` as wide as the row this is the usual norm; with `w` of one head's width it
//! normalizes each head by itself (QK-norm of Qwen3).

mod cpu;
mod cuda;

use crate::{Cols, Device, Error, Result, Tensor};

/// Normalizes each group of `weight.len()` columns of each row.
///
/// # Shapes
/// `x` [n, groups * d], `weight` [d] (any float dtype), result [n, groups * d] in the dtype of `x`.
///
/// # Errors
/// The width of `x` is no multiple of `d`.
pub fn rms_norm(x: Cols<'_>, weight: &Tensor, eps: f32) -> Result<Tensor> {
    match x.tensor.device() {
        Device::Cpu => cpu::rms_norm(x, weight, eps),
        Device::Cuda(_) => cuda::rms_norm(x, weight, eps),
    }
}

/// Gradient of the input, and `dweight` (f32 [d]) increased by the weight's gradient. If
/// `residual_grad` [n, width] is given it is added to the result: the other branch of a block.
///
/// # Errors
/// Shapes that do not fit.
pub fn backward(
    dy: &Tensor,
    x: Cols<'_>,
    weight: &Tensor,
    eps: f32,
    residual_grad: Option<&Tensor>,
    dweight: &mut Tensor,
) -> Result<Tensor> {
    match dy.device() {
        Device::Cpu => cpu::backward(dy, x, weight, eps, residual_grad, dweight),
        Device::Cuda(_) => cuda::backward(dy, x, weight, eps, residual_grad, dweight),
    }
}

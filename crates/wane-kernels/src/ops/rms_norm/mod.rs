//! Root-mean-square normalization (arXiv 1910.07467): `y = x / sqrt(mean(x^2) + eps) * w`, over
//! groups of `d` columns.
//!
//! Backward, with `s = 1 / sqrt(mean(x^2) + eps)`: `dx = s w dy - x s^3 mean(w dy x)`,
//! `dw = sum over rows and groups of dy x s`.
//!
//! With `w` as wide as the row this is the usual norm; with `w` of one head's width it
//! normalizes each head by itself (QK-norm of Qwen3).

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{Cols, DType, Device, Error, Result, Tensor};

/// Normalizes each group of `weight.len()` columns of each row.
///
/// # Shapes
/// `x` [n, groups * d], `weight` \[d] (any float dtype), result [n, groups * d] in the dtype of `x`.
///
/// # Errors
/// The width of `x` is no multiple of `d`.
pub fn rms_norm(x: Cols<'_>, weight: &Tensor, eps: f32) -> Result<Tensor> {
    check("rms_norm", x, weight)?;
    match x.tensor.device() {
        Device::Cpu => cpu::rms_norm(x, weight, eps),
        Device::Cuda(_) => cuda::rms_norm(x, weight, eps),
    }
}

/// Gradient of the input, and `dweight` (f32 \[d]) increased by the weight's gradient. If
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
    let op = "rms_norm backward";
    check(op, x, weight)?;
    dy.expect_rows(op, "dy", [x.rows(), x.width])?;
    if let Some(grad) = residual_grad {
        grad.expect_rows(op, "residual gradient", [x.rows(), x.width])?;
    }
    dweight.expect(op, "dweight", DType::F32, weight.shape())?;
    match dy.device() {
        Device::Cpu => cpu::backward(dy, x, weight, eps, residual_grad, dweight),
        Device::Cuda(_) => cuda::backward(dy, x, weight, eps, residual_grad, dweight),
    }
}

fn check(op: &'static str, x: Cols<'_>, weight: &Tensor) -> Result<()> {
    if weight.is_empty() || weight.shape().len() != 1 || !x.width.is_multiple_of(weight.len()) {
        let got = format!("{} columns and weight {weight:?}", x.width);
        return Err(Error::shape(op, "a width that is a multiple of the weight's", got));
    }
    Ok(())
}

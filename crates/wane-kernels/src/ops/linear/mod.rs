//! Matrix products with a weight `W` [m, k]: `y = x W^T (+ bias) (+ residual)` and its gradients.
//!
//! `dx = dy W`, `dW += dy^T x`, `dbias += sum of rows of dy`. Quantized weights have no gradients.

pub(crate) mod cpu;
mod cuda;
mod dense_dot;
mod few_rows;
mod panel;
mod quant_dot;
#[cfg(target_arch = "x86_64")]
mod quant_dot_avx512;
#[cfg(test)]
mod reference;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod split;
mod tall;
#[cfg(test)]
mod tests;

use crate::{Cols, ColsMut, DType, Device, Result, Tensor, Weight};

/// `x W^T + bias`.
///
/// # Shapes
/// `x` [n, k], `weight` [m, k], `bias` \[m], result [n, m] in the dtype of `x`.
///
/// # Errors
/// Shapes that do not fit; quantized weights on CUDA.
pub fn linear(x: &Tensor, weight: &Weight, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = weight.rows();
    }
    let mut out = Tensor::uninit(&shape, x.dtype(), x.device())?;
    let width = out.width();
    linear_into(x.into(), weight, bias, out.cols_mut(0, width))?;
    Ok(out)
}

/// Like [`linear`], into columns of an existing matrix: the parts of a fused projection.
///
/// # Errors
/// As [`linear`].
pub fn linear_into(x: Cols<'_>, weight: &Weight, bias: Option<&Tensor>, out: ColsMut<'_>) -> Result<()> {
    x.expect("linear", "x", [x.rows(), weight.columns()])?;
    out.expect("linear", "out", [x.rows(), weight.rows()])?;
    if let Some(bias) = bias {
        bias.expect_rows("linear", "bias", [1, weight.rows()])?;
    }
    match x.tensor.device() {
        Device::Cpu => cpu::linear_into(x, weight, bias, out),
        Device::Cuda(_) => cuda::linear_into(x, weight, bias, out),
    }
}

/// `residual + x W^T`: [n, m].
///
/// # Errors
/// As [`linear`].
pub fn linear_residual(x: &Tensor, weight: &Weight, residual: &Tensor) -> Result<Tensor> {
    x.expect_rows("linear_residual", "x", [x.rows(), weight.columns()])?;
    residual.expect_rows("linear_residual", "residual", [x.rows(), weight.rows()])?;
    match x.device() {
        Device::Cpu => cpu::linear_residual(x, weight, residual),
        Device::Cuda(_) => cuda::linear_residual(x, weight, residual),
    }
}

/// Gradient of the input: `dy W` [n, k], in the dtype of `dy`.
///
/// # Errors
/// Shapes that do not fit; quantized weights.
pub fn backward_input(dy: Cols<'_>, weight: &Weight) -> Result<Tensor> {
    dy.expect("linear backward_input", "dy", [dy.rows(), weight.rows()])?;
    match dy.tensor.device() {
        Device::Cpu => cpu::backward_input(dy, weight),
        Device::Cuda(_) => cuda::backward_input(dy, weight),
    }
}

/// Adds the gradient of the weight, `dy^T x`, to `dweight` (f32 [m, k]).
///
/// # Errors
/// Shapes that do not fit.
pub fn backward_weight(dy: Cols<'_>, x: &Tensor, dweight: &mut Tensor) -> Result<()> {
    x.expect_rows("linear backward_weight", "x", [dy.rows(), x.width()])?;
    dweight.expect("linear backward_weight", "dweight", DType::F32, &[dy.width, x.width()])?;
    match dy.tensor.device() {
        Device::Cpu => cpu::backward_weight(dy, x, dweight),
        Device::Cuda(_) => cuda::backward_weight(dy, x, dweight),
    }
}

/// Adds the gradient of the bias, the sum of the rows of `dy`, to `dbias` (f32 \[m]).
///
/// # Errors
/// Shapes that do not fit.
pub fn backward_bias(dy: Cols<'_>, dbias: &mut Tensor) -> Result<()> {
    dbias.expect("linear backward_bias", "dbias", DType::F32, &[dy.width])?;
    match dy.tensor.device() {
        Device::Cpu => cpu::backward_bias(dy, dbias),
        Device::Cuda(_) => cuda::backward_bias(dy, dbias),
    }
}

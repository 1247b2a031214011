//! Elementwise parts of a block: SwiGLU (arXiv 2002.05202), GELU (arXiv 1606.08415, exact), the
//! sigmoid output gate of RAT+ (arXiv 2602.18196), addition.
//!
//! `silu(x) = x s(x)` with `s(x) = 1 / (1 + e^-x)`, `silu'(x) = s + x s (1 - s)`;
//! `gelu(x) = x Phi(x)`, `gelu'(x) = Phi(x) + x phi(x)`.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{Cols, ColsMut, Device, Error, Result, Tensor};

/// `silu(gate) * up` for `x = [gate | up]` [n, 2 f]: [n, f].
///
/// # Errors
/// An odd width.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
    if x.shape().is_empty() || !x.width().is_multiple_of(2) {
        return Err(Error::shape("swiglu", "an even width [gate | up]", format!("{x:?}")));
    }
    match x.device() {
        Device::Cpu => cpu::swiglu(x),
        Device::Cuda(_) => cuda::swiglu(x),
    }
}

/// Gradient of [`swiglu`]'s input [n, 2 f].
///
/// # Errors
/// Shapes that do not fit.
pub fn swiglu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    x.expect_rows("swiglu_backward", "x", [dy.rows(), 2 * dy.width()])?;
    match dy.device() {
        Device::Cpu => cpu::swiglu_backward(dy, x),
        Device::Cuda(_) => cuda::swiglu_backward(dy, x),
    }
}

/// Exact GELU (with erf).
///
/// # Errors
/// The device failed.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Cpu => cpu::gelu(x),
        Device::Cuda(_) => cuda::gelu(x),
    }
}

/// Gradient of [`gelu`]'s input.
///
/// # Errors
/// Shapes that do not fit.
pub fn gelu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    x.expect_rows("gelu_backward", "x", [dy.rows(), dy.width()])?;
    match dy.device() {
        Device::Cpu => cpu::gelu_backward(dy, x),
        Device::Cuda(_) => cuda::gelu_backward(dy, x),
    }
}

/// `y * sigmoid(gate)`: the output gate of RAT+ and of its attention baseline. [n, d].
///
/// # Errors
/// Shapes that do not fit.
pub fn sigmoid_gate(y: &Tensor, gate: Cols<'_>) -> Result<Tensor> {
    gate.expect("sigmoid_gate", "gate", [y.rows(), y.width()])?;
    match y.device() {
        Device::Cpu => cpu::sigmoid_gate(y, gate),
        Device::Cuda(_) => cuda::sigmoid_gate(y, gate),
    }
}

/// Gradients of [`sigmoid_gate`]: returns that of `y`, writes that of `gate` to `dgate`.
///
/// # Errors
/// Shapes that do not fit.
pub fn sigmoid_gate_backward(
    dout: &Tensor,
    y: &Tensor,
    gate: Cols<'_>,
    dgate: ColsMut<'_>,
) -> Result<Tensor> {
    let shape = [dout.rows(), dout.width()];
    y.expect_rows("sigmoid_gate_backward", "y", shape)?;
    gate.expect("sigmoid_gate_backward", "gate", shape)?;
    dgate.expect("sigmoid_gate_backward", "dgate", shape)?;
    match dout.device() {
        Device::Cpu => cpu::sigmoid_gate_backward(dout, y, gate, dgate),
        Device::Cuda(_) => cuda::sigmoid_gate_backward(dout, y, gate, dgate),
    }
}

/// `a + b`.
///
/// # Errors
/// Shapes that do not fit.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    b.expect_rows("add", "b", [a.rows(), a.width()])?;
    match a.device() {
        Device::Cpu => cpu::add(a, b),
        Device::Cuda(_) => cuda::add(a, b),
    }
}

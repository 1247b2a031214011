//! Elementwise parts of a block: SwiGLU, GELU, the sigmoid output gate, addition.

mod cpu;
mod cuda;

use crate::{Cols, ColsMut, Device, Error, Result, Tensor};

/// `silu(gate) * up` for `x = [gate | up]` [n, 2 f]: [n, f].
///
/// # Errors
/// An odd width.
pub fn swiglu(x: &Tensor) -> Result<Tensor> {
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
    match a.device() {
        Device::Cpu => cpu::add(a, b),
        Device::Cuda(_) => cuda::add(a, b),
    }
}

//! activation on the CPU.

use crate::{Cols, ColsMut, Error, Result, Tensor};

pub(super) fn swiglu(_x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::swiglu", "cpu"))
}

pub(super) fn swiglu_backward(_dy: &Tensor, _x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::swiglu_backward", "cpu"))
}

pub(super) fn gelu(_x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::gelu", "cpu"))
}

pub(super) fn gelu_backward(_dy: &Tensor, _x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::gelu_backward", "cpu"))
}

pub(super) fn sigmoid_gate(_y: &Tensor, _gate: Cols<'_>) -> Result<Tensor> {
    Err(Error::unsupported("activation::sigmoid_gate", "cpu"))
}

pub(super) fn sigmoid_gate_backward(
    _dout: &Tensor,
    _y: &Tensor,
    _gate: Cols<'_>,
    _dgate: ColsMut<'_>,
) -> Result<Tensor> {
    Err(Error::unsupported("activation::sigmoid_gate_backward", "cpu"))
}

pub(super) fn add(_a: &Tensor, _b: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::add", "cpu"))
}

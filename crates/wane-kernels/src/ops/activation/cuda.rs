//! activation on NVIDIA GPUs.

use crate::{Cols, ColsMut, Error, Result, Tensor};

pub(super) fn swiglu(_x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::swiglu", "cuda"))
}

pub(super) fn swiglu_backward(_dy: &Tensor, _x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::swiglu_backward", "cuda"))
}

pub(super) fn gelu(_x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::gelu", "cuda"))
}

pub(super) fn gelu_backward(_dy: &Tensor, _x: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::gelu_backward", "cuda"))
}

pub(super) fn sigmoid_gate(_y: &Tensor, _gate: Cols<'_>) -> Result<Tensor> {
    Err(Error::unsupported("activation::sigmoid_gate", "cuda"))
}

pub(super) fn sigmoid_gate_backward(
    _dout: &Tensor,
    _y: &Tensor,
    _gate: Cols<'_>,
    _dgate: ColsMut<'_>,
) -> Result<Tensor> {
    Err(Error::unsupported("activation::sigmoid_gate_backward", "cuda"))
}

pub(super) fn add(_a: &Tensor, _b: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("activation::add", "cuda"))
}

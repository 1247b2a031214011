//! rms_norm on NVIDIA GPUs.

use crate::{Cols, Error, Result, Tensor};

pub(super) fn rms_norm(_x: Cols<'_>, _weight: &Tensor, _eps: f32) -> Result<Tensor> {
    Err(Error::unsupported("rms_norm::rms_norm", "cuda"))
}

pub(super) fn backward(
    _dy: &Tensor,
    _x: Cols<'_>,
    _weight: &Tensor,
    _eps: f32,
    _residual_grad: Option<&Tensor>,
    _dweight: &mut Tensor,
) -> Result<Tensor> {
    Err(Error::unsupported("rms_norm::backward", "cuda"))
}

//! linear on NVIDIA GPUs.

use crate::{Cols, ColsMut, Error, Result, Tensor, Weight};

pub(super) fn linear_into(
    _x: Cols<'_>,
    _weight: &Weight,
    _bias: Option<&Tensor>,
    _out: ColsMut<'_>,
) -> Result<()> {
    Err(Error::unsupported("linear::linear_into", "cuda"))
}

pub(super) fn linear_residual(_x: &Tensor, _weight: &Weight, _residual: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("linear::linear_residual", "cuda"))
}

pub(super) fn backward_input(_dy: Cols<'_>, _weight: &Weight) -> Result<Tensor> {
    Err(Error::unsupported("linear::backward_input", "cuda"))
}

pub(super) fn backward_weight(_dy: Cols<'_>, _x: &Tensor, _dweight: &mut Tensor) -> Result<()> {
    Err(Error::unsupported("linear::backward_weight", "cuda"))
}

pub(super) fn backward_bias(_dy: Cols<'_>, _dbias: &mut Tensor) -> Result<()> {
    Err(Error::unsupported("linear::backward_bias", "cuda"))
}

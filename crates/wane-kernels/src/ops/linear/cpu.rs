//! linear on the CPU.

use crate::{Cols, ColsMut, Error, Result, Tensor, Weight};

pub(super) fn linear_into(
    _x: Cols<'_>,
    _weight: &Weight,
    _bias: Option<&Tensor>,
    _out: ColsMut<'_>,
) -> Result<()> {
    Err(Error::unsupported("linear::linear_into", "cpu"))
}

pub(super) fn linear_residual(_x: &Tensor, _weight: &Weight, _residual: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("linear::linear_residual", "cpu"))
}

pub(super) fn backward_input(_dy: Cols<'_>, _weight: &Weight) -> Result<Tensor> {
    Err(Error::unsupported("linear::backward_input", "cpu"))
}

pub(super) fn backward_weight(_dy: Cols<'_>, _x: &Tensor, _dweight: &mut Tensor) -> Result<()> {
    Err(Error::unsupported("linear::backward_weight", "cpu"))
}

pub(super) fn backward_bias(_dy: Cols<'_>, _dbias: &mut Tensor) -> Result<()> {
    Err(Error::unsupported("linear::backward_bias", "cpu"))
}

//! cross_entropy on the CPU.

use super::LossGrads;
use crate::{Error, Result, Tensor, Weight};

pub(super) fn losses(_hidden: &Tensor, _head: &Weight, _targets: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("cross_entropy::losses", "cpu"))
}

pub(super) fn forward_backward(
    _hidden: &Tensor,
    _head: &Weight,
    _targets: &Tensor,
    _weights: &Tensor,
    _scale: f32,
    _dhead: &mut Tensor,
) -> Result<LossGrads> {
    Err(Error::unsupported("cross_entropy::forward_backward", "cpu"))
}

//! attention on NVIDIA GPUs.

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved, Pattern};
use crate::{Error, Result, Tensor};

pub(super) fn attention(_q: &Tensor, _k: &Tensor, _v: &Tensor, _dims: AttentionDims) -> Result<Attended> {
    Err(Error::unsupported("attention::attention", "cuda"))
}

pub(super) fn backward(
    _doutput: &Tensor,
    _saved: AttentionSaved<'_>,
    _dims: AttentionDims,
) -> Result<AttentionGrads> {
    Err(Error::unsupported("attention::backward", "cuda"))
}

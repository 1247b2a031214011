//! sampling on NVIDIA GPUs.

use super::SamplingParams;
use crate::{Error, Result, Tensor};

pub(super) fn argmax(_logits: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("sampling::argmax", "cuda"))
}

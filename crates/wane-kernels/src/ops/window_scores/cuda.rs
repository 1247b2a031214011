//! window_scores on NVIDIA GPUs.

use super::Pooling;
use crate::ops::attention::AttentionDims;
use crate::{Error, Result, Tensor};

pub(super) fn window_scores(_q: &Tensor, _k: &Tensor, _dims: AttentionDims) -> Result<Tensor> {
    Err(Error::unsupported("window_scores::window_scores", "cuda"))
}

pub(super) fn pool(_scores: &Tensor, _kernel: usize, _pooling: Pooling) -> Result<Tensor> {
    Err(Error::unsupported("window_scores::pool", "cuda"))
}

//! window_scores on the CPU.

use super::Pooling;
use crate::ops::attention::AttentionDims;
use crate::{Error, Result, Tensor};

pub(super) fn window_scores(_q: &Tensor, _k: &Tensor, _dims: AttentionDims) -> Result<Tensor> {
    Err(Error::unsupported("window_scores::window_scores", "cpu"))
}

pub(super) fn pool(_scores: &Tensor, _kernel: usize, _pooling: Pooling) -> Result<Tensor> {
    Err(Error::unsupported("window_scores::pool", "cpu"))
}

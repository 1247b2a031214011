//! top_k on NVIDIA GPUs.

use super::Forced;
use crate::{Error, Result, Selection, Tensor};

pub(super) fn top_k(_scores: &Tensor, _valid: &Tensor, _k: usize, _forced: Forced) -> Result<Selection> {
    Err(Error::unsupported("top_k::top_k", "cuda"))
}

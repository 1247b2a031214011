//! block_summary on NVIDIA GPUs.

use super::GroupReduce;
use crate::{Error, KvView, Result, Tensor};

pub(super) fn update_min_max(
    _kv: KvView<'_>,
    _block: usize,
    _from: &[usize],
    _summary: &mut Tensor,
) -> Result<()> {
    Err(Error::unsupported("block_summary::update_min_max", "cuda"))
}

pub(super) fn quest_scores(_q: &Tensor, _summary: &Tensor, _kv: KvView<'_>, _block: usize) -> Result<Tensor> {
    Err(Error::unsupported("block_summary::quest_scores", "cuda"))
}

pub(super) fn block_means(_k: &Tensor, _kv_heads: usize, _block: usize) -> Result<Tensor> {
    Err(Error::unsupported("block_summary::block_means", "cuda"))
}

pub(super) fn mean_scores(_q: &Tensor, _means: &Tensor) -> Result<Tensor> {
    Err(Error::unsupported("block_summary::mean_scores", "cuda"))
}

pub(super) fn group_scores(
    _scores: &Tensor,
    _heads: usize,
    _kv_heads: usize,
    _inner: usize,
    _reduce: GroupReduce,
) -> Result<Tensor> {
    Err(Error::unsupported("block_summary::group_scores", "cuda"))
}

//! block_attention on NVIDIA GPUs.

use super::Reads;
use crate::ops::attention::AttentionDims;
use crate::{Error, KvView, Result, Selection, Tensor};

pub(super) fn prefill(
    _q: &Tensor,
    _k: &Tensor,
    _v: &Tensor,
    _selection: &Selection,
    _block: usize,
    _dims: AttentionDims,
) -> Result<Tensor> {
    Err(Error::unsupported("block_attention::prefill", "cuda"))
}

pub(super) fn decode(
    _q: &Tensor,
    _kv: KvView<'_>,
    _heads: usize,
    _scale: f32,
    _reads: Reads<'_>,
) -> Result<Tensor> {
    Err(Error::unsupported("block_attention::decode", "cuda"))
}

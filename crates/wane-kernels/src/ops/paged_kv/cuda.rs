//! paged_kv on NVIDIA GPUs.

use crate::{Error, KvView, Result, Selection, Tensor};

pub(super) fn append(_kv: KvView<'_>, _k: &Tensor, _v: &Tensor, _start: &Tensor) -> Result<()> {
    Err(Error::unsupported("paged_kv::append", "cuda"))
}

pub(super) fn gather(_kv: KvView<'_>, _sequence: usize, _len: usize) -> Result<(Tensor, Tensor)> {
    Err(Error::unsupported("paged_kv::gather", "cuda"))
}

pub(super) fn compact(_from: KvView<'_>, _keep: &Selection, _to: KvView<'_>) -> Result<()> {
    Err(Error::unsupported("paged_kv::compact", "cuda"))
}

//! Writing, reading back and compacting cached rows.

mod cpu;
mod cuda;

use crate::{Device, Error, KvView, Result, Selection, Tensor};

/// Writes `tokens` new rows of every sequence behind its cached ones: rows
/// `start[lane]..start[lane] + tokens`. The pages must be there; `kv.lens` is not changed.
///
/// # Shapes
/// `k`, `v` [sequences * tokens, kv_heads * head_dim] (converted to the pages' dtype);
/// `start` I32 [lanes].
///
/// # Errors
/// Shapes that do not fit.
pub fn append(kv: KvView<'_>, k: &Tensor, v: &Tensor, start: &Tensor) -> Result<()> {
    match kv.table.device() {
        Device::Cpu => cpu::append(kv, k, v, start),
        Device::Cuda(_) => cuda::append(kv, k, v, start),
    }
}

/// Rows `0..len` of every head of `sequence`, contiguous: keys and values
/// [len, kv_heads * head_dim] each, in the pages' dtype. All its lanes must hold `len` rows.
///
/// # Errors
/// Shapes that do not fit.
pub fn gather(kv: KvView<'_>, sequence: usize, len: usize) -> Result<(Tensor, Tensor)> {
    match kv.table.device() {
        Device::Cpu => cpu::gather(kv, sequence, len),
        Device::Cuda(_) => cuda::gather(kv, sequence, len),
    }
}

/// Copies the rows that `keep` lists for each lane, in order, to the rows `0..` of the lane of
/// the same number in `to`.
///
/// # Errors
/// Shapes that do not fit.
pub fn compact(from: KvView<'_>, keep: &Selection, to: KvView<'_>) -> Result<()> {
    match from.table.device() {
        Device::Cpu => cpu::compact(from, keep, to),
        Device::Cuda(_) => cuda::compact(from, keep, to),
    }
}

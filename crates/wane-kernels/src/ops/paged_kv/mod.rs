//! Writing, reading back and compacting cached rows; copying pages.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, KvView, PagePool, Result, Selection, Tensor};

/// Writes `tokens` new rows of every sequence behind its cached ones: rows
/// `start[lane]..start[lane] + tokens`. The pages must be there; `kv.lens` is not changed.
///
/// # Shapes
/// `k`, `v` [sequences * tokens, kv_heads * head_dim] (converted to the pages' dtype);
/// `start` I32 \[lanes].
///
/// # Errors
/// Shapes that do not fit.
pub fn append(kv: KvView<'_>, k: &Tensor, v: &Tensor, start: &Tensor) -> Result<()> {
    kv.check("paged_kv::append")?;
    let width = kv.kv_heads * kv.head_dim;
    let fits = k.width() == width
        && k.shape() == v.shape()
        && k.dtype() == v.dtype()
        && k.dtype() != DType::I32
        && k.rows().is_multiple_of(kv.sequences().max(1))
        && start.dtype() == DType::I32
        && start.len() == kv.lanes();
    if !fits {
        return Err(Error::shape(
            "paged_kv::append",
            format!("k and v [{} * tokens, {width}], start i32 [{}]", kv.sequences(), kv.lanes()),
            format!("{k:?}, {v:?}, {start:?}"),
        ));
    }
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
    kv.check("paged_kv::gather")?;
    if sequence >= kv.sequences() || len > kv.capacity() {
        return Err(Error::shape(
            "paged_kv::gather",
            format!("a sequence below {} and at most {} rows", kv.sequences(), kv.capacity()),
            format!("sequence {sequence}, {len} rows"),
        ));
    }
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
    from.check("paged_kv::compact")?;
    to.check("paged_kv::compact")?;
    keep.check("paged_kv::compact")?;
    let fits = (from.lanes(), from.head_dim, from.dtype) == (to.lanes(), to.head_dim, to.dtype)
        && keep.rows() == from.lanes();
    if !fits {
        return Err(Error::shape(
            "paged_kv::compact",
            format!("{} lanes of {:?} rows of {} on both sides", from.lanes(), from.dtype, from.head_dim),
            format!(
                "{} lanes of {:?} rows of {}, {} rows to keep",
                to.lanes(),
                to.dtype,
                to.head_dim,
                keep.rows()
            ),
        ));
    }
    match from.table.device() {
        Device::Cpu => cpu::compact(from, keep, to),
        Device::Cuda(_) => cuda::compact(from, keep, to),
    }
}

/// Copies whole pages of `pool`. The caller guarantees that the addresses are pages of it, and that nobody
/// else has those that are written.
///
/// # Shapes
/// `copies` I32 [n, 2, 2]: the 64-bit addresses of a page and of its copy, each low word first.
///
/// # Errors
/// Shapes that do not fit.
pub fn copy_pages(copies: &Tensor, pool: &PagePool) -> Result<()> {
    if copies.dtype() != DType::I32
        || !matches!(copies.shape(), [_, 2, 2])
        || copies.device() != pool.device()
    {
        return Err(Error::shape(
            "paged_kv::copy_pages",
            format!("i32 [n, 2, 2] on {}", pool.device()),
            format!("{copies:?}"),
        ));
    }
    match copies.device() {
        Device::Cpu => cpu::copy_pages(copies, pool.page_bytes()),
        Device::Cuda(_) => cuda::copy_pages(copies, pool.page_bytes())?,
    }
    Ok(())
}

//! Cached rows on NVIDIA GPUs: 16 bytes per thread where a row is a multiple of them.

use crate::cuda::{Launch, Module, address, args, device_of, typed};
use crate::{KvView, Result, Selection, Tensor};

static MODULE: Module<'static> = Module::new("paged_kv", include_str!("paged_kv.cu"));

pub(super) fn append(kv: KvView<'_>, k: &Tensor, v: &Tensor, start: &Tensor) -> Result<()> {
    let rows = k.rows();
    if kv.lanes() == 0 || rows == 0 {
        return Ok(());
    }
    let tokens = rows / kv.sequences();
    let (keys, values) = (address(k)?, address(v)?);
    let wide = kv.head_dim.is_multiple_of(8) && keys.is_multiple_of(16) && values.is_multiple_of(16);
    let vector = if wide { 8 } else { 1 };
    let kernel = format!("{}_{vector}", typed(&(typed("append", k.dtype())? + "_to"), kv.dtype)?);
    let total = rows * kv.kv_heads;
    device_of(kv.table)?.launch(
        &MODULE,
        &kernel,
        Launch::cover(total * kv.head_dim / vector, 256),
        args![
            address(kv.table)?,
            address(start)?,
            keys,
            values,
            total as i64,
            tokens as i32,
            kv.kv_heads as i32,
            kv.head_dim as i32,
            kv.table.dim(1) as i32
        ],
    )
}

// The widest word that divides a row, and words per row. Pages are aligned to more than 16 bytes.
fn words(kv: &KvView<'_>) -> (usize, usize) {
    let bytes = kv.head_dim * kv.dtype.size();
    let word = if bytes.is_multiple_of(16) { 16 } else { kv.dtype.size() };
    (word, bytes / word)
}

pub(super) fn gather(kv: KvView<'_>, sequence: usize, len: usize) -> Result<(Tensor, Tensor)> {
    let shape = [len, kv.kv_heads * kv.head_dim];
    let k = Tensor::uninit(&shape, kv.dtype, kv.table.device())?;
    let v = Tensor::uninit(&shape, kv.dtype, kv.table.device())?;
    let (word, row_words) = words(&kv);
    device_of(kv.table)?.launch(
        &MODULE,
        &format!("gather_{word}"),
        Launch::cover(len * kv.kv_heads * row_words, 256),
        args![
            address(kv.table)?,
            address(&k)?,
            address(&v)?,
            len as i32,
            (sequence * kv.kv_heads) as i32,
            kv.kv_heads as i32,
            row_words as i32,
            kv.table.dim(1) as i32
        ],
    )?;
    Ok((k, v))
}

pub(super) fn compact(from: KvView<'_>, keep: &Selection, to: KvView<'_>) -> Result<()> {
    let (lanes, width) = (keep.indices.dim(0), keep.indices.width());
    let (word, row_words) = words(&from);
    device_of(from.table)?.launch(
        &MODULE,
        &format!("compact_{word}"),
        Launch::cover(lanes * width * row_words, 256),
        args![
            address(from.table)?,
            address(to.table)?,
            address(&keep.indices)?,
            address(&keep.counts)?,
            lanes as i64,
            width as i32,
            row_words as i32,
            from.table.dim(1) as i32,
            to.table.dim(1) as i32
        ],
    )
}

pub(super) fn copy_pages(copies: &Tensor, page_bytes: usize) -> Result<()> {
    device_of(copies)?.launch(
        &MODULE,
        "copy_pages",
        Launch::new(copies.dim(0), 256),
        args![address(copies)?, (page_bytes / 16) as i32],
    )
}

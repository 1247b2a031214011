//! Moving cached rows on the CPU: one task per lane (or per page of the result), plain copies.

use rayon::prelude::*;

use crate::kv::{Element, HostKv, PAGE_LEN, page_runs, with_element};
use crate::{DType, Error, KvView, Result, Selection, Tensor};

pub(super) fn append(kv: KvView<'_>, k: &Tensor, v: &Tensor, start: &Tensor) -> Result<()> {
    if k.dtype() != DType::F32 {
        return Err(Error::unsupported("paged_kv::append", "bf16 rows on the CPU"));
    }
    let (keys, values, start) = (k.f32s(), v.f32s(), start.i32s());
    let (host, head_dim, width) = (HostKv::new(kv), kv.head_dim, kv.kv_heads * kv.head_dim);
    let tokens = k.len() / (kv.sequences().max(1) * width);
    let first = |lane: usize| usize::try_from(start[lane]).unwrap_or(0);
    for lane in 0..kv.lanes() {
        host.check_rows("paged_kv::append", lane, first(lane) + tokens)?;
    }
    with_element!(kv.dtype, "paged_kv::append", T => {
        (0..kv.lanes()).into_par_iter().for_each(|lane| {
            let (sequence, head) = (lane / kv.kv_heads, lane % kv.kv_heads);
            for (row, rows) in page_runs(first(lane), first(lane) + tokens) {
                // SAFETY: every lane has its own pages, which the cache lets nobody else use now.
                let (page_keys, page_values) = unsafe { host.rows_mut::<T>(lane, row, rows) };
                let token = sequence * tokens + row - first(lane);
                for i in 0..rows {
                    let from = (token + i) * width + head * head_dim;
                    let to = i * head_dim..(i + 1) * head_dim;
                    convert(&keys[from..], &mut page_keys[to.clone()]);
                    convert(&values[from..], &mut page_values[to]);
                }
            }
        });
        Ok(())
    })
}

fn convert<T: Element>(from: &[f32], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = T::from_f32(*from);
    }
}

pub(super) fn gather(kv: KvView<'_>, sequence: usize, len: usize) -> Result<(Tensor, Tensor)> {
    let (host, width) = (HostKv::new(kv), kv.kv_heads * kv.head_dim);
    let lanes = sequence * kv.kv_heads..(sequence + 1) * kv.kv_heads;
    for lane in lanes.clone() {
        host.check_rows("paged_kv::gather", lane, len)?;
        if host.len(lane) < len {
            return Err(Error::shape(
                "paged_kv::gather",
                format!("{len} rows in every lane"),
                host.len(lane),
            ));
        }
    }
    let mut keys = Tensor::uninit(&[len, width], kv.dtype, kv.table.device())?;
    let mut values = Tensor::uninit(&[len, width], kv.dtype, kv.table.device())?;
    with_element!(kv.dtype, "paged_kv::gather", T => {
        let page = PAGE_LEN * width;
        T::slice_mut(&mut keys)
            .par_chunks_mut(page)
            .zip(T::slice_mut(&mut values).par_chunks_mut(page))
            .enumerate()
            .for_each(|(i, (keys, values))| {
                for (head, lane) in lanes.clone().enumerate() {
                    let (page_keys, page_values) = host.rows::<T>(lane, i * PAGE_LEN, keys.len() / width);
                    scatter_rows(page_keys, keys, head, kv.head_dim, width);
                    scatter_rows(page_values, values, head, kv.head_dim, width);
                }
            });
        Ok(())
    })?;
    Ok((keys, values))
}

/// Copies the rows of one head into its columns of the matrix `to`.
fn scatter_rows<T: Element>(from: &[T], to: &mut [T], head: usize, head_dim: usize, width: usize) {
    for (from, to) in from.chunks_exact(head_dim).zip(to.chunks_exact_mut(width)) {
        to[head * head_dim..(head + 1) * head_dim].copy_from_slice(from);
    }
}

pub(super) fn compact(from: KvView<'_>, keep: &Selection, to: KvView<'_>) -> Result<()> {
    let (source, target, head_dim) = (HostKv::new(from), HostKv::new(to), from.head_dim);
    for lane in 0..from.lanes() {
        let rows = keep.row(lane);
        target.check_rows("paged_kv::compact", lane, rows.len())?;
        if rows.iter().any(|&row| row < 0 || row as usize >= source.len(lane)) {
            return Err(Error::shape(
                "paged_kv::compact",
                format!("rows below {} in lane {lane}", source.len(lane)),
                "a row outside",
            ));
        }
    }
    with_element!(from.dtype, "paged_kv::compact", T => {
        (0..from.lanes()).into_par_iter().for_each(|lane| {
            for (i, &row) in keep.row(lane).iter().enumerate() {
                let (keys, values) = source.rows::<T>(lane, row as usize, 1);
                // SAFETY: every lane of `to` has its own pages, and they are not those of `from`.
                let (to_keys, to_values) = unsafe { target.rows_mut::<T>(lane, i, 1) };
                to_keys[..head_dim].copy_from_slice(keys);
                to_values[..head_dim].copy_from_slice(values);
            }
        });
        Ok(())
    })
}

pub(super) fn copy_pages(copies: &Tensor, page_bytes: usize) {
    let address = |words: &[i32]| u64::from(words[0] as u32) | (u64::from(words[1] as u32) << 32);
    copies.i32s().par_chunks(4).for_each(|pair| {
        let (from, to) = (address(&pair[..2]) as *const u8, address(&pair[2..]) as *mut u8);
        // SAFETY: both are pages of this many bytes, and nobody else has the copy (the caller's duty).
        unsafe { std::ptr::copy_nonoverlapping(from, to, page_bytes) };
    });
}

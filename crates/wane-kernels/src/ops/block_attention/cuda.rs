//! block_attention on CUDA: bf16 queries; bf16 keys and values, in pages also f32.
//!
//! Prefill is the tiled forward of [`crate::ops::attention`], by one of two variants: here with a bit per
//! (block, query) for what was selected, where tiles that no query of 128 selected are not read; in
//! `gathered.rs` with the queries gathered by block. Decode splits the rows of a lane over blocks (flash
//! decoding) and reads a page once for the query heads that share it; lengths and addresses come from
//! device memory, so a captured graph stays valid while `max_len` bounds them.
//! Not here: f32 queries.

use super::{Reads, gathered};
use crate::cuda::{Launch, Module, Param, address, args, device_of};
use crate::ops::attention::AttentionDims;
use crate::ops::attention::cuda::{
    FORWARD_THREADS, QUERY_ROWS, Sizes, check_bf16, check_shared, forward_shared, portable_asked, tile_width,
};
use crate::{DType, Error, KvView, Result, Selection, Tensor};

static PREFILL: Module<'static> = Module::new(
    "block_attention_prefill",
    concat!(
        include_str!("../attention/mma.cuh"),
        include_str!("../attention/tile.cuh"),
        include_str!("../attention/forward.cuh"),
        include_str!("prefill.cu")
    ),
);
static DECODE: Module<'static> = Module::new(
    "block_attention_decode",
    concat!(include_str!("../attention/mma.cuh"), include_str!("decode.cu")),
);

/// The kernels of a prefill on CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefillVariant {
    /// Reads the keys that any of 128 neighbouring queries selected: cheap where neighbours agree.
    Masked,
    /// Gathers the queries that selected a block: costs the same however the selections differ.
    Gathered,
}

impl PrefillVariant {
    // Gathers if the keys of a full selection, in whole tiles, are at most two thirds of those that a query
    // sees on average, which the masked kernel reads when the selections differ: there both took the same time
    // on an H100, as each block that a query selected passes through memory once. Never under
    // `WANE_CUDA_ATTENTION=portable`.
    fn chosen(selection: &Selection, block: usize, dims: AttentionDims) -> Result<Self> {
        let width = selection.indices.width();
        let selected = width * block.next_multiple_of(gathered::key_tile(block));
        let gathers = width > 0 && 3 * selected <= 2 * (dims.keys - dims.queries / 2);
        Ok(if gathers && !portable_asked()? { Self::Gathered } else { Self::Masked })
    }
}

pub(super) fn prefill(
    tensors: [&Tensor; 3],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
    variant: Option<PrefillVariant>,
) -> Result<Tensor> {
    let block = block.min(dims.keys.max(1));
    match variant.map_or_else(|| PrefillVariant::chosen(selection, block, dims), Ok)? {
        PrefillVariant::Masked => masked(tensors, selection, block, dims),
        PrefillVariant::Gathered => gathered::prefill(tensors, selection, block, dims, gathered::WORKSPACE),
    }
}

fn masked(
    [q, k, v]: [&Tensor; 3],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<Tensor> {
    const OP: &str = "block_attention::prefill";
    check_bf16(OP, &[q, k, v])?;
    let (sizes, width) = (Sizes::new(OP, dims)?, tile_width(OP, dims.head_dim)?);
    let device = device_of(q)?;
    // Masks of 128 bits per block of keys.
    let shared = forward_shared(width) + dims.keys.div_ceil(block) * (QUERY_ROWS / 8);
    check_shared(OP, device, shared)?;
    let output = Tensor::uninit(q.shape(), DType::BF16, q.device())?;
    device.launch(
        &PREFILL.with(&[("HEAD_DIM", width as i64)]),
        "block_attention_prefill",
        Launch::new(0, FORWARD_THREADS).grid(dims.queries.div_ceil(QUERY_ROWS), dims.heads, 1).shared(shared),
        args![
            address(q)?,
            address(k)?,
            address(v)?,
            address(&output)?,
            address(&selection.indices)?,
            address(&selection.counts)?,
            selection.indices.width() as i32,
            block as i32,
            sizes,
        ],
    )?;
    Ok(output)
}

/// `DecodeSizes` of decode.cu.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct DecodeSizes {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    max_pages: i32,
    selectors: i32,
    width: i32,
    block: i32,
    split_rows: i32,
    splits: i32,
    scale: f32,
}

// SAFETY: the same fields in the same order as the C++ structure, all of four bytes.
unsafe impl Param for DecodeSizes {}

// DECODE_WARPS of decode.cu.
const DECODE_WARPS: usize = 4;
// Fewer rows than this are not worth a block of their own.
const MIN_SPLIT: usize = 128;
// Blocks per multiprocessor to aim for.
const DECODE_BLOCKS: usize = 6;

/// Rows of a split and number of splits, for `items` blocks that each read up to `rows` rows.
fn splits(items: usize, rows: usize, multiprocessors: usize) -> (usize, usize) {
    let wanted =
        (multiprocessors * DECODE_BLOCKS).div_ceil(items.max(1)).min(rows.div_ceil(MIN_SPLIT)).max(1);
    let split_rows = rows.div_ceil(wanted).next_multiple_of(64).max(64);
    (split_rows, rows.div_ceil(split_rows).max(1))
}

pub(super) fn decode(
    q: &Tensor,
    kv: KvView<'_>,
    heads: usize,
    scale: f32,
    reads: Reads<'_>,
) -> Result<Tensor> {
    const OP: &str = "block_attention::decode";
    check_bf16(OP, &[q])?;
    if kv.dtype == DType::I32 {
        return Err(Error::unsupported(OP, "pages of integers"));
    }
    let head_dim = kv.head_dim;
    let padded =
        [32, 64, 128, 256].into_iter().find(|&width| head_dim <= width && head_dim.is_multiple_of(8));
    let Some(padded) = padded else {
        return Err(Error::unsupported(
            OP,
            format!("head_dim {head_dim} on cuda (multiples of 8 up to 256 are)"),
        ));
    };
    let (device, sequences) = (device_of(q)?, kv.sequences());
    let (selectors, width, block, rows, indices, counts) = match reads {
        Reads::All => (0, 0, 0, kv.max_len, 0, 0),
        Reads::Blocks { selection, block } => {
            let selectors = if selection.rows() == kv.lanes() { kv.kv_heads } else { heads };
            let (width, block) = (selection.indices.width(), block.min(kv.max_len.max(1)));
            // Blocks are unique, so no more rows than the last one reaches.
            let rows = (width * block).min(kv.max_len.next_multiple_of(block));
            (selectors, width, block, rows, address(&selection.indices)?, address(&selection.counts)?)
        }
    };
    // Query heads that read the same rows, at most eight to a block.
    let shared_by = if selectors == heads { 1 } else { heads / kv.kv_heads };
    let group = (1..=8).rev().find(|g| shared_by.is_multiple_of(*g)).unwrap_or(1);
    let items = sequences * heads / group;
    let (split_rows, splits) = splits(items, rows, device.multiprocessors());
    // The merge keeps a weight per split in shared memory.
    if splits > 8192 {
        return Err(Error::unsupported(OP, format!("{rows} rows on cuda")));
    }
    let output = Tensor::uninit(q.shape(), DType::BF16, q.device())?;
    let parts = if splits == 1 { 0 } else { sequences * heads * splits };
    let partial = Tensor::uninit(&[parts, head_dim], DType::F32, q.device())?;
    let statistics = Tensor::uninit(&[parts, 2], DType::F32, q.device())?;
    let sizes = DecodeSizes {
        heads: heads as i32,
        kv_heads: kv.kv_heads as i32,
        head_dim: head_dim as i32,
        max_pages: kv.table.dim(1) as i32,
        selectors: selectors as i32,
        width: width as i32,
        block: block as i32,
        split_rows: split_rows as i32,
        splits: splits as i32,
        scale,
    };
    let defines =
        [("HEAD_DIM", padded as i64), ("GROUP", group as i64), ("PAGE_BYTES", kv.dtype.size() as i64)];
    let module = DECODE.with(&defines);
    // One accumulator row and two statistics per lane group of the block.
    let lane_groups = DECODE_WARPS * 32 / (padded / 8);
    device.launch(
        &module,
        "block_attention_decode",
        Launch::new(0, DECODE_WARPS * 32)
            .grid(items, splits, 1)
            .shared(group * lane_groups * (padded + 2) * size_of::<f32>()),
        args![
            address(q)?,
            address(kv.table)?,
            address(kv.lens)?,
            indices,
            counts,
            address(&output)?,
            address(&partial)?,
            address(&statistics)?,
            sizes,
        ],
    )?;
    if splits > 1 {
        device.launch(
            &module,
            "block_attention_combine",
            Launch::new(sequences * heads, 128).shared(splits * size_of::<f32>()),
            args![
                address(&partial)?,
                address(&statistics)?,
                address(&output)?,
                splits as i32,
                head_dim as i32
            ],
        )?;
    }
    Ok(output)
}

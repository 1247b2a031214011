//! Prefill over selected blocks on CUDA with the queries gathered by block: the selection is inverted into
//! a list of (query, slot) entries per (KV head, block), each list is attended to its block by the tiled
//! forward of [`crate::ops::attention`], and a query's entries are merged by their log-sum-exps.
//!
//! Costs what the selection reads, plus a bf16 output written and read per entry. Passes over heads and
//! queries bound that memory. The lists' order varies between runs, the result does not.

use crate::cuda::{CudaDevice, Launch, Module, Param, address, args, device_of};
use crate::ops::attention::AttentionDims;
use crate::ops::attention::cuda::{
    FORWARD_THREADS, QUERY_ROWS, Sizes, check_bf16, check_shared, forward_shared, tile_width,
};
use crate::{DType, Error, Result, Selection, Tensor};

static MODULE: Module<'static> = Module::new(
    "block_attention_gathered",
    concat!(
        include_str!("../attention/mma.cuh"),
        include_str!("../attention/tile.cuh"),
        include_str!("../attention/forward.cuh"),
        include_str!("gathered.cu")
    ),
);

/// Bytes that the entries of a pass may fill.
pub(super) const WORKSPACE: usize = 256 << 20;

// SPAN and the threads of gathered.cu.
const SPAN: usize = 128;
const LIST_THREADS: usize = 512;
const OFFSET_THREADS: usize = 1024;
const MERGE_THREADS: usize = 256;

/// Keys of a tile: small blocks take small tiles.
pub(super) const fn key_tile(block: usize) -> usize {
    if block <= 32 { 32 } else { 64 }
}

// Tiles of the forward, and three words per row.
const fn attend_shared(width: usize) -> usize {
    forward_shared(width) + 3 * QUERY_ROWS * size_of::<i32>()
}

/// `GatherPass` of gathered.cu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Pass {
    pub(super) head0: i32,
    pub(super) heads: i32,
    pub(super) query0: i32,
    pub(super) queries: i32,
    pub(super) width: i32,
    pub(super) block: i32,
    pub(super) blocks: i32,
}

// SAFETY: the same fields in the same order as the C++ structure, all of four bytes.
unsafe impl Param for Pass {}

/// Bytes of an entry: its output, its log-sum-exp and its place in a list.
pub(super) const fn entry_bytes(head_dim: usize) -> usize {
    head_dim * 2 + 8
}

/// Cuts the queries of one KV head until they fit, and takes as many KV heads at once as then fit.
pub(super) fn passes(dims: AttentionDims, width: usize, block: usize, workspace: usize) -> Vec<Pass> {
    let AttentionDims { queries, heads, head_dim, .. } = dims;
    let query_bytes = (dims.group() * width * entry_bytes(head_dim)).max(1);
    let parts = queries.div_ceil((workspace / query_bytes).max(1));
    let many = queries.div_ceil(parts.max(1)).max(1);
    let some_heads = (workspace / (query_bytes * many)).clamp(1, dims.kv_heads) * dims.group();
    let mut passes = Vec::new();
    for head0 in (0..heads).step_by(some_heads) {
        for query0 in (0..queries).step_by(many) {
            let queries = many.min(queries - query0);
            let blocks = (dims.position(query0) + queries).div_ceil(block);
            let [head0, heads, query0, queries, width, block, blocks] =
                [head0, some_heads.min(heads - head0), query0, queries, width, block, blocks]
                    .map(|n| n as i32);
            passes.push(Pass { head0, heads, query0, queries, width, block, blocks });
        }
    }
    passes
}

/// As [`super::prefill`], with at most `workspace` bytes of entries at a time (but at least one query).
pub(super) fn prefill(
    [q, k, v]: [&Tensor; 3],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
    workspace: usize,
) -> Result<Tensor> {
    const OP: &str = "block_attention::prefill";
    check_bf16(OP, &[q, k, v])?;
    let sizes = Sizes::new(OP, dims)?;
    let device = device_of(q)?;
    if dims.heads * dims.keys > i32::MAX as usize {
        return Err(Error::unsupported(OP, format!("{} heads of {} keys on cuda", dims.heads, dims.keys)));
    }
    check_shared(OP, device, attend_shared(tile_width(OP, dims.head_dim)?))?;
    check_shared(OP, device, dims.keys.div_ceil(block) * size_of::<i32>())?;
    let output = Tensor::uninit(q.shape(), DType::BF16, q.device())?;
    for pass in passes(dims, selection.indices.width(), block, workspace) {
        attend(device, [q, k, v, &output], selection, pass, (dims, sizes))?;
    }
    Ok(output)
}

fn attend(
    device: &CudaDevice,
    [q, k, v, output]: [&Tensor; 4],
    selection: &Selection,
    pass: Pass,
    (dims, sizes): (AttentionDims, Sizes),
) -> Result<()> {
    let [heads, queries, blocks] = [pass.heads, pass.queries, pass.blocks].map(|n| n as usize);
    let (indices, counts) = (address(&selection.indices)?, address(&selection.counts)?);
    let lists = heads / dims.group() * blocks;
    let held = heads * queries * pass.width as usize;
    // Every list may end in a tile that is not full.
    let most_tiles = held.div_ceil(QUERY_ROWS) + lists;
    let spans = queries.div_ceil(SPAN);
    let on = q.device();
    let lengths = Tensor::zeros(&[lists], DType::I32, on)?;
    let bases = Tensor::uninit(&[heads, spans, blocks], DType::I32, on)?;
    let starts = Tensor::uninit(&[lists + 1, 2], DType::I32, on)?;
    let entries = Tensor::uninit(&[held], DType::I32, on)?;
    let tiles = Tensor::uninit(&[most_tiles, 4], DType::I32, on)?;
    let lse = Tensor::uninit(&[held], DType::F32, on)?;
    let partial = Tensor::uninit(&[held, dims.head_dim], DType::BF16, on)?;

    let width = tile_width("block_attention::prefill", dims.head_dim)?;
    let defines = [("HEAD_DIM", width as i64), ("KEY_TILE", key_tile(pass.block as usize) as i64)];
    let module = MODULE.with(&defines);
    let over_spans = Launch::new(0, LIST_THREADS).grid(spans, heads, 1).shared(blocks * size_of::<i32>());
    device.launch(
        &module,
        "block_attention_count",
        over_spans,
        args![indices, counts, address(&lengths)?, address(&bases)?, pass, sizes],
    )?;
    device.launch(
        &module,
        "block_attention_offsets",
        Launch::new(1, OFFSET_THREADS),
        args![address(&lengths)?, address(&starts)?, lists as i32],
    )?;
    device.launch(
        &module,
        "block_attention_lists",
        over_spans,
        args![
            indices,
            counts,
            address(&bases)?,
            address(&starts)?,
            address(&entries)?,
            address(&tiles)?,
            address(&lse)?,
            pass,
            sizes,
        ],
    )?;
    device.launch(
        &module,
        "block_attention_attend",
        Launch::new(most_tiles, FORWARD_THREADS).shared(attend_shared(width)),
        args![
            address(q)?,
            address(k)?,
            address(v)?,
            address(&partial)?,
            address(&lse)?,
            address(&starts)?,
            address(&tiles)?,
            address(&entries)?,
            lists as i32,
            pass,
            sizes,
        ],
    )?;
    device.launch(
        &module,
        "block_attention_merge",
        Launch::cover(heads * queries * dims.head_dim / 8, MERGE_THREADS),
        args![address(&partial)?, address(&lse)?, address(output)?, pass, sizes],
    )
}

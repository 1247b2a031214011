//! attention on Hopper (compute capability 9.0): `wgmma`, bulk tensor copies, a copying warp beside two
//! or three computing warpgroups (FlashAttention-3, arXiv 2407.08608). Causal, head sizes 64 and 128, any
//! length, grouped heads.
//!
//! `runs/hopper-check.sh` and `reference/hopper_tune.py` run these sources on a GPU, beside PyTorch;
//! `reference/hopper_emulator/run.sh` runs them on a CPU against plain loops.
//! The gradient of the queries is summed by bulk additions: its last bits vary between runs.
//! Not here: dilated patterns and other head sizes (`cuda.rs` serves them).

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved, Pattern};
use crate::cuda::tensor_map::{Boxes, TensorMap};
use crate::cuda::{CudaDevice, Launch, Module, Param, address, args, device_of};
use crate::{DType, Error, Result, Tensor};

static FORWARD: Module<'static> = Module::new(
    "hopper_forward",
    concat!(
        include_str!("mma.cuh"),
        include_str!("hopper.cuh"),
        include_str!("hopper_tiles.cuh"),
        include_str!("hopper_forward.cu")
    ),
);
static BACKWARD: Module<'static> = Module::new(
    "hopper_backward",
    concat!(
        include_str!("mma.cuh"),
        include_str!("hopper.cuh"),
        include_str!("hopper_tiles.cuh"),
        include_str!("hopper_backward.cu")
    ),
);

// KEY_ROWS and STAGES of both sources.
const KEY_ROWS: usize = 128;
const STAGES: usize = 2;
// Rows that a warp stores.
const STORED_ROWS: usize = 16;
// Barriers, the item's index, and the bytes before the first multiple of 1024.
const EXTRA: usize = 1024 + 128;
// Of the 50 MB L2 cache, what the lanes that are worked on together may fill.
const CACHED: usize = 32 << 20;

/// `CONSUMERS` of hopper_forward.cu.
const fn forward_warpgroups(head_dim: usize) -> usize {
    if head_dim == 64 { 3 } else { 2 }
}

// AT_BARRIERS of hopper_forward.cu, and a little more.
const fn forward_shared(head_dim: usize) -> usize {
    (2 * 64 * forward_warpgroups(head_dim) + 2 * STAGES * KEY_ROWS) * head_dim * 2 + EXTRA
}

/// QUERY_ROWS of hopper_backward.cu.
const fn backward_queries(head_dim: usize) -> usize {
    8192 / head_dim
}

// AT_BARRIERS of hopper_backward.cu, and a little more.
const fn backward_shared(head_dim: usize) -> usize {
    let queries = backward_queries(head_dim);
    let tiles = (2 * KEY_ROWS + 2 * STAGES * queries) * head_dim * 2;
    tiles + 2 * KEY_ROWS * queries * 2 + 8 * 4096 + 2 * STAGES * queries * 4 + EXTRA
}

/// Whether the GPU has the instructions.
pub(super) fn on(device: &CudaDevice) -> bool {
    device.arch() == "sm_90a"
}

/// Whether the kernels serve these sizes.
pub(super) fn serves(dims: AttentionDims) -> bool {
    dims.pattern == Pattern::Causal
        && (dims.head_dim == 64 || dims.head_dim == 128)
        && dims.queries > 0
        && dims.batch > 0
        && dims.heads > 0
        // Indices of tiles and rows stay within i32.
        && dims.batch * dims.heads * dims.keys.next_multiple_of(KEY_ROWS) <= i32::MAX as usize / 128
}

fn check(op: &'static str, device: &CudaDevice, dims: AttentionDims) -> Result<()> {
    if on(device) && serves(dims) {
        return Ok(());
    }
    Err(Error::unsupported(op, format!("{dims:?} on {} by the Hopper kernels", device.name())))
}

/// `HopperSizes` of hopper_tiles.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Sizes {
    batch: i32,
    queries: i32,
    keys: i32,
    heads: i32,
    kv_heads: i32,
    section: i32,
    scale: f32,
}

// SAFETY: the same fields in the same order as the C++ structure, all of four bytes.
unsafe impl Param for Sizes {}

impl Sizes {
    fn new(dims: AttentionDims, section: usize) -> Self {
        let AttentionDims { batch, queries, keys, heads, kv_heads, scale, .. } = dims;
        let [batch, queries, keys, heads, kv_heads, section] =
            [batch, queries, keys, heads, kv_heads, section].map(|size| size as i32);
        Self { batch, queries, keys, heads, kv_heads, section, scale }
    }
}

// Descriptors of matrices of queries and of keys.
struct Maps<'a> {
    device: &'a CudaDevice,
    dims: AttentionDims,
}

impl Maps<'_> {
    fn queries(&self, tensor: &Tensor, box_rows: usize) -> Result<TensorMap> {
        let AttentionDims { batch, queries, heads, head_dim, .. } = self.dims;
        let shape = [batch, queries, heads, head_dim];
        self.device.tensor_map(Boxes { address: address(tensor)?, shape, box_rows })
    }

    fn keys(&self, tensor: &Tensor, box_rows: usize) -> Result<TensorMap> {
        let AttentionDims { batch, keys, kv_heads, head_dim, .. } = self.dims;
        let shape = [batch, keys, kv_heads, head_dim];
        self.device.tensor_map(Boxes { address: address(tensor)?, shape, box_rows })
    }
}

// The counter from which a persistent grid takes its items: zero before and after every kernel.
fn counter(device: &CudaDevice, like: &Tensor) -> Result<Tensor> {
    static COUNTERS: Mutex<BTreeMap<usize, Tensor>> = Mutex::new(BTreeMap::new());
    let mut counters = COUNTERS.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(counter) = counters.get(&device.ordinal()) {
        return Ok(counter.clone());
    }
    let counter = Tensor::zeros(&[1], DType::I32, like.device())?;
    counters.insert(device.ordinal(), counter.clone());
    Ok(counter)
}

pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, dims: AttentionDims) -> Result<Attended> {
    let device = device_of(q)?;
    check("attention", device, dims)?;
    let AttentionDims { batch, queries, keys, heads, head_dim, .. } = dims;
    let output = Tensor::uninit(q.shape(), DType::BF16, q.device())?;
    let lse = Tensor::uninit(&[batch, heads, queries], DType::F32, q.device())?;
    // Keys and values of a KV head are what its query heads share.
    let section = (CACHED / (4 * keys * head_dim)).max(1) * dims.group();
    let warpgroups = forward_warpgroups(head_dim);
    let items = queries.div_ceil(64 * warpgroups) * heads * batch;
    let maps = Maps { device, dims };
    device.launch(
        &FORWARD.with(&[("HEAD_DIM", head_dim as i64)]),
        "hopper_forward",
        Launch::new(items.min(device.multiprocessors()), 128 * (warpgroups + 1))
            .shared(forward_shared(head_dim)),
        args![
            maps.queries(q, 64 * warpgroups)?,
            maps.keys(k, KEY_ROWS)?,
            maps.keys(v, KEY_ROWS)?,
            maps.queries(&output, STORED_ROWS)?,
            address(&lse)?,
            address(&counter(device, q)?)?,
            Sizes::new(dims, section),
        ],
    )?;
    Ok(Attended { output, lse })
}

pub(super) fn backward(
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
) -> Result<AttentionGrads> {
    let AttentionSaved { q, k, v, attended: Attended { output, lse } } = saved;
    let device = device_of(q)?;
    check("attention::backward", device, dims)?;
    let AttentionDims { batch, queries, keys, heads, kv_heads, head_dim, .. } = dims;
    let uninit = |like: &Tensor| Tensor::uninit(like.shape(), DType::BF16, q.device());
    let (dq, dk, dv) = (uninit(q)?, uninit(k)?, uninit(v)?);
    let tile = backward_queries(head_dim);
    let (lanes, tiles) = (batch * heads, queries.div_ceil(tile));
    let floats = |width: usize| Tensor::uninit(&[lanes, tiles * tile, width], DType::F32, q.device());
    let (lse2, delta, accumulator) = (floats(1)?, floats(1)?, floats(head_dim)?);
    // Queries, their gradients and accumulators of a group are what the blocks of keys share.
    let section = (CACHED / (8 * queries * head_dim * dims.group())).max(1);
    let sizes = Sizes::new(dims, section);
    let defines = [("HEAD_DIM", head_dim as i64)];
    let module = BACKWARD.with(&defines);

    device.launch(
        &module,
        "hopper_backward_prepare",
        Launch::cover(lanes * tiles * tile * (head_dim / 8), 256),
        args![
            address(output)?,
            address(doutput)?,
            address(lse)?,
            address(&lse2)?,
            address(&delta)?,
            address(&accumulator)?,
            sizes
        ],
    )?;
    let maps = Maps { device, dims };
    device.launch(
        &module,
        "hopper_backward",
        Launch::new(keys.div_ceil(KEY_ROWS) * kv_heads * batch, 384).shared(backward_shared(head_dim)),
        args![
            maps.queries(q, tile)?,
            maps.keys(k, KEY_ROWS)?,
            maps.keys(v, KEY_ROWS)?,
            maps.queries(doutput, tile)?,
            maps.keys(&dk, STORED_ROWS)?,
            maps.keys(&dv, STORED_ROWS)?,
            address(&lse2)?,
            address(&delta)?,
            address(&accumulator)?,
            sizes,
        ],
    )?;
    device.launch(
        &module,
        "hopper_backward_finish",
        Launch::new(lanes * tiles, 256).shared(8 * STORED_ROWS * 128),
        args![address(&accumulator)?, address(&dq)?, sizes],
    )?;
    Ok(AttentionGrads { dq, dk, dv })
}

//! attention on CUDA: bf16 tensors, tensor cores (`mma.sync`, sm_80 and later), f32 softmax
//! (FlashAttention-2, arXiv 2307.08691).
//!
//! Head dimensions are padded to 32, 64, 96 or 128 in shared memory; multiples of 8 up to 128 are
//! accepted. A dilated pattern reads its strided keys gathered into dense tiles, so it costs what it
//! reads. The gradient of the queries is summed with f32 atomics: its last bits vary between runs.
//! Not here: f32 inputs, larger heads; wgmma, which is `hopper.rs`.

use std::sync::OnceLock;

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved, Pattern, hopper};
use crate::cuda::{CudaDevice, Launch, Module, Param, address, args, device_of};
use crate::{DType, Error, Result, Tensor};

static FORWARD: Module<'static> = Module::new(
    "attention_forward",
    concat!(
        include_str!("mma.cuh"),
        include_str!("tile.cuh"),
        include_str!("forward.cuh"),
        include_str!("forward.cu")
    ),
);
static BACKWARD: Module<'static> = Module::new(
    "attention_backward",
    concat!(include_str!("mma.cuh"), include_str!("tile.cuh"), include_str!("backward.cu")),
);

/// The kernels of attention on CUDA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// `mma.sync`: any GPU from sm_80 on, every pattern and head size.
    Portable,
    /// `wgmma` and bulk tensor copies: sm_90, causal, head sizes 64 and 128.
    Hopper,
}

impl Variant {
    /// Whether these kernels serve a call on this GPU.
    pub fn serves(self, device: &CudaDevice, dims: AttentionDims) -> bool {
        self == Self::Portable || (hopper::on(device) && hopper::serves(dims))
    }

    // The Hopper kernels where they serve the call, unless `WANE_CUDA_ATTENTION=portable` asks for the others.
    fn chosen(device: &CudaDevice, dims: AttentionDims) -> Result<Self> {
        let portable = portable_asked()? || !Self::Hopper.serves(device, dims);
        Ok(if portable { Self::Portable } else { Self::Hopper })
    }
}

/// Whether `WANE_CUDA_ATTENTION=portable` is set.
///
/// # Errors
/// It names other kernels than there are.
pub(crate) fn portable_asked() -> Result<bool> {
    static PORTABLE: OnceLock<std::result::Result<bool, String>> = OnceLock::new();
    let asked = PORTABLE.get_or_init(|| match std::env::var("WANE_CUDA_ATTENTION").as_deref() {
        Ok("portable") => Ok(true),
        Ok("hopper" | "") | Err(_) => Ok(false),
        Ok(other) => Err(other.to_owned()),
    });
    asked.clone().map_err(|other| {
        Error::unsupported("WANE_CUDA_ATTENTION", format!("{other} (portable and hopper are)"))
    })
}

// QUERY_ROWS and FORWARD_THREADS of forward.cuh.
pub(crate) const QUERY_ROWS: usize = 128;
pub(crate) const FORWARD_THREADS: usize = 128;
// KEY_BLOCK, QUERY_BLOCK and BACKWARD_THREADS of backward.cu.
const KEY_BLOCK: usize = 128;
const QUERY_BLOCK: usize = 64;
const BACKWARD_THREADS: usize = 256;

/// FORWARD_SHARED of forward.cuh: bytes of shared memory at a padded head dimension.
pub(crate) const fn forward_shared(width: usize) -> usize {
    (QUERY_ROWS + 4 * 64) * width * 2
}

// BACKWARD_SHARED of backward.cu.
const fn backward_shared(width: usize) -> usize {
    (2 * KEY_BLOCK + 4 * 64) * width * 2 + KEY_BLOCK * 64 * 2 + 4 * 64 * 4
}

/// `AttentionSizes` of tile.cuh.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Sizes {
    batch: i32,
    queries: i32,
    keys: i32,
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    dilation: i32,
    window: i32,
    initial: i32,
    scale: f32,
}

// SAFETY: the same fields in the same order as the C++ structure, all of four bytes.
unsafe impl Param for Sizes {}

impl Sizes {
    /// # Errors
    /// Sizes that the kernels do not serve.
    pub(crate) fn new(op: &'static str, dims: AttentionDims) -> Result<Self> {
        let AttentionDims { batch, queries, keys, heads, kv_heads, head_dim, scale, pattern } = dims;
        // Positions plus a window stay within i32.
        if keys > i32::MAX as usize / 4 || batch > 65_535 || heads > 65_535 {
            return Err(Error::unsupported(
                op,
                format!("{batch} sequences of {keys} keys and {heads} heads on cuda"),
            ));
        }
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::shape(op, "a positive scale", scale));
        }
        let (dilation, window, initial) = match pattern {
            Pattern::Causal => (None, keys, 0),
            Pattern::Dilated { dilation, window, initial } => (dilation, window, initial),
        };
        let sizes = Self {
            batch: batch as i32,
            queries: queries as i32,
            keys: keys as i32,
            heads: heads as i32,
            kv_heads: kv_heads as i32,
            head_dim: head_dim as i32,
            // A dilation beyond the last key selects nothing.
            dilation: dilation.filter(|&d| d <= keys).unwrap_or(0) as i32,
            window: window.min(keys) as i32,
            initial: initial.min(keys) as i32,
            scale,
        };
        // The causal kernels take every key for an ordinary one.
        Ok(if sizes.dense() { Self { dilation: 0, window: keys as i32, initial: 0, ..sizes } } else { sizes })
    }

    // Whether every earlier key is visible.
    fn dense(&self) -> bool {
        self.dilation == 1 || self.window >= self.keys || self.initial >= self.keys
    }

    // Keys that all later queries see, which the dilated backward gathers.
    fn gathered_keys(&self) -> usize {
        let strided =
            if self.dilation > 0 { self.keys / self.dilation - self.initial / self.dilation } else { 0 };
        (self.initial + strided) as usize
    }
}

// How many blocks share the queries of a block of gathered keys: enough for two on every multiprocessor,
// but at least four tiles of queries each.
fn sharing(device: &CudaDevice, dims: AttentionDims, gathered: usize) -> usize {
    let blocks = gathered.div_ceil(KEY_BLOCK) * dims.kv_heads * dims.batch;
    let tiles = dims.queries.div_ceil(QUERY_BLOCK) * dims.heads / dims.kv_heads;
    (2 * device.multiprocessors() / blocks.max(1)).min(tiles / 4).max(1)
}

/// The padded head dimension.
///
/// # Errors
/// The kernels have no tile for it.
pub(crate) fn tile_width(op: &'static str, head_dim: usize) -> Result<usize> {
    [32, 64, 96, 128].into_iter().find(|&width| head_dim <= width && head_dim.is_multiple_of(8)).ok_or_else(
        || Error::unsupported(op, format!("head_dim {head_dim} on cuda (multiples of 8 up to 128 are)")),
    )
}

/// # Errors
/// A tensor is not bf16.
pub(crate) fn check_bf16(op: &'static str, tensors: &[&Tensor]) -> Result<()> {
    match tensors.iter().find(|tensor| tensor.dtype() != DType::BF16) {
        Some(other) => Err(Error::unsupported(op, format!("{other:?} (cast it to bf16)"))),
        None => Ok(()),
    }
}

/// # Errors
/// The GPU has less shared memory than `bytes`.
pub(crate) fn check_shared(op: &'static str, device: &CudaDevice, bytes: usize) -> Result<()> {
    if bytes <= device.shared_limit() {
        return Ok(());
    }
    let limit = device.shared_limit();
    Err(Error::unsupported(op, format!("{}: {bytes} bytes of shared memory, it has {limit}", device.name())))
}

pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    dims: AttentionDims,
    variant: Option<Variant>,
) -> Result<Attended> {
    const OP: &str = "attention";
    check_bf16(OP, &[q, k, v])?;
    let device = device_of(q)?;
    let sizes = Sizes::new(OP, dims)?;
    if variant.map_or_else(|| Variant::chosen(device, dims), Ok)? == Variant::Hopper {
        return hopper::attention(q, k, v, dims);
    }
    let width = tile_width(OP, dims.head_dim)?;
    check_shared(OP, device, forward_shared(width))?;
    let output = Tensor::uninit(q.shape(), DType::BF16, q.device())?;
    let lse = Tensor::uninit(&[dims.batch, dims.heads, dims.queries], DType::F32, q.device())?;
    let kernel = if sizes.dense() { "attention_forward_causal" } else { "attention_forward_dilated" };
    device.launch(
        &FORWARD.with(&[("HEAD_DIM", width as i64)]),
        kernel,
        Launch::new(0, FORWARD_THREADS)
            .grid(dims.queries.div_ceil(QUERY_ROWS), dims.heads, dims.batch)
            .shared(forward_shared(width)),
        args![address(q)?, address(k)?, address(v)?, address(&output)?, address(&lse)?, sizes],
    )?;
    Ok(Attended { output, lse })
}

pub(super) fn backward(
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
    variant: Option<Variant>,
) -> Result<AttentionGrads> {
    const OP: &str = "attention::backward";
    let AttentionSaved { q, k, v, attended: Attended { output, lse } } = saved;
    check_bf16(OP, &[q, k, v, output, doutput])?;
    let device = device_of(q)?;
    let sizes = Sizes::new(OP, dims)?;
    if variant.map_or_else(|| Variant::chosen(device, dims), Ok)? == Variant::Hopper {
        return hopper::backward(doutput, saved, dims);
    }
    let width = tile_width(OP, dims.head_dim)?;
    check_shared(OP, device, backward_shared(width))?;
    let uninit = |like: &Tensor| Tensor::uninit(like.shape(), DType::BF16, q.device());
    let (dq, dk, dv) = (uninit(q)?, uninit(k)?, uninit(v)?);
    let delta = Tensor::uninit(lse.shape(), DType::F32, q.device())?;
    let accumulator = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    let defines = [("HEAD_DIM", width as i64)];
    let module = BACKWARD.with(&defines);

    // Sixteen lanes to a (query, head).
    let items = dims.batch * dims.queries * dims.heads;
    device.launch(
        &module,
        "attention_backward_prepare",
        Launch::cover(items * 16, 256),
        args![address(output)?, address(doutput)?, address(&delta)?, address(&accumulator)?, sizes],
    )?;
    let gathered = if sizes.dense() { 0 } else { sizes.gathered_keys() };
    let sharing = sharing(device, dims, gathered);
    let parts = [sharing, dims.batch * dims.kv_heads * gathered, 2, dims.head_dim];
    let parts = Tensor::uninit(&parts, DType::F32, q.device())?;
    let kernel = if sizes.dense() { "attention_backward_causal" } else { "attention_backward_dilated" };
    let blocks = dims.keys.div_ceil(KEY_BLOCK) + gathered.div_ceil(KEY_BLOCK) * sharing;
    device.launch(
        &module,
        kernel,
        Launch::new(0, BACKWARD_THREADS)
            .grid(blocks, dims.kv_heads, dims.batch)
            .shared(backward_shared(width)),
        args![
            address(q)?,
            address(k)?,
            address(v)?,
            address(doutput)?,
            address(lse)?,
            address(&delta)?,
            address(&accumulator)?,
            address(&dk)?,
            address(&dv)?,
            address(&parts)?,
            sharing as i32,
            sizes,
        ],
    )?;
    device.launch(
        &module,
        "attention_backward_gathered",
        Launch::cover(parts.len() / sharing / 8, 256),
        args![address(&parts)?, address(&dk)?, address(&dv)?, sharing as i32, sizes],
    )?;
    device.launch(
        &module,
        "attention_backward_finish",
        Launch::cover(q.len() / 8, 256),
        args![address(&accumulator)?, address(&dq)?, dims.scale, q.len() as i64],
    )?;
    Ok(AttentionGrads { dq, dk, dv })
}

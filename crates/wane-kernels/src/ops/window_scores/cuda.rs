//! The window's attention on NVIDIA GPUs: products by cuBLASLt into f32, some heads at a time, then
//! two passes over them.

use super::Pooling;
use crate::cuda::gemm::{Layout, Matrix, Product};
use crate::cuda::{Launch, Module, address, args, device_of};
use crate::ops::attention::AttentionDims;
use crate::ops::cast::cast;
use crate::{DType, Result, Tensor};

static MODULE: Module<'static> = Module::new("window_scores", include_str!("window_scores.cu"));

// Bytes of the products kept at a time.
const CHUNK_BYTES: usize = 256 << 20;

pub(super) fn window_scores(q: &Tensor, k: &Tensor, dims: AttentionDims) -> Result<Tensor> {
    let AttentionDims { queries, keys, heads, kv_heads, head_dim, scale, .. } = dims;
    let (device, n) = (device_of(q)?, keys - queries);
    let scores = Tensor::uninit(&[heads, n], DType::F32, q.device())?;
    let k = &cast(k, q.dtype())?;
    let at_once = (CHUNK_BYTES / (4 * queries * keys).max(1)).clamp(1, heads.max(1));
    let products = Tensor::uninit(&[at_once, queries, keys], DType::F32, q.device())?;
    let lse = Tensor::uninit(&[at_once, queries], DType::F32, q.device())?;
    let size = q.dtype().size();
    let part = |tensor: &Tensor, head: usize| {
        let start = address(tensor)? + (head * head_dim * size) as u64;
        Ok::<_, crate::Error>(Matrix { address: start, stride: tensor.width(), dtype: q.dtype() })
    };
    for first in (0..heads).step_by(at_once) {
        let count = at_once.min(heads - first);
        for head in 0..count {
            let to = address(&products)? + (4 * head * queries * keys) as u64;
            device.product(Product {
                size: [queries, keys, head_dim],
                a: (part(q, first + head)?, Layout::Plain),
                b: (part(k, (first + head) / (heads / kv_heads))?, Layout::Transposed),
                c: None,
                bias: 0,
                d: Matrix { address: to, stride: keys, dtype: DType::F32 },
            })?;
        }
        device.launch(
            &MODULE,
            "log_sums",
            Launch::new(count * queries, 256),
            args![address(&products)?, address(&lse)?, queries as i32, keys as i32, scale],
        )?;
        device.launch(
            &MODULE,
            "sum_queries",
            Launch::new(0, 256).grid(n.div_ceil(256), count, 1),
            args![
                address(&products)?,
                address(&lse)?,
                address(&scores)? + (4 * first * n) as u64,
                queries as i32,
                keys as i32,
                n as i32,
                scale
            ],
        )?;
    }
    Ok(scores)
}

pub(super) fn pool(scores: &Tensor, kernel: usize, pooling: Pooling) -> Result<Tensor> {
    let out = Tensor::uninit(scores.shape(), DType::F32, scores.device())?;
    device_of(scores)?.launch(
        &MODULE,
        "pool",
        Launch::cover(out.len(), 256),
        args![
            address(scores)?,
            address(&out)?,
            out.len() as i64,
            scores.width() as i32,
            kernel as i32,
            i32::from(pooling == Pooling::Average)
        ],
    )?;
    Ok(out)
}

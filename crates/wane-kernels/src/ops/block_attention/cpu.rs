//! block_attention on the CPU.

use rayon::prelude::*;

use super::Reads;
use crate::kv::{Element, HostKv, with_element};
use crate::ops::attention::AttentionDims;
use crate::{DType, KvView, Result, Selection, Tensor};

/// Softmax attention of one query over the listed rows.
fn attend<T: Element>(query: &[f32], rows: &[(&[T], &[T])], scale: f32, output: &mut [f32]) {
    let mut scores: Vec<f32> = rows
        .iter()
        .map(|(key, _)| scale * query.iter().zip(*key).map(|(q, k)| q * k.to_f32()).sum::<f32>())
        .collect();
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    scores.iter_mut().for_each(|s| *s = (*s - max).exp());
    let total = scores.iter().sum::<f32>();
    output.fill(0.0);
    for ((_, value), p) in rows.iter().zip(&scores) {
        output.iter_mut().zip(*value).for_each(|(o, v)| *o += p / total * v.to_f32());
    }
}

pub(super) fn prefill(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<Tensor> {
    let AttentionDims { queries, heads, kv_heads, head_dim, scale, .. } = dims;
    let mut output = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    if output.is_empty() {
        return Ok(output);
    }
    let q = q.f32s();
    with_element!(k.dtype(), "block_attention::prefill", T => {
        let (k, v) = (T::slice(k), T::slice(v));
        output.f32s_mut().par_chunks_mut(head_dim).enumerate().for_each(|(row, output)| {
            let (i, head) = (row / heads, row % heads);
            let end = dims.position(i) + 1;
            let rows: Vec<_> = selection
                .row(head * queries + i)
                .iter()
                .flat_map(|&b| b as usize * block..((b as usize + 1) * block).min(end))
                .map(|j| {
                    let at = (j * kv_heads + head / dims.group()) * head_dim;
                    (&k[at..][..head_dim], &v[at..][..head_dim])
                })
                .collect();
            attend(&q[row * head_dim..][..head_dim], &rows, scale, output);
        });
        Ok(output)
    })
}

pub(super) fn decode(
    q: &Tensor,
    kv: KvView<'_>,
    heads: usize,
    scale: f32,
    reads: Reads<'_>,
) -> Result<Tensor> {
    let (head_dim, group) = (kv.head_dim, heads / kv.kv_heads);
    let mut output = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    let (host, q) = (HostKv::new(kv), q.f32s());
    for lane in 0..kv.lanes() {
        host.check_rows("block_attention::decode", lane, host.len(lane))?;
    }
    with_element!(kv.dtype, "block_attention::decode", T => {
        output.f32s_mut().par_chunks_mut(head_dim).enumerate().for_each(|(row, output)| {
            let lane = row / heads * kv.kv_heads + row % heads / group;
            let len = host.len(lane);
            let listed: Vec<usize> = match reads {
                Reads::All => (0..len).collect(),
                Reads::Blocks { selection, block } => {
                    let row = if selection.rows() == kv.lanes() { lane } else { row };
                    let blocks = selection.row(row).iter();
                    blocks.flat_map(|&b| b as usize * block..((b as usize + 1) * block).min(len)).collect()
                }
            };
            let rows: Vec<_> = listed.iter().map(|&j| host.rows::<T>(lane, j, 1)).collect();
            attend(&q[row * head_dim..][..head_dim], &rows, scale, output);
        });
        Ok(output)
    })
}

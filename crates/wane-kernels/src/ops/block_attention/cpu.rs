//! Attention over selected blocks on the CPU.

mod decode;
mod prefill;
#[cfg(test)]
mod tests;

use super::Reads;
use crate::cpu::Isa;
use crate::kv::{Element, with_element};
use crate::ops::attention::AttentionDims;
use crate::ops::attention::cpu::expect_f32;
use crate::{KvView, Result, Selection, Tensor};

pub(super) fn prefill(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<Tensor> {
    expect_f32("block_attention::prefill", &[q])?;
    with_element!(k.dtype(), "block_attention::prefill", T => {
        prefill::prefill::<T>(Isa::current(), q, [T::slice(k), T::slice(v)], selection, block, dims)
    })
}

pub(super) fn decode(
    q: &Tensor,
    kv: KvView<'_>,
    heads: usize,
    scale: f32,
    reads: Reads<'_>,
) -> Result<Tensor> {
    expect_f32("block_attention::decode", &[q])?;
    with_element!(kv.dtype, "block_attention::decode", T => {
        decode::decode::<T>(Isa::current(), q, kv, heads, scale, reads)
    })
}

//! Attention on the CPU: packed keys and values, register tiles, online softmax, in f32.
//!
//! [`source`] turns patterns into ranges, [`pack`] lays keys and values out, [`lanes`] has the
//! instructions, [`softmax`] the step that all forward passes share.

mod backward;
pub(crate) mod floats;
pub(crate) mod forward;
pub(crate) mod lanes;
pub(crate) mod pack;
pub(crate) mod scores;
pub(crate) mod shared;
pub(crate) mod softmax;
pub(crate) mod source;
#[cfg(test)]
mod tests;

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved};
use crate::cpu::Isa;
use crate::kv::{Element, with_element};
use crate::{DType, Error, Result, Tensor};

pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, dims: AttentionDims) -> Result<Attended> {
    expect_f32("attention", &[q])?;
    with_element!(k.dtype(), "attention", T => {
        forward::attention::<T>(Isa::current(), q, [T::slice(k), T::slice(v)], dims)
    })
}

pub(super) fn backward(
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
) -> Result<AttentionGrads> {
    let attended = saved.attended;
    expect_f32(
        "attention::backward",
        &[doutput, saved.q, saved.k, saved.v, &attended.output, &attended.lse],
    )?;
    backward::backward(Isa::current(), doutput, saved, dims)
}

/// Fails unless all `tensors` are f32.
pub(crate) fn expect_f32(op: &'static str, tensors: &[&Tensor]) -> Result<()> {
    match tensors.iter().find(|tensor| tensor.dtype() != DType::F32) {
        None => Ok(()),
        Some(tensor) => Err(Error::unsupported(op, format!("{:?} on the CPU (use F32)", tensor.dtype()))),
    }
}

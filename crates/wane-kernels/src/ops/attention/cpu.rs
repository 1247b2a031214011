//! attention on the CPU.

pub(crate) mod floats;
pub(crate) mod forward;
pub(crate) mod isa;
pub(crate) mod lanes;
pub(crate) mod pack;
pub(crate) mod shared;
pub(crate) mod softmax;
pub(crate) mod source;

use isa::Isa;
use rayon::prelude::*;

use super::{Attended, AttentionDims, AttentionGrads, AttentionSaved};
use crate::kv::{Element, with_element};
use crate::{DType, Result, Tensor};

fn dot<T: Element>(a: &[f32], b: &[T]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b.to_f32()).sum()
}

fn add_scaled<T: Element>(to: &mut [f32], from: &[T], scale: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += scale * from.to_f32());
}

pub(super) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, dims: AttentionDims) -> Result<Attended> {
    with_element!(k.dtype(), "attention", T => {
        forward::attention::<T>(Isa::current(), q, [T::slice(k), T::slice(v)], dims)
    })
}

pub(super) fn backward(
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
) -> Result<AttentionGrads> {
    let AttentionDims { batch, queries, keys, heads, kv_heads, head_dim, scale, pattern } = dims;
    let mut dq = Tensor::zeros(saved.q.shape(), DType::F32, doutput.device())?;
    let mut dk = Tensor::zeros(saved.k.shape(), DType::F32, doutput.device())?;
    let mut dv = Tensor::zeros(saved.v.shape(), DType::F32, doutput.device())?;
    let (q, k, v, doutput) = (saved.q.f32s(), saved.k.f32s(), saved.v.f32s(), doutput.f32s());
    let (output, lse) = (saved.attended.output.f32s(), saved.attended.lse.f32s());
    let parts: Vec<_> = (0..batch * kv_heads)
        .into_par_iter()
        .map(|lane| {
            let (sequence, kv_head) = (lane / kv_heads, lane % kv_heads);
            let group = dims.group();
            let mut dq = vec![0f32; queries * group * head_dim];
            let mut dk = vec![0f32; keys * head_dim];
            let mut dv = vec![0f32; keys * head_dim];
            for i in 0..queries {
                for member in 0..group {
                    let head = kv_head * group + member;
                    let at = ((sequence * queries + i) * heads + head) * head_dim;
                    let (query, grad) = (&q[at..][..head_dim], &doutput[at..][..head_dim]);
                    let delta = dot(grad, &output[at..][..head_dim]);
                    let lse = lse[(sequence * heads + head) * queries + i];
                    let position = dims.position(i);
                    for j in (0..=position).filter(|&j| pattern.sees(position, j)) {
                        let at = ((sequence * keys + j) * kv_heads + kv_head) * head_dim;
                        let (key, value) = (&k[at..][..head_dim], &v[at..][..head_dim]);
                        let p = (scale * dot(query, key) - lse).exp();
                        let ds = scale * p * (dot(grad, value) - delta);
                        add_scaled(&mut dq[(i * group + member) * head_dim..][..head_dim], key, ds);
                        add_scaled(&mut dk[j * head_dim..][..head_dim], query, ds);
                        add_scaled(&mut dv[j * head_dim..][..head_dim], grad, p);
                    }
                }
            }
            (dq, dk, dv)
        })
        .collect();
    for (lane, (q_part, k_part, v_part)) in parts.iter().enumerate() {
        let (sequence, kv_head) = (lane / kv_heads, lane % kv_heads);
        let wide = dims.group() * head_dim;
        for (i, row) in q_part.chunks_exact(wide).enumerate() {
            dq.f32s_mut()[((sequence * queries + i) * kv_heads + kv_head) * wide..][..wide]
                .copy_from_slice(row);
        }
        for (to, part) in [(&mut dk, k_part), (&mut dv, v_part)] {
            for (j, row) in part.chunks_exact(head_dim).enumerate() {
                to.f32s_mut()[((sequence * keys + j) * kv_heads + kv_head) * head_dim..][..head_dim]
                    .copy_from_slice(row);
            }
        }
    }
    Ok(AttentionGrads { dq, dk, dv })
}

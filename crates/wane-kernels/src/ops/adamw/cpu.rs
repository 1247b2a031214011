//! AdamW on the CPU: everything in one pass over the parameter.

use rayon::prelude::*;

use super::{AdamwState, AdamwStep, Factors};
use crate::cpu::{Isa, multiversion};
use crate::{DType, Device, Result, Tensor};

const PIECE: usize = 16 << 10;

pub(super) fn global_norm(grads: &[&Tensor]) -> Result<Tensor> {
    // Pieces are summed in order, so that the result does not depend on threads.
    let isa = Isa::current();
    let total: f64 = grads
        .iter()
        .map(|grad| {
            let partial: Vec<f64> =
                grad.f32s().par_chunks(PIECE).map(|piece| sum_of_squares(isa, piece)).collect();
            partial.iter().sum::<f64>()
        })
        .sum();
    Tensor::from_f32(&[total.sqrt() as f32], &[1], &Device::Cpu)
}

multiversion! {
    fn sum_of_squares(values: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (sum, &x) in lanes.iter_mut().zip(chunk) {
                *sum += f64::from(x) * f64::from(x);
            }
        }
        lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    }
}

/// The constants of one update.
#[derive(Clone, Copy)]
struct Update {
    clip: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    rate: f32,
    unbias2: f32,
    keep: f32,
}

pub(super) fn step(
    state: &mut AdamwState,
    grad: &Tensor,
    norm: &Tensor,
    max_norm: f32,
    config: AdamwStep,
    working: &mut Tensor,
) -> Result<()> {
    let norm = norm.f32s()[0];
    if !norm.is_finite() {
        return Ok(());
    }
    let Factors { rate, unbias2, keep } = config.factors();
    let update = Update {
        clip: if max_norm > 0.0 && norm > max_norm { max_norm / norm } else { 1.0 },
        beta1: config.beta1,
        beta2: config.beta2,
        eps: config.eps,
        rate,
        unbias2,
        keep,
    };
    let isa = Isa::current();
    let moments = state.m.f32s_mut().par_chunks_mut(PIECE).zip(state.v.f32s_mut().par_chunks_mut(PIECE));
    let weights = state.master.f32s_mut().par_chunks_mut(PIECE).zip(grad.f32s().par_chunks(PIECE));
    let both = weights.zip(moments);
    match working.dtype() {
        DType::BF16 => both.zip(working.bf16s_mut().par_chunks_mut(PIECE)).for_each(
            |(((master, grad), (m, v)), working)| {
                step_piece(isa, update, master, grad, m, v);
                for (to, &from) in working.iter_mut().zip(&*master) {
                    *to = half::bf16::from_f32(from);
                }
            },
        ),
        _ => both.zip(working.f32s_mut().par_chunks_mut(PIECE)).for_each(
            |(((master, grad), (m, v)), working)| {
                step_piece(isa, update, master, grad, m, v);
                working.copy_from_slice(master);
            },
        ),
    }
    Ok(())
}

multiversion! {
    fn step_piece(u: Update, master: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32]) {
        let n = master.len();
        let (grad, m, v) = (&grad[..n], &mut m[..n], &mut v[..n]);
        for i in 0..n {
            let g = grad[i] * u.clip;
            m[i] = u.beta1 * m[i] + (1.0 - u.beta1) * g;
            v[i] = u.beta2 * v[i] + (1.0 - u.beta2) * (g * g);
            master[i] = u.keep * master[i] - u.rate * m[i] / ((v[i] * u.unbias2).sqrt() + u.eps);
        }
    }
}

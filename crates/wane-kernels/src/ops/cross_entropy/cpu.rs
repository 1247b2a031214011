//! The fused head and loss on the CPU: logits exist for one chunk of rows at a time.

use rayon::prelude::*;

use super::LossGrads;
use crate::cpu::math::exp;
use crate::cpu::matmul::{Into, Matrix, matmul};
use crate::cpu::{Isa, Rows, RowsMut, multiversion};
use crate::ops::linear::cpu::product;
use crate::{DType, Device, Error, Result, Tensor, Weight};

/// Logits of a chunk: 8 MiB.
const CHUNK: usize = 2 << 20;

/// Gradients of logits below this are 0.
const TINY: f32 = 1e-28;

fn chunk_rows(rows: usize, vocabulary: usize) -> usize {
    (CHUNK / vocabulary).max(16).min(rows)
}

pub(super) fn losses(hidden: &Tensor, head: &Weight, targets: &Tensor) -> Result<Tensor> {
    let hidden = Rows::new("cross_entropy", hidden)?;
    let targets = checked_targets(targets, head.rows())?;
    let mut losses = Tensor::uninit(&[hidden.rows], DType::F32, &Device::Cpu)?;
    for_logits(hidden, head, |first, logits| {
        let rows = logits.len() / head.rows();
        let isa = Isa::current();
        logits
            .par_chunks(head.rows())
            .zip(&mut losses.f32s_mut()[first..first + rows])
            .zip(&targets[first..])
            .for_each(|((logits, loss), &target)| {
                *loss = log_sum_exp(isa, logits).1 - logits[target as usize]
            });
        Ok(())
    })?;
    Ok(losses)
}

/// Calls `f(first row, logits)` for chunks of rows.
fn for_logits(
    hidden: Rows<'_>,
    head: &Weight,
    mut f: impl FnMut(usize, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let chunk = chunk_rows(hidden.rows, head.rows());
    let mut logits = Tensor::uninit(&[chunk, head.rows()], DType::F32, &Device::Cpu)?;
    for first in (0..hidden.rows).step_by(chunk.max(1)) {
        let rows = chunk.min(hidden.rows - first);
        let logits = &mut logits.f32s_mut()[..rows * head.rows()];
        let mut out = RowsMut::contiguous(logits, head.rows());
        product(hidden.range(first, rows), head, &mut out, Into::Replace)?;
        f(first, logits)?;
    }
    Ok(())
}

pub(super) fn forward_backward(
    hidden: &Tensor,
    head: &Weight,
    targets: &Tensor,
    weights: &Tensor,
    scale: f32,
    dhead: &mut Tensor,
) -> Result<LossGrads> {
    let op = "cross_entropy";
    let mut dhidden = Tensor::uninit(hidden.shape(), DType::F32, &Device::Cpu)?;
    let mut losses = Tensor::uninit(&[hidden.rows()], DType::F32, &Device::Cpu)?;
    let (hidden, targets) = (Rows::new(op, hidden)?, checked_targets(targets, head.rows())?);
    let (vocabulary, d, weights) = (head.rows(), head.columns(), weights.f32s());
    let head_rows = crate::ops::cast::cast(head.dense()?, DType::F32)?;
    let isa = Isa::current();
    for_logits(hidden, head, |first, logits| {
        let rows = logits.len() / vocabulary;
        logits
            .par_chunks_mut(vocabulary)
            .zip(&mut losses.f32s_mut()[first..first + rows])
            .zip(&targets[first..])
            .zip(&weights[first..])
            .for_each(|(((logits, loss), &target), &weight)| {
                let (max, log_sum) = log_sum_exp(isa, logits);
                *loss = log_sum - logits[target as usize];
                logits_grad(isa, logits, max, scale * weight, log_sum - max);
                logits[target as usize] -= scale * weight;
            });
        let grads = Matrix::new(logits, rows, vocabulary);
        let dhidden = &mut dhidden.f32s_mut()[first * d..(first + rows) * d];
        matmul(
            RowsMut::contiguous(dhidden, d),
            grads,
            Matrix::new(head_rows.f32s(), vocabulary, d),
            Into::Replace,
        );
        let dhead = RowsMut::contiguous(dhead.f32s_mut(), d);
        matmul(dhead, grads.t(), hidden.range(first, rows).into(), Into::Add);
        Ok(())
    })?;
    Ok(LossGrads { losses, dhidden })
}

multiversion! {
    /// The maximum and the logarithm of the sum of exponentials.
    fn log_sum_exp(logits: &[f32]) -> (f32, f32) {
        let mut maxima = [f32::NEG_INFINITY; 32];
        let (chunks, rest) = logits.as_chunks::<32>();
        for chunk in chunks {
            for (max, &x) in maxima.iter_mut().zip(chunk) {
                *max = if x > *max { x } else { *max };
            }
        }
        let max = maxima.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let mut sums = [0.0f32; 32];
        for chunk in chunks {
            for (sum, &x) in sums.iter_mut().zip(chunk) {
                *sum += exp(x - max);
            }
        }
        let sum = sums.iter().sum::<f32>() + rest.iter().map(|&x| exp(x - max)).sum::<f32>();
        (max, max + sum.ln())
    }
}

multiversion! {
    /// `factor softmax`, in place; the logarithm of the sum is relative to `max`. Tiny gradients
    /// become 0: products of denormal numbers would be a hundred times slower, and change nothing.
    fn logits_grad(logits: &mut [f32], max: f32, factor: f32, log_sum: f32) {
        let factor = factor * exp(-log_sum);
        for x in logits {
            let grad = exp(*x - max) * factor;
            *x = if grad.abs() < TINY { 0.0 } else { grad };
        }
    }
}

fn checked_targets(targets: &Tensor, vocabulary: usize) -> Result<&[i32]> {
    let targets = targets.i32s();
    match targets.iter().find(|&&t| t < 0 || t as usize >= vocabulary) {
        Some(bad) => Err(Error::shape("cross_entropy", format!("targets below {vocabulary}"), bad)),
        None => Ok(targets),
    }
}

//! Weighted next-token loss, fused with the output head so that logits are never whole:
//! `loss = sum_i w_i (log sum_j exp(l_ij) - l_i,target) `, `l = h W^T`, computed in chunks of rows.
//!
//! Backward: `dl_ij = scale w_i (softmax_j(l_i) - [j = target])`, `dh = dl W`, `dW += dl^T h`.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Tensor, Weight};

/// Per-token losses f32 \[n] (unweighted), without gradients.
///
/// # Shapes
/// `hidden` [n, d], `head` [vocabulary, d], `targets` I32 \[n].
///
/// # Errors
/// Shapes that do not fit; a target outside the vocabulary (CPU only).
pub fn losses(hidden: &Tensor, head: &Weight, targets: &Tensor) -> Result<Tensor> {
    check(hidden, head, targets)?;
    match hidden.device() {
        Device::Cpu => cpu::losses(hidden, head, targets),
        Device::Cuda(_) => cuda::losses(hidden, head, targets),
    }
}

/// Loss and gradients of one batch.
#[derive(Debug)]
pub struct LossGrads {
    /// Per-token losses f32 \[n], unweighted.
    pub losses: Tensor,
    /// Gradient of the hidden states [n, d].
    pub dhidden: Tensor,
}

/// Losses, the gradient of `hidden`, and `dhead` (f32 [vocabulary, d]) increased by the head's,
/// of `scale * sum_i weights_i loss_i`.
///
/// # Shapes
/// `weights` f32 \[n]; the others as [`losses`].
///
/// # Errors
/// As [`losses`].
pub fn forward_backward(
    hidden: &Tensor,
    head: &Weight,
    targets: &Tensor,
    weights: &Tensor,
    scale: f32,
    dhead: &mut Tensor,
) -> Result<LossGrads> {
    check(hidden, head, targets)?;
    weights.expect("cross_entropy", "weights", DType::F32, &[hidden.rows()])?;
    dhead.expect("cross_entropy", "dhead", DType::F32, &[head.rows(), head.columns()])?;
    match hidden.device() {
        Device::Cpu => cpu::forward_backward(hidden, head, targets, weights, scale, dhead),
        Device::Cuda(_) => cuda::forward_backward(hidden, head, targets, weights, scale, dhead),
    }
}

fn check(hidden: &Tensor, head: &Weight, targets: &Tensor) -> Result<()> {
    hidden.expect_rows("cross_entropy", "hidden", [hidden.rows(), head.columns()])?;
    targets.expect("cross_entropy", "targets", DType::I32, &[hidden.rows()])?;
    if head.rows() == 0 {
        return Err(Error::shape("cross_entropy", "a vocabulary", "none"));
    }
    Ok(())
}

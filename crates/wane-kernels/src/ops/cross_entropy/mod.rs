//! Weighted next-token loss, fused with the output head so that logits are never whole:
//! `loss = sum_i w_i (log sum_j exp(l_ij) - l_i,target) `, `l = h W^T`, computed in chunks of rows.

mod cpu;
mod cuda;

use crate::{Device, Error, Result, Tensor, Weight};

/// Per-token losses f32 [n] (unweighted), without gradients.
///
/// # Shapes
/// `hidden` [n, d], `head` [vocabulary, d], `targets` I32 [n].
///
/// # Errors
/// Shapes that do not fit; a target outside the vocabulary (CPU only).
pub fn losses(hidden: &Tensor, head: &Weight, targets: &Tensor) -> Result<Tensor> {
    match hidden.device() {
        Device::Cpu => cpu::losses(hidden, head, targets),
        Device::Cuda(_) => cuda::losses(hidden, head, targets),
    }
}

/// Loss and gradients of one batch.
#[derive(Debug)]
pub struct LossGrads {
    /// Per-token losses f32 [n], unweighted.
    pub losses: Tensor,
    /// Gradient of the hidden states [n, d].
    pub dhidden: Tensor,
}

/// Losses, the gradient of `hidden`, and `dhead` (f32 [vocabulary, d]) increased by the head's,
/// of `scale * sum_i weights_i loss_i`.
///
/// # Shapes
/// `weights` f32 [n]; the others as [`losses`].
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
    match hidden.device() {
        Device::Cpu => cpu::forward_backward(hidden, head, targets, weights, scale, dhead),
        Device::Cuda(_) => cuda::forward_backward(hidden, head, targets, weights, scale, dhead),
    }
}

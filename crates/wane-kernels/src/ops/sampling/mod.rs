//! The next token from logits: greedy, or temperature with top-k and top-p.

mod cpu;
mod cuda;

use crate::{Device, Error, Result, Tensor};

/// The index of the largest logit of each row (the lowest index on ties): I32 [rows].
///
/// # Errors
/// The device failed.
pub fn argmax(logits: &Tensor) -> Result<Tensor> {
    match logits.device() {
        Device::Cpu => cpu::argmax(logits),
        Device::Cuda(_) => cuda::argmax(logits),
    }
}

/// How to draw a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep only the best `top_k`; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set with this mass; 1 keeps all.
    pub top_p: f32,
}

/// Draws from one row of logits with the uniform number `uniform` in [0, 1). Runs on the host.
pub fn sample(_logits: &[f32], _params: SamplingParams, _uniform: f64) -> usize {
    0
}

//! SnapKV's importance of a prompt position: the attention it receives from the last `window`
//! queries, summed over them and pooled over neighbours (arXiv 2404.14469).

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::ops::attention::{AttentionDims, Pattern};
use crate::{DType, Device, Error, Result, Tensor};

/// `s_hj = sum over the last `dims.queries` queries i of softmax_j(scale q_i . k_j)` (causal, over
/// all keys, f32), for the positions `j < keys - queries` before the window.
///
/// # Shapes
/// As attention with `batch` = 1, `q` holding only the window's queries. Result f32
/// [heads, keys - queries].
///
/// # Errors
/// Shapes that do not fit.
pub fn window_scores(q: &Tensor, k: &Tensor, dims: AttentionDims) -> Result<Tensor> {
    dims.check("window_scores", &[q], &[k])?;
    if dims.batch != 1 || dims.pattern != Pattern::Causal {
        return Err(Error::shape(
            "window_scores",
            "one sequence and the causal pattern",
            format!("{dims:?}"),
        ));
    }
    match q.device() {
        Device::Cpu => cpu::window_scores(q, k, dims),
        Device::Cuda(_) => cuda::window_scores(q, k, dims),
    }
}

/// How neighbours are pooled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Mean over the kernel, zero-padded, the padding counted in the divisor.
    Average,
    /// Maximum over the kernel.
    Max,
}

/// Pools each row of `scores` [rows, n] with an odd `kernel`, stride 1, same length.
///
/// # Errors
/// An even kernel.
pub fn pool(scores: &Tensor, kernel: usize, pooling: Pooling) -> Result<Tensor> {
    if kernel.is_multiple_of(2) || scores.dtype() != DType::F32 {
        return Err(Error::shape(
            "window_scores::pool",
            "an odd kernel and f32 scores",
            format!("{kernel}, {scores:?}"),
        ));
    }
    match scores.device() {
        Device::Cpu => cpu::pool(scores, kernel, pooling),
        Device::Cuda(_) => cuda::pool(scores, kernel, pooling),
    }
}

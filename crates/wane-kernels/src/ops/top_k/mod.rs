//! The best `k` of each row, with forced entries; ties go to the lower index.

mod cpu;
mod cuda;

use crate::{Device, Error, Result, Selection, Tensor};

/// What each row must contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forced {
    /// The first entries.
    pub first: usize,
    /// The last valid entries.
    pub local: usize,
    /// Whether forced entries count within `k`.
    pub counted: bool,
}

/// Selects from row `r` the forced entries (`0..first` and `valid[r] - local..valid[r]`) and the
/// best-scored others, `k` in all (`k` besides the forced ones if they are not counted); all of
/// them if there are no more. Scores are compared in f32, NaN is the lowest, and ties go to the
/// lower index, so a selection does not depend on threads, batch or device.
///
/// # Shapes
/// `scores` f32 [rows, n], `valid` I32 [rows] with values in `0..=n`.
/// Result: ascending indices, width `min(n, k (+ first + local))`.
///
/// # Errors
/// Shapes that do not fit; `k` smaller than `first + local` when they are counted.
pub fn top_k(scores: &Tensor, valid: &Tensor, k: usize, forced: Forced) -> Result<Selection> {
    match scores.device() {
        Device::Cpu => cpu::top_k(scores, valid, k, forced),
        Device::Cuda(_) => cuda::top_k(scores, valid, k, forced),
    }
}

//! The best `k` of each row, with forced entries; ties go to the lower index.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Selection, Tensor};

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

impl Forced {
    /// Entries that a row of `n` scores can select at most.
    pub fn width(self, n: usize, k: usize) -> usize {
        n.min(if self.counted { k } else { k + self.first + self.local })
    }

    /// For a row of `valid` entries: where the free (not forced) ones start and end, and how many
    /// of them are to be selected.
    pub(crate) fn free(self, valid: usize, k: usize) -> (usize, usize, usize) {
        let start = self.first.min(valid);
        let end = valid.saturating_sub(self.local).max(start);
        let forced = start + valid - end;
        let wanted = if self.counted { k.saturating_sub(forced) } else { k };
        (start, end, wanted.min(end - start))
    }
}

/// Selects from row `r` the forced entries (`0..first` and `valid[r] - local..valid[r]`) and the
/// best-scored others, `k` in all (`k` besides the forced ones if they are not counted); all of
/// them if there are no more. Scores are compared in f32, NaN is the lowest, and ties go to the
/// lower index, so a selection does not depend on threads, batch or device.
///
/// # Shapes
/// `scores` f32 [rows, n], `valid` I32 \[rows] with values in `0..=n`.
/// Result: ascending indices, width `min(n, k (+ first + local))`.
///
/// # Errors
/// Shapes that do not fit; `k` smaller than `first + local` when they are counted.
pub fn top_k(scores: &Tensor, valid: &Tensor, k: usize, forced: Forced) -> Result<Selection> {
    let fits = matches!(scores.shape(), [rows, _] if *rows == valid.len())
        && scores.dtype() == DType::F32
        && valid.dtype() == DType::I32;
    if !fits {
        return Err(Error::shape(
            "top_k",
            "scores f32 [rows, n] and valid i32 [rows]",
            format!("{scores:?} and {valid:?}"),
        ));
    }
    if forced.counted && k < forced.first + forced.local {
        return Err(Error::shape(
            "top_k",
            format!("k of at least {} (the forced entries, which count)", forced.first + forced.local),
            k,
        ));
    }
    match scores.device() {
        Device::Cpu => cpu::top_k(scores, valid, k, forced),
        Device::Cuda(_) => cuda::top_k(scores, valid, k, forced),
    }
}

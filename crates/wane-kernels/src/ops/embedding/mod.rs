//! Rows of a table: `y_i = W[ids_i]`.

mod cpu;
mod cuda;

use crate::{DType, Device, Error, Result, Tensor, Weight};

/// Looks up `ids` (I32 [n]) in `table` [vocabulary, d]: [n, d] in `dtype`.
///
/// # Errors
/// An id outside the vocabulary (CPU only: on CUDA the caller has checked).
pub fn embedding(ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    match ids.device() {
        Device::Cpu => cpu::embedding(ids, table, dtype),
        Device::Cuda(_) => cuda::embedding(ids, table, dtype),
    }
}

/// Adds `dy` [n, d] to the rows `ids` of `dtable` (f32 [vocabulary, d]).
///
/// # Errors
/// Shapes that do not fit.
pub fn backward(ids: &Tensor, dy: &Tensor, dtable: &mut Tensor) -> Result<()> {
    match ids.device() {
        Device::Cpu => cpu::backward(ids, dy, dtable),
        Device::Cuda(_) => cuda::backward(ids, dy, dtable),
    }
}

//! Rows of a table: `y_i = W[ids_i]`; backward `dW[ids_i] += dy_i`.
//! Which row of the table an id means is the caller's business: there is no padding id.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Tensor, Weight};

/// Looks up `ids` (I32 \[n]) in `table` [vocabulary, d]: [n, d] in `dtype`.
///
/// # Errors
/// An id outside the vocabulary (CPU only: on CUDA the caller has checked).
pub fn embedding(ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    ids.expect("embedding", "ids", DType::I32, &[ids.len()])?;
    if table.columns() == 0 || dtype == DType::I32 {
        return Err(Error::shape(
            "embedding",
            "a table with columns, a float dtype",
            format!("{table:?}, {dtype:?}"),
        ));
    }
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
    ids.expect("embedding backward", "ids", DType::I32, &[ids.len()])?;
    dy.expect_rows("embedding backward", "dy", [ids.len(), dtable.width()])?;
    if dtable.dtype() != DType::F32 {
        return Err(Error::shape("embedding backward", "dtable in f32", format!("{dtable:?}")));
    }
    match ids.device() {
        Device::Cpu => cpu::backward(ids, dy, dtable),
        Device::Cuda(_) => cuda::backward(ids, dy, dtable),
    }
}

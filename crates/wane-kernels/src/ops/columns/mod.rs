//! Copies between a contiguous matrix and a range of columns of a wider one.

use crate::{Cols, ColsMut, Device, Error, Result, Tensor};

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

/// The columns as a matrix of their own, [n, width].
///
/// # Errors
/// The device is out of memory.
pub fn contiguous(x: Cols<'_>) -> Result<Tensor> {
    let mut out = Tensor::uninit(&[x.rows(), x.width], x.tensor.dtype(), x.tensor.device())?;
    let width = x.width;
    copy(x, out.cols_mut(0, width))?;
    Ok(out)
}

/// Copies columns to columns of another matrix of the same dtype, row by row.
///
/// # Errors
/// Row counts, widths, dtypes or devices differ.
pub fn copy(from: Cols<'_>, to: ColsMut<'_>) -> Result<()> {
    let same = from.rows() == to.rows()
        && from.width == to.width
        && from.tensor.dtype() == to.tensor.dtype()
        && from.tensor.device() == to.tensor.device();
    if !same {
        return Err(Error::shape("columns", format!("{to:?}"), format!("{from:?}")));
    }
    match from.tensor.device() {
        Device::Cpu => cpu::copy(from, to),
        Device::Cuda(_) => cuda::copy(from, to),
    }
}

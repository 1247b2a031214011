//! Between f32 and bf16.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Result, Tensor};

/// The same values as `dtype` (round to nearest even), on the same device.
///
/// # Errors
/// Integer tensors.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    match x.device() {
        Device::Cpu => cpu::cast(x, dtype),
        Device::Cuda(_) => cuda::cast(x, dtype),
    }
}

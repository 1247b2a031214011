//! Between f32 and bf16 on the CPU.

use half::slice::HalfFloatSliceExt;

use crate::cpu::{for_chunks, rows_per_chunk};
use crate::{DType, Device, Error, Result, Tensor};

pub(super) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let mut out = Tensor::uninit(x.shape(), dtype, &Device::Cpu)?;
    let piece = rows_per_chunk(1);
    match (x.dtype(), dtype) {
        (DType::F32, DType::BF16) => {
            let x = x.f32s();
            for_chunks(out.bf16s_mut(), piece, |i, out| {
                out.convert_from_f32_slice(&x[i * piece..][..out.len()]);
            });
        }
        (DType::BF16, DType::F32) => {
            let x = x.bf16s();
            for_chunks(out.f32s_mut(), piece, |i, out| {
                x[i * piece..][..out.len()].convert_to_f32_slice(out);
            });
        }
        (from, to) => return Err(Error::unsupported("cast", format!("{from:?} to {to:?}"))),
    }
    Ok(out)
}

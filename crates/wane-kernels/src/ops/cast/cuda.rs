//! Conversion on NVIDIA GPUs: one pass, eight elements per thread.

use crate::cuda::{Launch, Module, address, args, device_of};
use crate::{DType, Error, Result, Tensor};

static MODULE: Module<'static> = Module::new("cast", include_str!("cast.cu"));

pub(super) fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let out = Tensor::uninit(x.shape(), dtype, x.device())?;
    let (from, to) = (address(x)?, address(&out)?);
    let wide = from.is_multiple_of(16) && to.is_multiple_of(16);
    let kernel = match (x.dtype(), dtype, wide) {
        (DType::BF16, DType::F32, true) => "widen_8",
        (DType::BF16, DType::F32, false) => "widen_1",
        (DType::F32, DType::BF16, true) => "narrow_8",
        (DType::F32, DType::BF16, false) => "narrow_1",
        _ => return Err(Error::unsupported("cast", format!("{:?} to {dtype:?}", x.dtype()))),
    };
    let per_thread = if wide { 8 } else { 1 };
    let launch = Launch::cover(x.len().div_ceil(per_thread), 256);
    device_of(x)?.launch(&MODULE, kernel, launch, args![from, to, x.len() as i64])?;
    Ok(out)
}

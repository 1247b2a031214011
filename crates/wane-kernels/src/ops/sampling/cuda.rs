//! Greedy choice on NVIDIA GPUs: one block per row.

use crate::cuda::{Launch, Module, address, args, device_of, typed};
use crate::{DType, Result, Tensor};

static MODULE: Module<'static> = Module::new("argmax", include_str!("argmax.cu"));

pub(super) fn argmax(logits: &Tensor) -> Result<Tensor> {
    let out = Tensor::uninit(&[logits.rows()], DType::I32, logits.device())?;
    device_of(logits)?.launch(
        &MODULE,
        &typed("argmax", logits.dtype())?,
        Launch::new(logits.rows(), 1024),
        args![address(logits)?, address(&out)?, logits.width() as i32],
    )?;
    Ok(out)
}

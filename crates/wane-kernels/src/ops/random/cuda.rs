//! Philox scores on NVIDIA GPUs, bit for bit those of the CPU.

use crate::cuda::{Launch, Module, address, args, device_of};
use crate::{DType, Result, Tensor};

static MODULE: Module<'static> = Module::new("random", include_str!("random.cu"));

pub(super) fn scores(rows: &Tensor, columns: usize, seed: u64) -> Result<Tensor> {
    let out = Tensor::uninit(&[rows.rows(), columns], DType::F32, rows.device())?;
    let key = [seed as u32, (seed >> 32) as u32];
    device_of(rows)?.launch(
        &MODULE,
        "scores",
        Launch::cover(out.len(), 256),
        args![address(rows)?, address(&out)?, out.len() as i64, columns as u32, key[0], key[1]],
    )?;
    Ok(out)
}

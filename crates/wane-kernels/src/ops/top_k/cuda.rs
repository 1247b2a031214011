//! Selection on NVIDIA GPUs, exact and without sorting: a warp per row of up to 1024 scores, else a
//! block per row.

use super::Forced;
use crate::cuda::{Launch, Module, Param, address, args, device_of};
use crate::{DType, Result, Selection, Tensor};

static MODULE: Module<'static> = Module::new("top_k", include_str!("top_k.cu"));

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Request {
    k: i32,
    first: i32,
    local: i32,
    counted: i32,
}

// SAFETY: the same four integers as the C++ structure `Forced`.
unsafe impl Param for Request {}

pub(super) fn top_k(scores: &Tensor, valid: &Tensor, k: usize, forced: Forced) -> Result<Selection> {
    let (rows, n) = (scores.dim(0), scores.dim(1));
    let width = forced.width(n, k);
    let indices = Tensor::uninit(&[rows, width], DType::I32, scores.device())?;
    if width == 0 {
        let counts = Tensor::zeros(&[rows], DType::I32, scores.device())?;
        return Ok(Selection { indices, counts });
    }
    let counts = Tensor::uninit(&[rows], DType::I32, scores.device())?;
    let limit = |x: usize| x.min(i32::MAX as usize) as i32;
    let request = Request {
        k: limit(k),
        first: limit(forced.first),
        local: limit(forced.local),
        counted: i32::from(forced.counted),
    };
    let (kernel, launch) = match n {
        0..=64 => ("select_warp_2", Launch::cover(rows, 4).threads(128)),
        65..=256 => ("select_warp_8", Launch::cover(rows, 4).threads(128)),
        257..=1024 => ("select_warp_32", Launch::cover(rows, 4).threads(128)),
        _ => ("select_block", Launch::new(rows, 512)),
    };
    device_of(scores)?.launch(
        &MODULE,
        kernel,
        launch,
        args![
            address(scores)?,
            address(valid)?,
            address(&indices)?,
            address(&counts)?,
            rows as i32,
            n as i32,
            width as i32,
            request
        ],
    )?;
    Ok(Selection { indices, counts })
}

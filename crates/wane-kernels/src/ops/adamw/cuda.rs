//! AdamW on NVIDIA GPUs: 30 bytes per parameter in one pass; the norm of all gradients in two
//! launches. Nothing waits for the host: the update reads the norm from the device.

use super::{AdamwState, AdamwStep, Factors};
use crate::cuda::{Launch, Module, Param, address, args, device_of, typed};
use crate::{DType, Device, Error, Result, Tensor};

static MODULE: Module<'static> = Module::new("adamw", include_str!("adamw.cu"));

// Elements of a gradient that one block sums.
const PIECE: usize = 64 << 10;

pub(super) fn global_norm(grads: &[&Tensor]) -> Result<Tensor> {
    let Some(first) = grads.first() else {
        return Tensor::from_f32(&[0.0], &[1], &Device::Cpu);
    };
    let (device, place) = (device_of(first)?, first.device());
    let mut pieces: Vec<[u64; 2]> = Vec::new();
    for grad in grads {
        let start = address(grad)?;
        let of_piece = |from: usize| [start + 4 * from as u64, PIECE.min(grad.len() - from) as u64];
        pieces.extend((0..grad.len()).step_by(PIECE).map(of_piece));
    }
    let table = Tensor::from_bytes(bytemuck::cast_slice(&pieces), &[pieces.len(), 4], DType::I32, place)?;
    let partial = Tensor::uninit(&[pieces.len()], DType::F32, place)?;
    let norm = Tensor::uninit(&[1], DType::F32, place)?;
    device.launch(
        &MODULE,
        "squares",
        Launch::new(pieces.len(), 256),
        args![address(&table)?, address(&partial)?],
    )?;
    let n = pieces.len() as i32;
    device.launch(&MODULE, "root", Launch::new(1, 256), args![address(&partial)?, address(&norm)?, n])?;
    Ok(norm)
}

#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Update {
    max_norm: f32,
    beta1: f32,
    beta2: f32,
    eps: f32,
    rate: f32,
    unbias2: f32,
    keep: f32,
}

// SAFETY: the same seven floats as the C++ structure.
unsafe impl Param for Update {}

pub(super) fn step(
    state: &mut AdamwState,
    grad: &Tensor,
    norm: &Tensor,
    max_norm: f32,
    config: AdamwStep,
    working: &mut Tensor,
) -> Result<()> {
    if grad.dtype() != DType::F32 {
        return Err(Error::unsupported("adamw", format!("gradients of {:?} on CUDA", grad.dtype())));
    }
    let Factors { rate, unbias2, keep } = config.factors();
    let update =
        Update { max_norm, beta1: config.beta1, beta2: config.beta2, eps: config.eps, rate, unbias2, keep };
    let n = grad.len();
    let [master, m, v] = [address(&state.master)?, address(&state.m)?, address(&state.v)?];
    let [from, to] = [address(grad)?, address(working)?];
    let aligned = [master, m, v, from, to].iter().all(|address| address.is_multiple_of(16));
    // The last elements, fewer than a vector, are a launch of their own.
    let vectors = if aligned { n / 8 * 8 } else { 0 };
    let device = device_of(grad)?;
    for (elements, start, end) in [(8, 0, vectors), (1, vectors, n)] {
        let kernel = format!("{}_{elements}", typed("step", working.dtype())?);
        device.launch(
            &MODULE,
            &kernel,
            Launch::cover((end - start) / elements, 256),
            args![master, m, v, from, address(norm)?, to, start as i64, end as i64, update],
        )?;
    }
    Ok(())
}

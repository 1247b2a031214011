//! Root-mean-square norm on NVIDIA GPUs: one pass forward; backward adds a small reduction of the
//! blocks' parts of the weight gradient, in a fixed order.

use crate::cuda::{
    CudaDevice, Launch, Module, Width, address, args, cols_address, device_of, optional_address, vector_width,
};
use crate::{Cols, DType, Error, Result, Tensor};

static MODULE: Module<'static> = Module::new("rms_norm", include_str!("rms_norm.cu"));

// How many threads share a group of `d` columns.
struct Team {
    name: &'static str,
    threads: usize,
    groups_per_block: usize,
    // Blocks of the backward pass that a multiprocessor has registers for.
    resident: usize,
}

impl Team {
    fn choose(d: usize, width: Width) -> Result<Self> {
        let warps = |name, resident| Ok(Self { name, threads: 256, groups_per_block: 8, resident });
        let block = |name, threads| Ok(Self { name, threads, groups_per_block: 1, resident: 2 });
        match d.div_ceil(width.elements) {
            0..=32 => warps("warp1", 4),
            33..=64 => warps("warp2", 2),
            65..=128 => warps("warp4", 2),
            129..=1024 => block("block", 256),
            1025..=4096 => block("large", 1024),
            _ => Err(Error::unsupported(
                "rms_norm",
                format!("{d} columns on CUDA (at most 4096 vectors of 16 bytes, or 4096 unaligned columns)"),
            )),
        }
    }

    fn kernel(&self, name: &str, width: Width) -> Result<String> {
        width.kernel(&format!("{name}_{}", self.name))
    }

    // Small groups are many: give each warp several, and the gradient few partial sums.
    fn blocks(&self, groups: usize, device: &CudaDevice) -> usize {
        groups.div_ceil(self.groups_per_block).min(self.resident * device.multiprocessors())
    }
}

pub(super) fn rms_norm(x: Cols<'_>, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let (rows, d) = (x.rows(), weight.len());
    let groups = x.width / d;
    let dtype = x.tensor.dtype();
    let y = Tensor::uninit(&[rows, x.width], dtype, x.tensor.device())?;
    let (from, to, w) = (cols_address(&x)?, address(&y)?, address(weight)?);
    let width = vector_width(dtype, &[from, to, w], &[x.stride(), d]);
    let team = Team::choose(d, width)?;
    let total = rows * groups;
    device_of(x.tensor)?.launch(
        &MODULE,
        &team.kernel("forward", width)?,
        Launch::new(total.div_ceil(team.groups_per_block), team.threads),
        args![
            from,
            w,
            i32::from(weight.dtype() == DType::F32),
            to,
            total as i64,
            groups as i32,
            d as i32,
            x.stride() as i32,
            eps
        ],
    )?;
    Ok(y)
}

pub(super) fn backward(
    dy: &Tensor,
    x: Cols<'_>,
    weight: &Tensor,
    eps: f32,
    residual_grad: Option<&Tensor>,
    dweight: &mut Tensor,
) -> Result<Tensor> {
    let (rows, d) = (x.rows(), weight.len());
    let groups = x.width / d;
    let dtype = x.tensor.dtype();
    let device = device_of(x.tensor)?;
    let dx = Tensor::uninit(&[rows, x.width], dtype, x.tensor.device())?;
    let (up, from, to) = (address(dy)?, cols_address(&x)?, address(&dx)?);
    let (w, residual) = (address(weight)?, optional_address(residual_grad)?);
    let width = vector_width(dtype, &[up, from, to, w, residual], &[x.stride(), d]);
    let team = Team::choose(d, width)?;
    let total = rows * groups;
    let blocks = team.blocks(total, device);
    let partial = Tensor::uninit(&[blocks, d], DType::F32, x.tensor.device())?;
    device.launch(
        &MODULE,
        &team.kernel("backward", width)?,
        Launch::new(blocks, team.threads).shared(if team.groups_per_block > 1 { 4 * d } else { 0 }),
        args![
            up,
            from,
            w,
            i32::from(weight.dtype() == DType::F32),
            residual,
            to,
            address(&partial)?,
            total as i64,
            groups as i32,
            d as i32,
            x.stride() as i32,
            eps
        ],
    )?;
    device.add_partial_sums(&partial, dweight)?;
    Ok(dx)
}

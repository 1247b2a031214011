//! Embedding on NVIDIA GPUs. The gradient is scattered with f32 atomic additions, so where an id
//! occurs several times the last bits of its gradient may differ from run to run.

use crate::cuda::{Launch, Module, address, args, device_of, typed};
use crate::{DType, Result, Tensor, Weight};

static MODULE: Module<'static> = Module::new("embedding", include_str!("embedding.cu"));

// Elements per thread.
fn vector(d: usize, addresses: &[u64]) -> usize {
    if d.is_multiple_of(8) && addresses.iter().all(|address| address.is_multiple_of(16)) { 8 } else { 1 }
}

pub(super) fn embedding(ids: &Tensor, table: &Weight, dtype: DType) -> Result<Tensor> {
    let table = table.dense()?;
    let (rows, vocabulary, d) = (ids.len(), table.dim(0), table.width());
    let y = Tensor::uninit(&[rows, d], dtype, ids.device())?;
    let (from, to) = (address(table)?, address(&y)?);
    let v = vector(d, &[from, to]);
    let kernel = format!("{}_{v}", typed(&(typed("lookup", table.dtype())? + "_to"), dtype)?);
    let launch = Launch::cover(rows * d / v, 256);
    device_of(ids)?.launch(
        &MODULE,
        &kernel,
        launch,
        args![address(ids)?, from, to, rows as i64, d as i32, vocabulary as i32],
    )?;
    Ok(y)
}

pub(super) fn backward(ids: &Tensor, dy: &Tensor, dtable: &mut Tensor) -> Result<()> {
    let (rows, vocabulary, d) = (ids.len(), dtable.dim(0), dtable.width());
    let (from, to) = (address(dy)?, address(dtable)?);
    let v = vector(d, &[from, to]);
    let kernel = format!("{}_{v}", typed("scatter", dy.dtype())?);
    let launch = Launch::cover(rows * d / v, 256);
    device_of(ids)?.launch(
        &MODULE,
        &kernel,
        launch,
        args![address(ids)?, from, to, rows as i64, d as i32, vocabulary as i32],
    )
}

//! Rotary embedding on NVIDIA GPUs: one pass; the backward is the same kernel with the sines negated.

use super::RopeTable;
use crate::cuda::{Launch, Module, address, args, cols_address, cols_mut_address, device_of, vector_width};
use crate::{Cols, ColsMut, Result, Tensor};

static MODULE: Module<'static> = Module::new("rope", include_str!("rope.cu"));

pub(super) fn rope(x: Cols<'_>, head_dim: usize, positions: &Tensor, table: &RopeTable) -> Result<Tensor> {
    let mut y = Tensor::uninit(&[x.rows(), x.width], x.tensor.dtype(), x.tensor.device())?;
    let width = x.width;
    rotate(x, head_dim, positions, table, y.cols_mut(0, width), 1.0)?;
    Ok(y)
}

pub(super) fn backward(
    dy: &Tensor,
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
    dx: ColsMut<'_>,
) -> Result<()> {
    rotate(dy.into(), head_dim, positions, table, dx, -1.0)
}

fn rotate(
    x: Cols<'_>,
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
    y: ColsMut<'_>,
    sign: f32,
) -> Result<()> {
    let (rows, heads, half) = (x.rows(), x.width / head_dim, table.cos.width());
    let [from, to] = [cols_address(&x)?, cols_mut_address(&y)?];
    let [cosines, sines] = [address(&table.cos)?, address(&table.sin)?];
    let strides = [x.stride(), y.stride(), head_dim, half];
    let width = vector_width(x.tensor.dtype(), &[from, to, cosines, sines], &strides);
    let units = half / width.elements + (head_dim - 2 * half) / width.elements;
    device_of(x.tensor)?.launch(
        &MODULE,
        &width.kernel("rotate")?,
        Launch::cover(rows * heads * units, 256),
        args![
            from,
            to,
            address(positions)?,
            cosines,
            sines,
            rows as i64,
            heads as i32,
            head_dim as i32,
            half as i32,
            x.stride() as i32,
            y.stride() as i32,
            sign
        ],
    )
}

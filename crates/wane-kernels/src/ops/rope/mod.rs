//! Rotary position embedding, half-rotation layout: with `x = [a | b]` of a head,
//! `[a cos - b sin | b cos + a sin]` at angle `position * frequency_i` (arXiv 2104.09864).
//!
//! Its backward is the rotation by the opposite angle.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{Cols, ColsMut, DType, Device, Error, Result, Tensor};

/// Cosines and sines of every position, f32 [max_position, rotary_dim / 2] each; built on the
/// host in f64 from inverse frequencies that the model's configuration decides (base, linear,
/// Llama-3, YaRN).
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

/// Rotates each head of `x` [n, heads * head_dim] at `positions` (I32 \[n]); elements of a head
/// beyond the table's rotary width pass through. Result [n, heads * head_dim].
///
/// # Errors
/// Shapes that do not fit; a position outside the table (CPU only).
pub fn rope(x: Cols<'_>, head_dim: usize, positions: &Tensor, table: &RopeTable) -> Result<Tensor> {
    check("rope", [x.rows(), x.width], head_dim, positions, table)?;
    match x.tensor.device() {
        Device::Cpu => cpu::rope(x, head_dim, positions, table),
        Device::Cuda(_) => cuda::rope(x, head_dim, positions, table),
    }
}

/// Gradient of the input, written to `dx`: the opposite rotation of `dy`.
///
/// # Errors
/// Shapes that do not fit.
pub fn backward(
    dy: &Tensor,
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
    dx: ColsMut<'_>,
) -> Result<()> {
    let shape = [dy.rows(), dy.width()];
    check("rope backward", shape, head_dim, positions, table)?;
    dx.expect("rope backward", "dx", shape)?;
    match dy.device() {
        Device::Cpu => cpu::backward(dy, head_dim, positions, table, dx),
        Device::Cuda(_) => cuda::backward(dy, head_dim, positions, table, dx),
    }
}

fn check(
    op: &'static str,
    [rows, width]: [usize; 2],
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
) -> Result<()> {
    if head_dim == 0 || !width.is_multiple_of(head_dim) || 2 * table.cos.width() > head_dim {
        let got = format!("{width} columns, heads of {head_dim}, table {:?}", table.cos);
        return Err(Error::shape(op, "whole heads at least as wide as the table's rotation", got));
    }
    table.cos.expect(op, "cos", DType::F32, table.sin.shape())?;
    table.sin.expect(op, "sin", DType::F32, &[table.cos.rows(), table.cos.width()])?;
    positions.expect(op, "positions", DType::I32, &[rows])
}

//! Rotary position embedding, half-rotation layout: with `x = [a | b]` of a head,
//! `[a cos - b sin | b cos + a sin]` at angle `position * frequency_i` (arXiv 2104.09864).
//!
//! Its backward is the rotation by the opposite angle.

mod cpu;
mod cuda;

use crate::{Cols, ColsMut, Device, Error, Result, Tensor};

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

/// Rotates each head of `x` [n, heads * head_dim] at `positions` (I32 [n]); elements of a head
/// beyond the table's rotary width pass through. Result [n, heads * head_dim].
///
/// # Errors
/// Shapes that do not fit; a position outside the table (CPU only).
pub fn rope(x: Cols<'_>, head_dim: usize, positions: &Tensor, table: &RopeTable) -> Result<Tensor> {
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
    match dy.device() {
        Device::Cpu => cpu::backward(dy, head_dim, positions, table, dx),
        Device::Cuda(_) => cuda::backward(dy, head_dim, positions, table, dx),
    }
}

//! Rotary position embedding on the CPU.

use super::RopeTable;
use crate::cpu::{Isa, Rows, RowsMut, multiversion, rows_per_chunk};
use crate::{Cols, ColsMut, DType, Device, Error, Result, Tensor};

pub(super) fn rope(x: Cols<'_>, head_dim: usize, positions: &Tensor, table: &RopeTable) -> Result<Tensor> {
    let mut out = Tensor::uninit(&[x.rows(), x.width], DType::F32, &Device::Cpu)?;
    let (x, width) = (Rows::new("rope", x)?, x.width);
    rotate(x, head_dim, positions, table, RowsMut::new("rope", out.cols_mut(0, width))?, rotate_row)?;
    Ok(out)
}

pub(super) fn backward(
    dy: &Tensor,
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
    dx: ColsMut<'_>,
) -> Result<()> {
    let op = "rope backward";
    rotate(Rows::new(op, dy)?, head_dim, positions, table, RowsMut::new(op, dx)?, rotate_back_row)
}

/// Source row, cosines, sines, target row, head dimension.
type RotateRow = fn(Isa, &[f32], &[f32], &[f32], &mut [f32], usize);

fn rotate(
    x: Rows<'_>,
    head_dim: usize,
    positions: &Tensor,
    table: &RopeTable,
    out: RowsMut<'_>,
    row: RotateRow,
) -> Result<()> {
    let (positions, cos, sin) = (positions.i32s(), table.cos.f32s(), table.sin.f32s());
    let (max, half) = (table.cos.rows(), table.cos.width());
    if let Some(bad) = positions.iter().find(|&&p| p < 0 || p as usize >= max) {
        return Err(Error::shape("rope", format!("positions below {max}"), bad));
    }
    let isa = Isa::current();
    out.for_pieces(rows_per_chunk(x.width), |first, mut out| {
        for r in 0..out.rows {
            let at = positions[first + r] as usize * half;
            row(isa, x.row(first + r), &cos[at..at + half], &sin[at..at + half], out.row(r), head_dim);
        }
    });
    Ok(())
}

multiversion! {
    fn rotate_row(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32], head_dim: usize) {
        for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            rotate_head(x, cos, sin, out, 1.0);
        }
    }
}

multiversion! {
    fn rotate_back_row(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32], head_dim: usize) {
        for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
            rotate_head(x, cos, sin, out, -1.0);
        }
    }
}

#[inline(always)]
fn rotate_head(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32], direction: f32) {
    let half = cos.len();
    let ((a, rest), (out_a, out_rest)) = (x.split_at(half), out.split_at_mut(half));
    let ((b, tail), (out_b, out_tail)) = (rest.split_at(half), out_rest.split_at_mut(half));
    let sin = &sin[..half];
    for i in 0..half {
        let s = sin[i] * direction;
        out_a[i] = a[i] * cos[i] - b[i] * s;
        out_b[i] = b[i] * cos[i] + a[i] * s;
    }
    out_tail.copy_from_slice(tail);
}

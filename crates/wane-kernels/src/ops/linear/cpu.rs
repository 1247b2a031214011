//! Matrix products on the CPU.

use crate::cpu::matmul::{Into, Matrix, matmul};
use crate::cpu::{Isa, Rows, RowsMut, float_values, multiversion, rows_per_chunk};
use crate::{Cols, ColsMut, DType, Device, Result, Tensor, Weight};

use super::few_rows::{FEW_ROWS, few_rows};
use super::panel::for_panels;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::split;
use super::tall;

pub(super) fn linear_into(
    x: Cols<'_>,
    weight: &Weight,
    bias: Option<&Tensor>,
    out: ColsMut<'_>,
) -> Result<()> {
    let x = Rows::new("linear", x)?;
    let mut out = RowsMut::new("linear", out)?;
    let into = match bias {
        None => Into::Replace,
        Some(bias) => {
            let bias = float_values("linear", bias)?;
            let all = out.columns(0, bias.len());
            all.for_pieces(rows_per_chunk(bias.len()), |_, mut out| {
                for i in 0..out.rows {
                    out.row(i).copy_from_slice(&bias);
                }
            });
            Into::Add
        }
    };
    product(x, weight, &mut out, into)
}

pub(super) fn linear_residual(x: &Tensor, weight: &Weight, residual: &Tensor) -> Result<Tensor> {
    let mut out = residual.duplicate()?;
    let width = out.width();
    let x = Rows::new("linear_residual", x)?;
    product(x, weight, &mut RowsMut::new("linear_residual", out.cols_mut(0, width))?, Into::Add)?;
    Ok(out)
}

/// `out (+)= x W^T`.
pub(crate) fn product(x: Rows<'_>, weight: &Weight, out: &mut RowsMut<'_>, into: Into) -> Result<()> {
    if x.rows <= FEW_ROWS && x.width > 0 {
        few_rows(x, weight, out.columns(0, weight.rows()), into);
        return Ok(());
    }
    for_panels(weight, |first, panel, rows| many_rows(x, panel, out.columns(first, rows), into))
}

/// [`product`] with f32 weights, by the fastest way that there is.
fn many_rows(x: Rows<'_>, weights: &[f32], mut out: RowsMut<'_>, into: Into) {
    if x.width == 0 {
        if into == Into::Replace {
            (0..out.rows).for_each(|i| out.row(i).fill(0.0));
        }
        return;
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if split::applies(x.rows) {
        split::product(x, weights, out, into);
        return;
    }
    if tall::applies(Isa::current(), x.rows, out.width) {
        tall::product(x, weights, out, into);
    } else {
        let weights = Matrix::new(weights, out.width, x.width).t();
        matmul(out, x.into(), weights, into);
    }
}

pub(super) fn backward_input(dy: Cols<'_>, weight: &Weight) -> Result<Tensor> {
    weight.dense()?;
    let mut dx = Tensor::uninit(&[dy.rows(), weight.columns()], DType::F32, &Device::Cpu)?;
    let dy = Rows::new("linear backward_input", dy)?;
    for_panels(weight, |first, panel, rows| {
        let panel = Matrix::new(panel, rows, weight.columns());
        let into = if first == 0 { Into::Replace } else { Into::Add };
        let dx = RowsMut::contiguous(dx.f32s_mut(), weight.columns());
        matmul(dx, dy.columns(first, rows).into(), panel, into);
    })?;
    Ok(dx)
}

pub(super) fn backward_weight(dy: Cols<'_>, x: &Tensor, dweight: &mut Tensor) -> Result<()> {
    let op = "linear backward_weight";
    let (dy, x) = (Rows::new(op, dy)?, Rows::new(op, x)?);
    let dweight = RowsMut::contiguous(dweight.f32s_mut(), x.width);
    matmul(dweight, Matrix::from(dy).t(), x.into(), Into::Add);
    Ok(())
}

pub(super) fn backward_bias(dy: Cols<'_>, dbias: &mut Tensor) -> Result<()> {
    let dy = Rows::new("linear backward_bias", dy)?;
    let isa = Isa::current();
    for i in 0..dy.rows {
        add_row(isa, dy.row(i), dbias.f32s_mut());
    }
    Ok(())
}

multiversion! {
    fn add_row(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

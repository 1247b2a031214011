//! Matrix products on NVIDIA GPUs: cuBLASLt, with the bias as its epilogue and the residual as its
//! added matrix; a product with few rows (decoding) streams the weight through an own kernel.

use crate::cuda::gemm::{Layout, Matrix, Product};
use crate::cuda::{
    Launch, Module, address, args, cols_address, cols_mut_address, device_of, optional_address, typed,
    vector_width,
};
use crate::ops::cast::cast;
use crate::{Cols, ColsMut, DType, Error, Result, Tensor, Weight};

static MODULE: Module<'static> = Module::new("gemv", include_str!("gemv.cu"));

// Rows up to which the own kernel is used; its register tile has room for this many.
const FEW_ROWS: usize = 8;

fn matrix(tensor: &Tensor) -> Result<Matrix> {
    Ok(Matrix { address: address(tensor)?, stride: tensor.width(), dtype: tensor.dtype() })
}

fn columns(cols: &Cols<'_>) -> Result<Matrix> {
    Ok(Matrix { address: cols_address(cols)?, stride: cols.stride(), dtype: cols.tensor.dtype() })
}

// The weight in the dtype of the activations.
fn weight_as(weight: &Weight, dtype: DType) -> Result<Tensor> {
    cast(weight.dense()?, dtype)
}

// d = x W^T (+ bias) (+ residual)
fn forward(
    x: Cols<'_>,
    weight: &Weight,
    bias: Option<&Tensor>,
    residual: Option<Matrix>,
    d: Matrix,
) -> Result<()> {
    let (n, k, m) = (x.rows(), x.width, weight.rows());
    if k != weight.columns() {
        return Err(Error::shape("linear", format!("{} input features", weight.columns()), k));
    }
    let weight = weight_as(weight, x.tensor.dtype())?;
    let bias = bias.map(|bias| cast(bias, d.dtype)).transpose()?;
    let (a, b) = (columns(&x)?, matrix(&weight)?);
    let device = device_of(x.tensor)?;
    let wide = vector_width(a.dtype, &[a.address, b.address], &[a.stride, k]).elements > 1;
    if n <= FEW_ROWS && wide && d.dtype == a.dtype {
        let residual = residual.map_or((0, 0), |c| (c.address, c.stride));
        return device.launch(
            &MODULE,
            &typed(&format!("gemv_{}", n.next_power_of_two()), a.dtype)?,
            Launch::cover(m, 8).threads(256),
            args![
                a.address,
                b.address,
                optional_address(bias.as_ref())?,
                residual.0,
                d.address,
                n as i32,
                m as i32,
                k as i32,
                a.stride as i32,
                residual.1 as i32,
                d.stride as i32
            ],
        );
    }
    device.product(Product {
        size: [n, m, k],
        a: (a, Layout::Plain),
        b: (b, Layout::Transposed),
        c: residual,
        bias: optional_address(bias.as_ref())?,
        d,
    })
}

pub(super) fn linear_into(
    x: Cols<'_>,
    weight: &Weight,
    bias: Option<&Tensor>,
    out: ColsMut<'_>,
) -> Result<()> {
    let d = Matrix { address: cols_mut_address(&out)?, stride: out.stride(), dtype: out.tensor.dtype() };
    forward(x, weight, bias, None, d)
}

pub(super) fn linear_residual(x: &Tensor, weight: &Weight, residual: &Tensor) -> Result<Tensor> {
    let out = Tensor::uninit(residual.shape(), residual.dtype(), residual.device())?;
    forward(x.into(), weight, None, Some(matrix(residual)?), matrix(&out)?)?;
    Ok(out)
}

pub(super) fn backward_input(dy: Cols<'_>, weight: &Weight) -> Result<Tensor> {
    let dtype = dy.tensor.dtype();
    let (n, m, k) = (dy.rows(), dy.width, weight.columns());
    let weight = weight_as(weight, dtype)?;
    let dx = Tensor::uninit(&[n, k], dtype, dy.tensor.device())?;
    device_of(dy.tensor)?.product(Product {
        size: [n, k, m],
        a: (columns(&dy)?, Layout::Plain),
        b: (matrix(&weight)?, Layout::Plain),
        c: None,
        bias: 0,
        d: matrix(&dx)?,
    })?;
    Ok(dx)
}

pub(super) fn backward_weight(dy: Cols<'_>, x: &Tensor, dweight: &mut Tensor) -> Result<()> {
    let (n, m, k) = (dy.rows(), dy.width, x.width());
    if n == 0 {
        return Ok(());
    }
    let d = matrix(dweight)?;
    device_of(x)?.product(Product {
        size: [m, k, n],
        a: (columns(&dy)?, Layout::Transposed),
        b: (matrix(x)?, Layout::Plain),
        c: Some(d),
        bias: 0,
        d,
    })
}

pub(super) fn backward_bias(dy: Cols<'_>, dbias: &mut Tensor) -> Result<()> {
    device_of(dy.tensor)?.add_column_sums(dy, dbias)
}

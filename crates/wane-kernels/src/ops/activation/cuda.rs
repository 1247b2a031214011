//! Elementwise operators on NVIDIA GPUs: one pass each, 16 bytes per thread and tensor.

use crate::cuda::{
    Launch, Module, Width, address, args, cols_address, cols_mut_address, device_of, vector_width,
};
use crate::{Cols, ColsMut, Result, Tensor};

static MODULE: Module<'static> = Module::new("activation", include_str!("activation.cu"));

pub(super) fn swiglu(x: &Tensor) -> Result<Tensor> {
    let (rows, f) = (x.rows(), x.width() / 2);
    let mut shape = x.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = f;
    }
    let y = Tensor::uninit(&shape, x.dtype(), x.device())?;
    let (from, to) = (address(x)?, address(&y)?);
    let width = vector_width(x.dtype(), &[from, to], &[f]);
    let launch = Launch::cover(rows * f / width.elements, 256);
    let kernel = width.kernel("swiglu")?;
    device_of(x)?.launch(&MODULE, &kernel, launch, args![from, to, rows as i64, f as i32])?;
    Ok(y)
}

pub(super) fn swiglu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let (rows, f) = (x.rows(), x.width() / 2);
    let dx = Tensor::uninit(x.shape(), x.dtype(), x.device())?;
    let (up, from, to) = (address(dy)?, address(x)?, address(&dx)?);
    let width = vector_width(x.dtype(), &[up, from, to], &[f]);
    let launch = Launch::cover(rows * f / width.elements, 256);
    let kernel = width.kernel("swiglu_backward")?;
    device_of(x)?.launch(&MODULE, &kernel, launch, args![up, from, to, rows as i64, f as i32])?;
    Ok(dx)
}

// y = F(a, b), all contiguous and of one size.
fn elementwise(name: &str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let y = Tensor::uninit(a.shape(), a.dtype(), a.device())?;
    let (first, second, to) = (address(a)?, address(b)?, address(&y)?);
    let width: Width = vector_width(a.dtype(), &[first, second, to], &[]);
    let launch = Launch::cover(a.len().div_ceil(width.elements), 256);
    device_of(a)?.launch(&MODULE, &width.kernel(name)?, launch, args![first, second, to, a.len() as i64])?;
    Ok(y)
}

pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    elementwise("gelu", x, x)
}

pub(super) fn gelu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    elementwise("gelu_backward", dy, x)
}

pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    elementwise("add", a, b)
}

pub(super) fn sigmoid_gate(y: &Tensor, gate: Cols<'_>) -> Result<Tensor> {
    let (rows, d, stride) = (y.rows(), y.width(), gate.stride());
    let out = Tensor::uninit(y.shape(), y.dtype(), y.device())?;
    let (from, gates, to) = (address(y)?, cols_address(&gate)?, address(&out)?);
    let width = vector_width(y.dtype(), &[from, gates, to], &[d, stride]);
    let launch = Launch::cover(rows * d / width.elements, 256);
    let kernel = width.kernel("sigmoid_gate")?;
    let device = device_of(y)?;
    device.launch(&MODULE, &kernel, launch, args![from, gates, to, rows as i64, d as i32, stride as i32])?;
    Ok(out)
}

pub(super) fn sigmoid_gate_backward(
    dout: &Tensor,
    y: &Tensor,
    gate: Cols<'_>,
    dgate: ColsMut<'_>,
) -> Result<Tensor> {
    let (rows, d, strides) = (y.rows(), y.width(), [gate.stride(), dgate.stride()]);
    let dy = Tensor::uninit(y.shape(), y.dtype(), y.device())?;
    let addresses =
        [address(dout)?, address(y)?, cols_address(&gate)?, address(&dy)?, cols_mut_address(&dgate)?];
    let width = vector_width(y.dtype(), &addresses, &[d, strides[0], strides[1]]);
    let [up, from, gates, to, dgates] = addresses;
    let launch = Launch::cover(rows * d / width.elements, 256);
    device_of(y)?.launch(
        &MODULE,
        &width.kernel("sigmoid_gate_backward")?,
        launch,
        args![up, from, gates, to, dgates, rows as i64, d as i32, strides[0] as i32, strides[1] as i32],
    )?;
    Ok(dy)
}

//! Elementwise operators on the CPU: one pass, vectorized by the compiler.

use crate::cpu::math::{normal_cdf, sigmoid};
use crate::cpu::{Isa, Rows, RowsMut, for_chunks, multiversion, rows_per_chunk};
use crate::{Cols, ColsMut, DType, Device, Result, Tensor};

pub(super) fn swiglu(x: &Tensor) -> Result<Tensor> {
    let width = x.width() / 2;
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("a checked shape") = width;
    let mut out = Tensor::uninit(&shape, DType::F32, &Device::Cpu)?;
    let x = Rows::new("swiglu", x)?;
    let (isa, piece) = (Isa::current(), rows_per_chunk(2 * width));
    for_chunks(out.f32s_mut(), piece * width, |i, out| {
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            let (gate, up) = x.row(i * piece + r).split_at(width);
            swiglu_row(isa, gate, up, out);
        }
    });
    Ok(out)
}

multiversion! {
    pub(super) fn swiglu_row(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((y, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *y = g * sigmoid(g) * u;
        }
    }
}

pub(super) fn swiglu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    let width = dy.width();
    let mut dx = Tensor::uninit(x.shape(), DType::F32, &Device::Cpu)?;
    let (dy, x) = (Rows::new("swiglu_backward", dy)?, Rows::new("swiglu_backward", x)?);
    let (isa, piece) = (Isa::current(), rows_per_chunk(2 * width));
    for_chunks(dx.f32s_mut(), piece * 2 * width, |i, dx| {
        for (r, dx) in dx.chunks_exact_mut(2 * width).enumerate() {
            let (gate, up) = x.row(i * piece + r).split_at(width);
            let (dgate, dup) = dx.split_at_mut(width);
            swiglu_backward_row(isa, dy.row(i * piece + r), gate, up, dgate, dup);
        }
    });
    Ok(dx)
}

multiversion! {
    fn swiglu_backward_row(dy: &[f32], gate: &[f32], up: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
        let n = dy.len();
        let (gate, up, dgate, dup) = (&gate[..n], &up[..n], &mut dgate[..n], &mut dup[..n]);
        for j in 0..n {
            let s = sigmoid(gate[j]);
            let silu = gate[j] * s;
            dup[j] = dy[j] * silu;
            dgate[j] = dy[j] * up[j] * (s + silu * (1.0 - s));
        }
    }
}

pub(super) fn gelu(x: &Tensor) -> Result<Tensor> {
    map("gelu", x, gelu_piece)
}

multiversion! {
    fn gelu_piece(x: &[f32], out: &mut [f32]) {
        for (y, &x) in out.iter_mut().zip(x) {
            *y = x * normal_cdf(x).0;
        }
    }
}

pub(super) fn gelu_backward(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    zip("gelu_backward", dy, x, gelu_backward_piece)
}

multiversion! {
    fn gelu_backward_piece(dy: &[f32], x: &[f32], out: &mut [f32]) {
        for ((out, &dy), &x) in out.iter_mut().zip(dy).zip(x) {
            let (cdf, density) = normal_cdf(x);
            *out = dy * (cdf + x * density);
        }
    }
}

pub(super) fn sigmoid_gate(y: &Tensor, gate: Cols<'_>) -> Result<Tensor> {
    let mut out = Tensor::uninit(y.shape(), DType::F32, &Device::Cpu)?;
    let (y, gate) = (Rows::new("sigmoid_gate", y)?, Rows::new("sigmoid_gate", gate)?);
    let (isa, width, piece) = (Isa::current(), y.width, rows_per_chunk(y.width));
    for_chunks(out.f32s_mut(), piece * width, |i, out| {
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            sigmoid_gate_row(isa, y.row(i * piece + r), gate.row(i * piece + r), out);
        }
    });
    Ok(out)
}

multiversion! {
    fn sigmoid_gate_row(y: &[f32], gate: &[f32], out: &mut [f32]) {
        for ((out, &y), &g) in out.iter_mut().zip(y).zip(gate) {
            *out = y * sigmoid(g);
        }
    }
}

pub(super) fn sigmoid_gate_backward(
    dout: &Tensor,
    y: &Tensor,
    gate: Cols<'_>,
    dgate: ColsMut<'_>,
) -> Result<Tensor> {
    let op = "sigmoid_gate_backward";
    let mut dy = Tensor::uninit(y.shape(), DType::F32, &Device::Cpu)?;
    let (dout, y, gate) = (Rows::new(op, dout)?, Rows::new(op, y)?, Rows::new(op, gate)?);
    let dgate = RowsMut::new(op, dgate)?;
    let (isa, width, piece) = (Isa::current(), y.width, rows_per_chunk(y.width));
    dgate.for_pieces_with(dy.f32s_mut(), width, piece, |first, mut dgate, dy| {
        for (r, dy) in dy.chunks_exact_mut(width).enumerate() {
            let i = first + r;
            sigmoid_gate_backward_row(isa, dout.row(i), y.row(i), gate.row(i), dy, dgate.row(r));
        }
    });
    Ok(dy)
}

multiversion! {
    fn sigmoid_gate_backward_row(dout: &[f32], y: &[f32], gate: &[f32], dy: &mut [f32], dgate: &mut [f32]) {
        let n = dout.len();
        let (y, gate, dy, dgate) = (&y[..n], &gate[..n], &mut dy[..n], &mut dgate[..n]);
        for j in 0..n {
            let s = sigmoid(gate[j]);
            dy[j] = dout[j] * s;
            dgate[j] = dout[j] * y[j] * (s * (1.0 - s));
        }
    }
}

pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    zip("add", a, b, add_piece)
}

multiversion! {
    fn add_piece(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
            *out = a + b;
        }
    }
}

fn map(op: &'static str, x: &Tensor, f: fn(Isa, &[f32], &mut [f32])) -> Result<Tensor> {
    let mut out = Tensor::uninit(x.shape(), DType::F32, &Device::Cpu)?;
    Rows::new(op, x)?;
    let (isa, piece, x) = (Isa::current(), rows_per_chunk(1), x.f32s());
    for_chunks(out.f32s_mut(), piece, |i, out| f(isa, &x[i * piece..][..out.len()], out));
    Ok(out)
}

fn zip(op: &'static str, a: &Tensor, b: &Tensor, f: fn(Isa, &[f32], &[f32], &mut [f32])) -> Result<Tensor> {
    let mut out = Tensor::uninit(a.shape(), DType::F32, &Device::Cpu)?;
    Rows::new(op, a)?;
    Rows::new(op, b)?;
    let (isa, piece, a, b) = (Isa::current(), rows_per_chunk(1), a.f32s(), b.f32s());
    for_chunks(out.f32s_mut(), piece, |i, out| {
        let range = i * piece..i * piece + out.len();
        f(isa, &a[range.clone()], &b[range], out);
    });
    Ok(out)
}

//! RMS norm on the CPU: one pass per row while it is in the first-level cache.

use rayon::prelude::*;

use crate::cpu::{Isa, Rows, float_values, for_chunks, multiversion, rows_per_chunk};
use crate::{Cols, DType, Device, Result, Tensor};

pub(super) fn rms_norm(x: Cols<'_>, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let mut out = Tensor::uninit(&[x.rows(), x.width], DType::F32, &Device::Cpu)?;
    let (x, weight) = (Rows::new("rms_norm", x)?, float_values("rms_norm", weight)?);
    let (isa, width, piece) = (Isa::current(), x.width, rows_per_chunk(x.width));
    for_chunks(out.f32s_mut(), piece * width, |i, out| {
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            norm_row(isa, x.row(i * piece + r), &weight, eps, out);
        }
    });
    Ok(out)
}

multiversion! {
    fn norm_row(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        for (x, out) in x.chunks_exact(weight.len()).zip(out.chunks_exact_mut(weight.len())) {
            let scale = inverse_rms(x, eps);
            for ((y, &x), &w) in out.iter_mut().zip(x).zip(weight) {
                *y = x * scale * w;
            }
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// The sum of products in 32 interleaved partial sums.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 32];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    for (a, b) in a.iter().zip(b) {
        for (sum, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

pub(super) fn backward(
    dy: &Tensor,
    x: Cols<'_>,
    weight: &Tensor,
    eps: f32,
    residual_grad: Option<&Tensor>,
    dweight: &mut Tensor,
) -> Result<Tensor> {
    let op = "rms_norm backward";
    let mut dx = Tensor::uninit(&[x.rows(), x.width], DType::F32, &Device::Cpu)?;
    let (dy, x, weight) = (Rows::new(op, dy)?, Rows::new(op, x)?, float_values(op, weight)?);
    let residual = residual_grad.map(|grad| Rows::new(op, grad)).transpose()?;
    let (isa, width) = (Isa::current(), x.width);
    if x.rows == 0 {
        return Ok(dx);
    }
    // Few, fixed pieces: each has its own sum for the weight's gradient.
    let piece = rows_per_chunk(width).max(x.rows.div_ceil(64));
    let run = |(i, dx): (usize, &mut [f32])| {
        let mut dweight = vec![0.0f32; weight.len()];
        for (r, dx) in dx.chunks_exact_mut(width).enumerate() {
            let i = i * piece + r;
            backward_row(isa, dy.row(i), x.row(i), &weight, eps, dx, &mut dweight);
            if let Some(residual) = &residual {
                add_row(isa, residual.row(i), dx);
            }
        }
        dweight
    };
    let partial: Vec<Vec<f32>> = dx.f32s_mut().par_chunks_mut(piece * width).enumerate().map(run).collect();
    for partial in &partial {
        add_row(isa, partial, dweight.f32s_mut());
    }
    Ok(dx)
}

multiversion! {
    // dx = s w dy - x s^3 mean(w dy x), with s the inverse root mean square.
    fn backward_row(
        dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], dweight: &mut [f32],
    ) {
        let d = weight.len();
        let dweight = &mut dweight[..d];
        for ((dy, x), dx) in dy.chunks_exact(d).zip(x.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let scale = inverse_rms(x, eps);
            for j in 0..d {
                dx[j] = dy[j] * weight[j];
                dweight[j] += dy[j] * (x[j] * scale);
            }
            let pull = dot(dx, x) / d as f32 * (scale * scale * scale);
            for j in 0..d {
                dx[j] = dx[j] * scale - x[j] * pull;
            }
        }
    }
}

multiversion! {
    fn add_row(from: &[f32], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to += from;
        }
    }
}

//! Fast paths against the definition, at odd sizes and through column windows.

use super::*;
use crate::DType;
use crate::cpu::Isa;
use crate::testing::{
    activation_dtype, assert_gradient, assert_tensor_close, columns, device, noise_f64, noise_pair,
};

/// Rounding of one bf16 result, or a few units in the last place of f32.
fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 8e-3 } else { 1e-6 }
}

/// Sizes below, at and above vector and task boundaries.
const SIZES: [(usize, usize); 5] = [(1, 1), (3, 40), (63, 96), (130, 17), (300, 257)];

#[test]
fn definitions_agree_with_finite_differences() {
    for (i, &x) in noise_f64(40, 1).iter().enumerate() {
        let (x, up) = (4.0 * x, noise_f64(40, 2)[i]);
        let (dgate, dup) = reference::swiglu_gradient(x, up);
        assert_gradient("swiglu", &[x, up], &[dgate, dup], |a| reference::swiglu(a[0], a[1]));
        assert_gradient("gelu", &[x], &[reference::gelu_gradient(x)], |a| reference::gelu(a[0]));
    }
}

#[test]
fn swiglu_matches_its_definition() {
    let device = device();
    for (n, f) in SIZES {
        let (x, x64) = noise_pair(&[n, 2 * f], 1, &device);
        let (dy, dy64) = noise_pair(&[n, f], 2, &device);
        let (gate, up) = (columns(&x64, 2 * f, 0, f), columns(&x64, 2 * f, f, f));
        let want: Vec<f64> = gate.iter().zip(&up).map(|(&g, &u)| reference::swiglu(g, u)).collect();
        assert_tensor_close("swiglu", &swiglu(&x).unwrap(), &want, tolerance(&device));
        let mut dx = vec![0.0; n * 2 * f];
        for i in 0..n * f {
            let (dgate, dup) = reference::swiglu_gradient(gate[i], up[i]);
            dx[i / f * 2 * f + i % f] = dy64[i] * dgate;
            dx[i / f * 2 * f + f + i % f] = dy64[i] * dup;
        }
        assert_tensor_close("dx", &swiglu_backward(&dy, &x).unwrap(), &dx, tolerance(&device));
    }
}

#[test]
fn gelu_and_add_match_their_definitions() {
    let device = device();
    for (n, f) in SIZES {
        let (x, x64) = noise_pair(&[n, f], 3, &device);
        let (dy, dy64) = noise_pair(&[n, f], 4, &device);
        let want: Vec<f64> = x64.iter().map(|&x| reference::gelu(x)).collect();
        assert_tensor_close("gelu", &gelu(&x).unwrap(), &want, tolerance(&device));
        let want: Vec<f64> = x64.iter().zip(&dy64).map(|(&x, dy)| dy * reference::gelu_gradient(x)).collect();
        assert_tensor_close("dx", &gelu_backward(&dy, &x).unwrap(), &want, tolerance(&device));
        let want: Vec<f64> = x64.iter().zip(&dy64).map(|(a, b)| a + b).collect();
        assert_tensor_close("add", &add(&x, &dy).unwrap(), &want, tolerance(&device));
    }
}

#[test]
fn sigmoid_gate_reads_and_writes_columns_of_a_fused_projection() {
    let device = device();
    for (n, d) in SIZES {
        let (fused, fused64) = noise_pair(&[n, 3 * d + 5], 5, &device);
        let (y, y64) = noise_pair(&[n, d], 6, &device);
        let (dout, dout64) = noise_pair(&[n, d], 7, &device);
        let gate = columns(&fused64, 3 * d + 5, d + 2, d);
        let open: Vec<f64> = gate.iter().map(|&g| reference::sigmoid(g)).collect();
        let want: Vec<f64> = y64.iter().zip(&open).map(|(y, s)| y * s).collect();
        let got = sigmoid_gate(&y, fused.cols(d + 2, d)).unwrap();
        assert_tensor_close("gated", &got, &want, tolerance(&device));

        // Columns that are not written keep their content.
        let (mut dfused, before) = noise_pair(&[n, 2 * d + 3], 8, &device);
        let dy = sigmoid_gate_backward(&dout, &y, fused.cols(d + 2, d), dfused.cols_mut(2, d)).unwrap();
        let want: Vec<f64> = dout64.iter().zip(&open).map(|(dy, s)| dy * s).collect();
        assert_tensor_close("dy", &dy, &want, tolerance(&device));
        let mut want = before;
        for i in 0..n * d {
            want[i / d * (2 * d + 3) + 2 + i % d] = dout64[i] * y64[i] * open[i] * (1.0 - open[i]);
        }
        assert_tensor_close("dgate", &dfused, &want, tolerance(&device));
    }
}

#[test]
fn every_instruction_set_computes_the_same_bits() {
    let (gate, up) = (crate::testing::noise(1003, 1), crate::testing::noise(1003, 2));
    let run = |isa| {
        let mut out = vec![f32::NAN; 1003];
        super::cpu::swiglu_row(isa, &gate, &up, &mut out);
        out
    };
    for isa in Isa::available() {
        assert_eq!(run(isa), run(Isa::Portable), "{isa:?}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let device = device();
    let (x, _) = noise_pair(&[4, 6], 1, &device);
    let (odd, _) = noise_pair(&[4, 3], 1, &device);
    assert!(swiglu(&odd).is_err());
    assert!(add(&x, &odd).is_err() && gelu_backward(&x, &odd).is_err());
    assert!(sigmoid_gate(&x, odd.cols(0, 3)).is_err());
}

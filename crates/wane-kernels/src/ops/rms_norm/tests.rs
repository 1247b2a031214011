//! The norm against its definition: whole rows and heads, odd widths, column windows.

use super::*;
use crate::testing::{
    activation_dtype, assert_gradient, assert_tensor_close, columns, device, dot, noise, noise_f64,
    noise_pair, rounded,
};

const EPS: f32 = 1e-5;

fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 8e-3 } else { 2e-6 }
}

/// Rows, groups, width of a group.
const SIZES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 1, 576),
    (63, 1, 96),
    (130, 3, 40),
    (7, 5, 33),
    (600, 1, 257),
    (1100, 1, 256),
    (70, 2, 64),
    (300, 1, 127),
];

#[test]
fn definition_agrees_with_finite_differences() {
    let (x, w, dy) = (noise_f64(15, 1), noise_f64(5, 2), noise_f64(15, 3));
    let (dx, dw) = reference::backward(&dy, &x, &w, 1e-3);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::rms_norm(x, &w, 1e-3), &dy));
    assert_gradient("dw", &w, &dw, |w| dot(&reference::rms_norm(&x, w, 1e-3), &dy));
}

#[test]
fn outputs_and_gradients_match_the_definition() {
    let device = device();
    for (n, groups, d) in SIZES {
        let (width, stride) = (groups * d, groups * d + 6);
        let (fused, fused64) = noise_pair(&[n, stride], 1, &device);
        let (x, x64) = (fused.cols(4, width), columns(&fused64, stride, 4, width));
        let (dy, dy64) = noise_pair(&[n, width], 2, &device);
        let (residual, residual64) = noise_pair(&[n, width], 3, &device);
        for dtype in [DType::F32, DType::BF16] {
            let (w, w64) = rounded(&noise(d, 4), &[d], dtype, &device);
            let want = reference::rms_norm(&x64, &w64, f64::from(EPS));
            let got = rms_norm(x, &w, EPS).unwrap();
            assert_tensor_close(&format!("y {n} {groups} {d}"), &got, &want, tolerance(&device));

            let (dx64, dw64) = reference::backward(&dy64, &x64, &w64, f64::from(EPS));
            // The weight's gradient is added to what is there.
            let (mut dweight, before) = rounded(&noise(d, 5), &[d], DType::F32, &device);
            let got = backward(&dy, x, &w, EPS, None, &mut dweight).unwrap();
            assert_tensor_close("dx", &got, &dx64, tolerance(&device));
            let want: Vec<f64> = dw64.iter().zip(&before).map(|(a, b)| a + b).collect();
            assert_tensor_close("dweight", &dweight, &want, 1e-5);

            let got = backward(&dy, x, &w, EPS, Some(&residual), &mut dweight).unwrap();
            let want: Vec<f64> = dx64.iter().zip(&residual64).map(|(a, b)| a + b).collect();
            assert_tensor_close("dx + residual", &got, &want, tolerance(&device));
        }
    }
}

#[test]
fn gradients_have_the_same_bits_in_every_run() {
    let device = device();
    if device.is_cpu() {
        return;
    }
    let (n, d) = (5000, 256);
    let ((x, _), (dy, _)) = (noise_pair(&[n, d], 1, &device), noise_pair(&[n, d], 2, &device));
    let (w, _) = rounded(&noise(d, 3), &[d], DType::F32, &device);
    let run = || {
        let mut dweight = Tensor::zeros(&[d], DType::F32, &device).unwrap();
        let dx = backward(&dy, (&x).into(), &w, EPS, Some(&dy), &mut dweight).unwrap();
        (dx.to_f32_vec().unwrap(), dweight.to_f32_vec().unwrap())
    };
    assert_eq!(run(), run());
}

#[test]
fn widths_that_do_not_fit_are_errors() {
    let device = device();
    let (x, _) = noise_pair(&[2, 10], 1, &device);
    let (w, _) = rounded(&noise(4, 2), &[4], DType::F32, &device);
    assert!(rms_norm((&x).into(), &w, EPS).is_err());
}

//! Conversions round to nearest even and keep special values.

use super::*;
use crate::testing::{device, noise};

#[test]
fn rounding_is_to_nearest_even() {
    let device = device();
    // bf16 keeps 7 fraction bits: 1 + 1/256 lies halfway between 1 and 1 + 1/128.
    let values = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, -0.0, f32::INFINITY, 3.0e38, 1e-40];
    let x = Tensor::from_f32(&values, &[2, 3], &device).unwrap();
    let rounded = cast(&x, DType::BF16).unwrap();
    assert_eq!((rounded.dtype(), rounded.shape()), (DType::BF16, &[2, 3][..]));
    let got = cast(&rounded, DType::F32).unwrap().to_f32_vec().unwrap();
    assert_eq!(got[..4], [1.0, 1.0 + 4.0 / 256.0, -0.0, f32::INFINITY]);
    assert!((got[4] / 3.0e38 - 1.0).abs() < 4e-3 && (got[5] - 1e-40).abs() < 1e-41);
}

#[test]
fn many_elements_convert_like_one() {
    let device = device();
    let values = noise(100_003, 1);
    let x = Tensor::from_f32(&values, &[values.len()], &device).unwrap();
    let want: Vec<f32> = values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
    assert_eq!(cast(&x, DType::BF16).unwrap().to_f32_vec().unwrap(), want);
    let nan = Tensor::from_f32(&[f32::NAN], &[1], &device).unwrap();
    assert!(cast(&nan, DType::BF16).unwrap().to_f32_vec().unwrap()[0].is_nan());
}

#[test]
fn integers_are_an_error() {
    let ids = Tensor::from_i32(&[1], &[1], &Device::Cpu).unwrap();
    assert!(cast(&ids, DType::F32).is_err());
}

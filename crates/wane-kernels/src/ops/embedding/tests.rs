//! Table rows of every format, and the gradient of repeated ids.

use std::sync::Arc;

use super::*;
use crate::testing::{activation_dtype, assert_tensor_close, device, noise, noise_pair, rounded};
use crate::{QuantKind, QuantMatrix};

#[test]
fn rows_are_copied_and_converted() {
    let device = device();
    for (n, d) in [(1, 1), (63, 40), (130, 96), (500, 257)] {
        let ids: Vec<i32> = (0..n).map(|i| (i * 31 % 50) as i32).collect();
        let tensor = Tensor::from_i32(&ids, &[n], &device).unwrap();
        for dtype in [DType::F32, DType::BF16] {
            let (table, table64) = rounded(&noise(50 * d, 1), &[50, d], dtype, &device);
            let want: Vec<f64> =
                ids.iter().flat_map(|&id| table64[id as usize * d..][..d].to_vec()).collect();
            let to = activation_dtype(&device);
            let got = embedding(&tensor, &Weight::Dense(table), to).unwrap();
            assert_eq!(got.dtype(), to);
            assert_tensor_close("rows", &got, &want, if to == DType::BF16 { 4e-3 } else { 0.0 });
        }
    }
}

#[test]
fn quantized_rows_are_decoded() {
    // Two rows of one block, scale 1/2: weights 1 and -2.
    let mut data = vec![0u8; 68];
    for (row, weight) in [(0, 1i8), (1, -2)] {
        data[row * 34..][..2].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
        data[row * 34 + 2..][..32].fill(weight as u8);
    }
    let table = QuantMatrix::new(QuantKind::Q8_0, [2, 32], Arc::new(data), 0).unwrap();
    let ids = Tensor::from_i32(&[1, 0, 1], &[3], &Device::Cpu).unwrap();
    let got = embedding(&ids, &Weight::Quantized(table), DType::F32).unwrap();
    let want: Vec<f64> = [-1.0, 0.5, -1.0].iter().flat_map(|&x| [x; 32]).collect();
    assert_tensor_close("decoded", &got, &want, 0.0);
}

#[test]
fn gradients_of_equal_ids_add_up() {
    let device = device();
    let (n, d) = (130, 40);
    let ids: Vec<i32> = (0..n).map(|i| (i % 7) as i32).collect();
    let tensor = Tensor::from_i32(&ids, &[n], &device).unwrap();
    let (dy, dy64) = noise_pair(&[n, d], 1, &device);
    let (mut dtable, mut want) = rounded(&noise(9 * d, 2), &[9, d], DType::F32, &device);
    backward(&tensor, &dy, &mut dtable).unwrap();
    for i in 0..n {
        for c in 0..d {
            want[ids[i] as usize * d + c] += dy64[i * d + c];
        }
    }
    assert_tensor_close("dtable", &dtable, &want, 1e-5);
}

#[test]
fn ids_outside_the_table_are_errors() {
    let (table, _) = rounded(&noise(6, 1), &[3, 2], DType::F32, &Device::Cpu);
    for id in [-1, 3] {
        let ids = Tensor::from_i32(&[id], &[1], &Device::Cpu).unwrap();
        assert!(embedding(&ids, &Weight::Dense(table.clone()), DType::F32).is_err(), "id {id}");
    }
}

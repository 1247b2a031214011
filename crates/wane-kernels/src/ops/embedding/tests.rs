//! Table rows of every format, and the gradient of repeated ids.

use std::sync::Arc;

use super::*;
use crate::testing::{activation_dtype, assert_tensor_close, device, noise, rounded, word_ids};
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

/// Adds the gradient to a table of noise, twice from the start: both times the same bits, and what
/// plain loops give. Ids outside the table are none of its rows.
fn check_gradient(ids: &[i32], d: usize, vocabulary: usize) {
    let device = device();
    let tensor = Tensor::from_i32(ids, &[ids.len()], &device).unwrap();
    for dtype in [activation_dtype(&device), DType::F32] {
        let (dy, dy64) = rounded(&noise(ids.len() * d, 1), &[ids.len(), d], dtype, &device);
        let start = noise(vocabulary * d, 2);
        let run = || {
            let mut dtable = Tensor::from_f32(&start, &[vocabulary, d], &device).unwrap();
            backward(&tensor, &dy, &mut dtable).unwrap();
            dtable
        };
        let mut want: Vec<f64> = start.iter().map(|&x| f64::from(x)).collect();
        for (&id, dy) in ids.iter().zip(dy64.chunks_exact(d)) {
            if id >= 0 && (id as usize) < vocabulary {
                for (sum, dy) in want[id as usize * d..][..d].iter_mut().zip(dy) {
                    *sum += dy;
                }
            }
        }
        let got = run();
        assert_tensor_close(&format!("{} rows of {d}, {dtype:?}", ids.len()), &got, &want, 1e-5);
        assert_eq!(got.to_f32_vec().unwrap(), run().to_f32_vec().unwrap(), "another run");
    }
}

#[test]
fn gradients_of_equal_ids_add_up() {
    for d in [1, 7, 40, 260, 512] {
        for n in [1, 32, 33, 255, 513, 1025] {
            check_gradient(&vec![8; n], d, 9);
            check_gradient(&(0..n).map(|i| (i % 7) as i32).collect::<Vec<_>>(), d, 9);
            check_gradient(&(0..n).rev().map(|i| (i / 40) as i32).collect::<Vec<_>>(), d, 40);
            check_gradient(&word_ids(n, 600, 3), d, 600);
        }
    }
}

#[test]
fn gradients_of_many_rows_and_large_tables() {
    check_gradient(&word_ids(5000, 4096, 3), 64, 4096);
    check_gradient(&vec![4095; 20_000], 8, 4096);
    check_gradient(&word_ids(5000, 300_000, 3), 7, 300_000);
    // Rows for which a block sorts more than one row a thread.
    check_gradient(&word_ids(140_000, 50_000, 3), 3, 50_000);
    check_gradient(&[], 5, 3);
}

#[test]
fn ids_outside_the_table_have_no_gradient() {
    if device().is_cpu() {
        return;
    }
    let ids: Vec<i32> = (0..700)
        .map(|i| if i % 3 == 0 { [-1, 50, i32::MIN, i32::MAX][i % 4] } else { i as i32 % 50 })
        .collect();
    check_gradient(&ids, 40, 50);
    check_gradient(&[-1; 100], 33, 50);
}

#[test]
fn ids_outside_the_table_are_errors() {
    let (table, _) = rounded(&noise(6, 1), &[3, 2], DType::F32, &Device::Cpu);
    for id in [-1, 3] {
        let ids = Tensor::from_i32(&[id], &[1], &Device::Cpu).unwrap();
        assert!(embedding(&ids, &Weight::Dense(table.clone()), DType::F32).is_err(), "id {id}");
    }
}

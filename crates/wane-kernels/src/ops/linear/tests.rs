//! Products against their definition: odd sizes, column windows, every weight format.

use std::sync::Arc;

use super::reference::{self, Sizes};
use super::*;
use crate::cpu::Isa;
use crate::cpu::quant::dequantize_row;
use crate::testing::{
    activation_dtype, assert_close, assert_gradient, assert_tensor_close, columns, device, dot, noise,
    noise_f64, noise_pair, rounded,
};
use crate::{QuantKind, QuantMatrix};

/// Relative to the largest result. f32 sums of 300 products; one rounding to bf16.
fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 8e-3 } else { 2e-6 }
}

/// Decode (few rows) and prefill sizes, odd in every dimension.
const SIZES: [Sizes; 11] = [
    Sizes { n: 1, m: 1, k: 1 },
    Sizes { n: 1, m: 37, k: 40 },
    Sizes { n: 1, m: 130, k: 96 },
    Sizes { n: 3, m: 65, k: 259 },
    Sizes { n: 8, m: 67, k: 64 },
    Sizes { n: 9, m: 33, k: 31 },
    Sizes { n: 63, m: 130, k: 96 },
    Sizes { n: 130, m: 63, k: 40 },
    Sizes { n: 17, m: 96, k: 300 },
    // Packed panels: a last strip of four rows, a last panel of one vector, two visits to the output.
    Sizes { n: 70, m: 144, k: 40 },
    Sizes { n: 65, m: 80, k: 259 },
];

fn weight_dtypes(device: &Device) -> Vec<DType> {
    if device.is_cpu() { vec![DType::F32, DType::BF16] } else { vec![DType::BF16] }
}

#[test]
fn definition_agrees_with_finite_differences() {
    let s = Sizes { n: 3, m: 4, k: 5 };
    let (x, w, bias) = (noise_f64(15, 1), noise_f64(20, 2), noise_f64(4, 3));
    let dy = noise_f64(12, 4);
    let [dx, dw, dbias] = reference::backward(&dy, &x, &w, s);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::linear(x, &w, Some(&bias), s), &dy));
    assert_gradient("dw", &w, &dw, |w| dot(&reference::linear(&x, w, Some(&bias), s), &dy));
    assert_gradient("dbias", &bias, &dbias, |b| dot(&reference::linear(&x, &w, Some(b), s), &dy));
}

#[test]
fn linear_matches_its_definition_in_column_windows() {
    let device = device();
    for s in SIZES {
        for dtype in weight_dtypes(&device) {
            let (fused, fused64) = noise_pair(&[s.n, s.k + 7], 1, &device);
            let (w, w64) = rounded(&noise(s.m * s.k, 2), &[s.m, s.k], dtype, &device);
            let (bias, bias64) = rounded(&noise(s.m, 3), &[s.m], dtype, &device);
            let weight = Weight::Dense(w);
            let x64 = columns(&fused64, s.k + 7, 3, s.k);
            // The window's neighbours keep their content.
            let (mut out, before) = noise_pair(&[s.n, s.m + 9], 4, &device);
            for (bias, bias64) in [(None, None), (Some(&bias), Some(&bias64[..]))] {
                linear_into(fused.cols(3, s.k), &weight, bias, out.cols_mut(5, s.m)).unwrap();
                let y = reference::linear(&x64, &w64, bias64, s);
                let mut want = before.clone();
                for i in 0..s.n {
                    want[i * (s.m + 9) + 5..][..s.m].copy_from_slice(&y[i * s.m..(i + 1) * s.m]);
                }
                assert_tensor_close(&format!("{dtype:?} {s:?}"), &out, &want, tolerance(&device));
            }
        }
    }
}

#[test]
fn fresh_outputs_and_residuals_match_the_definition() {
    let device = device();
    for s in SIZES {
        let (x, x64) = noise_pair(&[s.n, s.k], 1, &device);
        let (residual, residual64) = noise_pair(&[s.n, s.m], 2, &device);
        for dtype in weight_dtypes(&device) {
            let (w, w64) = rounded(&noise(s.m * s.k, 3), &[s.m, s.k], dtype, &device);
            let weight = Weight::Dense(w);
            let y = reference::linear(&x64, &w64, None, s);
            assert_tensor_close("y", &linear(&x, &weight, None).unwrap(), &y, tolerance(&device));
            let want: Vec<f64> = y.iter().zip(&residual64).map(|(a, b)| a + b).collect();
            let got = linear_residual(&x, &weight, &residual).unwrap();
            assert_tensor_close("residual + y", &got, &want, tolerance(&device));
        }
    }
}

#[test]
fn gradients_match_the_definition() {
    let device = device();
    for s in SIZES {
        let (x, x64) = noise_pair(&[s.n, s.k], 1, &device);
        let (fused, fused64) = noise_pair(&[s.n, s.m + 4], 2, &device);
        let dy64 = columns(&fused64, s.m + 4, 1, s.m);
        let dy = fused.cols(1, s.m);
        for dtype in weight_dtypes(&device) {
            let (w, w64) = rounded(&noise(s.m * s.k, 3), &[s.m, s.k], dtype, &device);
            let [dx, mut dw, mut dbias] = reference::backward(&dy64, &x64, &w64, s);
            let got = backward_input(dy, &Weight::Dense(w)).unwrap();
            assert_tensor_close("dx", &got, &dx, tolerance(&device));

            // Gradients of parameters are added to what is there, in f32.
            let (mut dweight, before) = rounded(&noise(s.m * s.k, 4), &[s.m, s.k], DType::F32, &device);
            backward_weight(dy, &x, &mut dweight).unwrap();
            dw.iter_mut().zip(&before).for_each(|(dw, before)| *dw += before);
            assert_tensor_close("dweight", &dweight, &dw, 1e-5);
            let (mut got, before) = rounded(&noise(s.m, 5), &[s.m], DType::F32, &device);
            backward_bias(dy, &mut got).unwrap();
            dbias.iter_mut().zip(&before).for_each(|(db, before)| *db += before);
            assert_tensor_close("dbias", &got, &dbias, 1e-5);
        }
    }
}

const KINDS: [QuantKind; 5] =
    [QuantKind::Q8_0, QuantKind::Q4_0, QuantKind::Q4_1, QuantKind::Q4K, QuantKind::Q6K];

/// A matrix of random bits with scales of ordinary size, and its exact values.
fn quantized(kind: QuantKind, rows: usize, columns: usize, seed: u64) -> (QuantMatrix, Vec<f64>) {
    let (weights, bytes) = kind.block();
    let blocks = rows * columns / weights;
    let mut data: Vec<u8> = noise(blocks * bytes, seed).iter().map(|x| (x * 128.0) as i8 as u8).collect();
    for (i, block) in data.chunks_exact_mut(bytes).enumerate() {
        let scale = half::f16::from_f32(0.01 + 0.001 * (i % 7) as f32).to_le_bytes();
        let at = if kind == QuantKind::Q6K { 208 } else { 0 };
        block[at..at + 2].copy_from_slice(&scale);
        if matches!(kind, QuantKind::Q4_1 | QuantKind::Q4K) {
            block[2..4].copy_from_slice(&half::f16::from_f32(-0.05).to_le_bytes());
        }
    }
    // An offset that is not a multiple of anything, as within a mapped file.
    data.splice(0..0, [0u8; 3]);
    let matrix = QuantMatrix::new(kind, [rows, columns], Arc::new(data), 3).unwrap();
    let mut values = vec![0.0f32; rows * columns];
    for (i, out) in values.chunks_exact_mut(columns).enumerate() {
        dequantize_row(kind, matrix.row(i), out);
    }
    (matrix, values.into_iter().map(f64::from).collect())
}

#[test]
fn quantized_products_of_many_rows_are_exact() {
    for kind in KINDS {
        let s = Sizes { n: 63, m: 130, k: 512 };
        let (matrix, w64) = quantized(kind, s.m, s.k, 1);
        let (x, x64) = noise_pair(&[s.n, s.k], 2, &Device::Cpu);
        let got = linear(&x, &Weight::Quantized(matrix), None).unwrap();
        assert_tensor_close(&format!("{kind:?}"), &got, &reference::linear(&x64, &w64, None, s), 1e-5);
    }
}

#[test]
fn quantized_products_of_few_rows_round_the_activations_to_eight_bits() {
    for kind in KINDS {
        for (n, m) in [(1, 1), (1, 67), (2, 130), (5, 33), (8, 66)] {
            // An odd number of blocks of 32.
            let s = Sizes { n, m, k: if kind.block().0 == 32 { 800 } else { 768 } };
            let (matrix, w64) = quantized(kind, s.m, s.k, 1);
            let (x, x64) = noise_pair(&[s.n, s.k], 2, &Device::Cpu);
            let got = linear(&x, &Weight::Quantized(matrix), None).unwrap();
            // Each of about 800 products is off by at most half a step of 1/127: in the mean far less.
            assert_tensor_close(&format!("{kind:?}"), &got, &reference::linear(&x64, &w64, None, s), 6e-3);
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (x, _) = noise_pair(&[130, 300], 1, &Device::Cpu);
    let (w, _) = rounded(&noise(200 * 300, 2), &[200, 300], DType::F32, &Device::Cpu);
    let weight = Weight::Dense(w);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let few = linear(&x.slice(0, 3).unwrap(), &weight, None).unwrap();
            let many = linear(&x, &weight, None).unwrap();
            [few.to_f32_vec().unwrap(), many.to_f32_vec().unwrap()]
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let device = device();
    let (x, _) = noise_pair(&[4, 6], 1, &device);
    let (w, _) = noise_pair(&[3, 5], 2, &device);
    let weight = Weight::Dense(w);
    let error = linear(&x, &weight, None).unwrap_err().to_string();
    assert!(error.starts_with("linear: expected x of shape [4, 5]"), "{error}");
    assert!(backward_input((&x).into(), &weight).is_err());
    let (matrix, _) = quantized(QuantKind::Q8_0, 6, 32, 1);
    assert!(backward_input((&x).into(), &Weight::Quantized(matrix)).is_err());
}

#[test]
fn blocks_decode_to_values_computed_by_hand() {
    // Scale 2; weights -3 and 5.
    let mut block = vec![0u8; 34];
    block[..2].copy_from_slice(&half::f16::from_f32(2.0).to_le_bytes());
    (block[2], block[33]) = ((-3i8) as u8, 5);
    let mut out = vec![f32::NAN; 32];
    dequantize_row(QuantKind::Q8_0, &block, &mut out);
    assert_eq!((out[0], out[1], out[31]), (-6.0, 0.0, 10.0));
    // Q4_0: byte 0 holds weights 0 (low) and 16 (high).
    let mut block = vec![0x88u8; 18];
    block[..2].copy_from_slice(&half::f16::from_f32(2.0).to_le_bytes());
    block[2] = 0xf0;
    dequantize_row(QuantKind::Q4_0, &block, &mut out);
    assert_eq!((out[0], out[16], out[1]), (-16.0, 14.0, 0.0));
    // Q6_K: the first low nibble 5 with upper bits 3 is 53 - 32 = 21; scale -2 of sub-block 0.
    let mut block = vec![0u8; 210];
    (block[0], block[128], block[192]) = (0x05, 0x03, (-2i8) as u8);
    block[208..].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes());
    let mut out = vec![f32::NAN; 256];
    dequantize_row(QuantKind::Q6K, &block, &mut out);
    assert_close("q6_k", &out[..2], &[-21.0, 32.0], 0.0);
    // Q4_K: sub-block 5 takes its scale from bytes 9 and 1: 3 + 16 = 19, its minimum 2 + 32 = 34.
    let mut block = vec![0u8; 144];
    block[..2].copy_from_slice(&half::f16::from_f32(1.0).to_le_bytes());
    block[2..4].copy_from_slice(&half::f16::from_f32(1.0).to_le_bytes());
    (block[4 + 1], block[4 + 5], block[4 + 9]) = (0x40, 0x80, 0x23);
    block[16 + 2 * 32] = 0x70;
    dequantize_row(QuantKind::Q4K, &block, &mut out);
    assert_eq!((out[5 * 32], out[5 * 32 + 1]), (7.0 * 19.0 - 34.0, -34.0));
}

#[test]
fn every_instruction_set_agrees_on_few_rows() {
    for kind in KINDS {
        let k = if kind.block().0 == 32 { 800 } else { 768 };
        let (matrix, _) = quantized(kind, 5, k, 1);
        let (x, _) = noise_pair(&[3, k], 2, &Device::Cpu);
        let rows = quant_dot::QuantRows::new(kind, crate::cpu::Rows::new("test", &x).unwrap());
        let run = |isa| {
            let mut sums = vec![f32::NAN; 15];
            for (i, sums) in sums.chunks_exact_mut(3).enumerate() {
                rows.dot(isa, matrix.row(i), sums);
            }
            sums
        };
        for isa in Isa::available() {
            assert_close(&format!("{kind:?} {isa:?}"), &run(isa), &run(Isa::Portable), 1e-6);
        }
    }
    let (x, _) = noise_pair(&[7, 259], 1, &Device::Cpu);
    let w = noise(6 * 259, 2);
    let run = |isa| {
        let mut sums = vec![f32::NAN; 42];
        dense_dot::dense_rows(isa, crate::cpu::Rows::new("test", &x).unwrap(), &w, &mut sums);
        sums
    };
    for isa in Isa::available() {
        assert_close(&format!("{isa:?}"), &run(isa), &run(Isa::Portable), 1e-6);
    }
}

#[test]
fn a_row_decodes_to_the_same_bits_alone_and_in_a_batch() {
    let (x, _) = noise_pair(&[8, 300], 1, &Device::Cpu);
    let (w, _) = rounded(&noise(200 * 300, 2), &[200, 300], DType::BF16, &Device::Cpu);
    let weight = Weight::Dense(w);
    let together = linear(&x, &weight, None).unwrap().to_f32_vec().unwrap();
    for i in 0..8 {
        let alone = linear(&x.slice(i, i + 1).unwrap(), &weight, None).unwrap().to_f32_vec().unwrap();
        assert_eq!(alone, together[i * 200..][..200], "row {i}");
    }
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn every_way_of_multiplying_many_rows_matches_the_definition() {
    use crate::cpu::matmul::Into;
    use crate::cpu::{Rows, RowsMut, amx};

    for s in [
        Sizes { n: 64, m: 32, k: 32 },
        Sizes { n: 65, m: 80, k: 259 },
        Sizes { n: 131, m: 112, k: 64 },
        Sizes { n: 200, m: 1040, k: 31 },
    ] {
        let (x, x64) = noise_pair(&[s.n, s.k], 1, &Device::Cpu);
        let (w, w64) = noise_pair(&[s.m, s.k], 2, &Device::Cpu);
        let y = reference::linear(&x64, &w64, None, s);
        for (into, from) in [(Into::Replace, f32::NAN), (Into::Add, 1.0)] {
            let want: Vec<f64> = y.iter().map(|y| if into == Into::Add { y + 1.0 } else { *y }).collect();
            let run = |what: &str, product: fn(Rows<'_>, &[f32], RowsMut<'_>, Into)| {
                let mut out = Tensor::from_f32(&vec![from; s.n * s.m], &[s.n, s.m], &Device::Cpu).unwrap();
                let rows = RowsMut::contiguous(out.f32s_mut(), s.m);
                product(Rows::new("test", &x).unwrap(), w.f32s(), rows, into);
                assert_tensor_close(&format!("{what} {s:?} {into:?}"), &out, &want, 2e-6);
            };
            if amx::available() {
                run("split", split::product);
            }
            if tall::applies(Isa::current(), s.n, s.m) {
                run("tall", tall::product);
            }
        }
    }
}

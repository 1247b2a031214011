//! Rotation against its definition: partial rotations, odd head widths, column windows.

use super::*;
use crate::testing::{
    activation_dtype, assert_gradient, assert_tensor_close, columns, device, dot, noise_f64, noise_pair,
};

const MAX: usize = 50;

fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 8e-3 } else { 1e-6 }
}

fn angles(position: usize, half: usize) -> Vec<f64> {
    (0..half).map(|i| position as f64 * 100f64.powf(-(i as f64) / half as f64)).collect()
}

fn table(half: usize, device: &Device) -> RopeTable {
    let all: Vec<f64> = (0..MAX).flat_map(|p| angles(p, half)).collect();
    let of = |f: fn(f64) -> f64| {
        let values: Vec<f32> = all.iter().map(|&a| f(a) as f32).collect();
        Tensor::from_f32(&values, &[MAX, half], device).unwrap()
    };
    RopeTable { cos: of(f64::cos), sin: of(f64::sin) }
}

/// Rows, heads, head width, rotated half.
const SIZES: [(usize, usize, usize, usize); 5] =
    [(1, 1, 2, 1), (1, 9, 64, 32), (63, 3, 40, 20), (130, 2, 96, 13), (300, 5, 17, 8)];

#[test]
fn backward_is_the_rotation_by_the_opposite_angle() {
    let (x, dy) = (noise_f64(9, 1), noise_f64(9, 2));
    let angles = [0.3, 1.1, 2.5];
    let dx = reference::rotate(&dy, &angles.map(|a| -a));
    assert_gradient("dx", &x, &dx, |x| dot(&reference::rotate(x, &angles), &dy));
}

#[test]
fn rotation_and_its_gradient_match_the_definition() {
    let device = device();
    for (n, heads, d, half) in SIZES {
        let (width, stride) = (heads * d, heads * d + 3);
        let (fused, fused64) = noise_pair(&[n, stride], 1, &device);
        let positions: Vec<i32> = (0..n).map(|i| (i * 7 % MAX) as i32).collect();
        let ids = Tensor::from_i32(&positions, &[n], &device).unwrap();
        let table = table(half, &device);
        let rotated = |values: &[f64], sign: f64| -> Vec<f64> {
            let heads_of = |(i, row): (usize, &[f64])| -> Vec<f64> {
                let angles: Vec<f64> = angles(positions[i] as usize, half).iter().map(|a| sign * a).collect();
                row.chunks_exact(d).flat_map(|head| reference::rotate(head, &angles)).collect()
            };
            values.chunks_exact(width).enumerate().flat_map(heads_of).collect()
        };
        let got = rope(fused.cols(2, width), d, &ids, &table).unwrap();
        let want = rotated(&columns(&fused64, stride, 2, width), 1.0);
        assert_tensor_close(&format!("rope {n} {heads} {d}"), &got, &want, tolerance(&device));

        let (dy, dy64) = noise_pair(&[n, width], 2, &device);
        let (mut dx, mut want) = noise_pair(&[n, stride], 3, &device);
        backward(&dy, d, &ids, &table, dx.cols_mut(1, width)).unwrap();
        for (row, part) in want.chunks_exact_mut(stride).zip(rotated(&dy64, -1.0).chunks_exact(width)) {
            row[1..1 + width].copy_from_slice(part);
        }
        assert_tensor_close("dx", &dx, &want, tolerance(&device));
    }
}

#[test]
fn bad_positions_and_heads_are_errors() {
    let (x, _) = noise_pair(&[1, 8], 1, &Device::Cpu);
    let table = table(2, &Device::Cpu);
    let at = |p: i32| Tensor::from_i32(&[p], &[1], &Device::Cpu).unwrap();
    assert!(rope((&x).into(), 4, &at(MAX as i32 - 1), &table).is_ok());
    assert!(rope((&x).into(), 4, &at(MAX as i32), &table).is_err());
    assert!(rope((&x).into(), 4, &at(-1), &table).is_err());
    assert!(rope((&x).into(), 3, &at(0), &table).is_err());
}

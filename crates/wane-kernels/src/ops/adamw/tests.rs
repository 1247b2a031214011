//! AdamW against its definition over several steps, and its clipping.

use super::*;
use crate::testing::{assert_close, assert_tensor_close, device, noise, rounded};

const CONFIG: AdamwStep =
    AdamwStep { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 1 };

fn zeros(len: usize, device: &Device) -> Tensor {
    Tensor::zeros(&[len], DType::F32, device).unwrap()
}

#[test]
fn steps_match_the_definition() {
    let device = device();
    for (len, max_norm) in [(1, 0.0), (130, 1.0), (50_001, 0.5)] {
        for dtype in [DType::F32, DType::BF16] {
            let (master, mut w) = rounded(&noise(len, 1), &[len], DType::F32, &device);
            let mut state = AdamwState { master, m: zeros(len, &device), v: zeros(len, &device) };
            let (mut m, mut v) = (vec![0.0; len], vec![0.0; len]);
            let mut working = Tensor::uninit(&[len], dtype, &device).unwrap();
            for t in 1..4 {
                let (grad, grad64) = rounded(&noise(len, 10 + t), &[len], DType::F32, &device);
                let norm = grad64.iter().map(|g| g * g).sum::<f64>().sqrt();
                let got = global_norm(&[&grad]).unwrap();
                assert_tensor_close("norm", &got, &[norm], 1e-6);
                let config = AdamwStep { step: t, ..CONFIG };
                step(&mut state, &grad, &got, max_norm, config, &mut working).unwrap();
                let clip = if max_norm > 0.0 { (f64::from(max_norm) / norm).min(1.0) } else { 1.0 };
                for i in 0..len {
                    [w[i], m[i], v[i]] = reference::step([w[i], m[i], v[i], grad64[i]], clip, config);
                }
            }
            assert_tensor_close("master", &state.master, &w, 2e-6);
            assert_tensor_close("m", &state.m, &m, 1e-6);
            assert_tensor_close("v", &state.v, &v, 1e-6);
            let want = state.master.to_f32_vec().unwrap();
            let (want, _) = rounded(&want, &[len], dtype, &device);
            assert_close("working", &working.to_f32_vec().unwrap(), &want.to_f32_vec().unwrap(), 0.0);
        }
    }
}

#[test]
fn the_norm_covers_all_gradients() {
    let device = device();
    let (a, _) = rounded(&[3.0], &[1], DType::F32, &device);
    let (b, _) = rounded(&[0.0, -4.0], &[2], DType::F32, &device);
    assert_eq!(global_norm(&[&a, &b]).unwrap().to_f32_vec().unwrap(), [5.0]);
}

#[test]
fn a_norm_that_is_not_finite_changes_nothing() {
    let device = device();
    let (grad, _) = rounded(&[f32::INFINITY, 1.0], &[2], DType::F32, &device);
    let (master, _) = rounded(&[1.0, 2.0], &[2], DType::F32, &device);
    let mut working = master.duplicate().unwrap();
    let mut state = AdamwState { master, m: zeros(2, &device), v: zeros(2, &device) };
    let norm = global_norm(&[&grad]).unwrap();
    step(&mut state, &grad, &norm, 1.0, CONFIG, &mut working).unwrap();
    assert_eq!(state.master.to_f32_vec().unwrap(), [1.0, 2.0]);
    assert_eq!(state.v.to_f32_vec().unwrap(), [0.0, 0.0]);
    assert_eq!(working.to_f32_vec().unwrap(), [1.0, 2.0]);
}

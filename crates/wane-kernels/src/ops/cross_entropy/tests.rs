//! The fused loss against its definition, in one chunk and in several.

use super::reference::{self, Sizes};
use super::*;
use crate::testing::{
    activation_dtype, assert_gradient, assert_tensor_close, device, dot, noise, noise_f64, noise_pair,
    rounded,
};

fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 8e-3 } else { 5e-6 }
}

/// The last one needs several chunks of logits on the CPU.
const SIZES: [Sizes; 4] = [
    Sizes { n: 1, vocabulary: 3, d: 5 },
    Sizes { n: 63, vocabulary: 130, d: 40 },
    Sizes { n: 17, vocabulary: 1001, d: 96 },
    Sizes { n: 45, vocabulary: 140_001, d: 3 },
];

fn targets(s: Sizes) -> Vec<i32> {
    (0..s.n).map(|i| ((i * 7919 + s.vocabulary - 1) % s.vocabulary) as i32).collect()
}

#[test]
fn definition_agrees_with_finite_differences() {
    let s = Sizes { n: 3, vocabulary: 5, d: 4 };
    let (hidden, head) = (noise_f64(12, 1), noise_f64(20, 2));
    let (targets, factors) = (targets(s), [0.5, 0.0, 2.0]);
    let (dhidden, dhead) = reference::backward(&hidden, &head, &targets, &factors, s);
    assert_gradient("dhidden", &hidden, &dhidden, |h| {
        dot(&reference::losses(h, &head, &targets, s), &factors)
    });
    assert_gradient("dhead", &head, &dhead, |w| dot(&reference::losses(&hidden, w, &targets, s), &factors));
}

#[test]
fn losses_and_gradients_match_the_definition() {
    let device = device();
    for s in SIZES {
        let (hidden, hidden64) = noise_pair(&[s.n, s.d], 1, &device);
        let dtypes = if device.is_cpu() { vec![DType::F32, DType::BF16] } else { vec![DType::BF16] };
        for dtype in dtypes {
            let (head, head64) = rounded(&noise(s.vocabulary * s.d, 2), &[s.vocabulary, s.d], dtype, &device);
            let head = Weight::Dense(head);
            let targets = targets(s);
            let ids = Tensor::from_i32(&targets, &[s.n], &device).unwrap();
            let want = reference::losses(&hidden64, &head64, &targets, s);
            let got = losses(&hidden, &head, &ids).unwrap();
            assert_tensor_close("losses", &got, &want, 1e-5);

            // Some tokens do not count.
            let mask: Vec<f32> = (0..s.n).map(|i| (i % 3) as f32).collect();
            let weights = Tensor::from_f32(&mask, &[s.n], &device).unwrap();
            let scale = 0.25f32;
            let factors: Vec<f64> = mask.iter().map(|&w| f64::from(w * scale)).collect();
            let (dhidden, mut dhead) = reference::backward(&hidden64, &head64, &targets, &factors, s);
            let shape = [s.vocabulary, s.d];
            let (mut got_head, before) = rounded(&noise(s.vocabulary * s.d, 3), &shape, DType::F32, &device);
            let got = forward_backward(&hidden, &head, &ids, &weights, scale, &mut got_head).unwrap();
            // On a GPU the logits that have gradients are rounded to bf16.
            let rounding = if device.is_cpu() { 1e-5 } else { tolerance(&device) };
            assert_tensor_close("losses", &got.losses, &want, rounding);
            assert_tensor_close("dhidden", &got.dhidden, &dhidden, tolerance(&device));
            dhead.iter_mut().zip(&before).for_each(|(grad, before)| *grad += before);
            assert_tensor_close("dhead", &got_head, &dhead, tolerance(&device));
        }
    }
}

#[test]
fn large_logits_do_not_overflow() {
    let device = device();
    let (hidden, _) = rounded(&[1000.0], &[1, 1], activation_dtype(&device), &device);
    let (head, _) = rounded(&[1.0, -1.0, 0.0], &[3, 1], activation_dtype(&device), &device);
    let target = Tensor::from_i32(&[1], &[1], &device).unwrap();
    let got = losses(&hidden, &Weight::Dense(head), &target).unwrap();
    assert_tensor_close("loss", &got, &[2000.0], 1e-6);
}

#[test]
fn a_target_outside_the_vocabulary_is_an_error() {
    let (hidden, _) = noise_pair(&[1, 4], 1, &Device::Cpu);
    let (head, _) = noise_pair(&[3, 4], 2, &Device::Cpu);
    let target = Tensor::from_i32(&[3], &[1], &Device::Cpu).unwrap();
    let error = losses(&hidden, &Weight::Dense(head), &target).unwrap_err().to_string();
    assert!(error.contains("targets below 3"), "{error}");
}

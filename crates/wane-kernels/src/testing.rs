//! Seeded noise, closeness checks and the device under test, for this workspace's tests.

use crate::{DType, Device, Tensor};

mod exact;
pub mod paged;

pub use exact::{assert_gradient, assert_tensor_close, columns, dot, noise_f64, noise_pair, rounded};

/// The device the tests run on: `WANE_TEST_DEVICE`, else the CPU.
pub fn device() -> Device {
    match std::env::var("WANE_TEST_DEVICE") {
        Ok(name) => Device::parse(&name).expect("WANE_TEST_DEVICE"),
        Err(_) => Device::Cpu,
    }
}

/// Uniform noise in [-1, 1), a function of the seed alone (SplitMix64).
pub fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def0;
    (0..len)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Token ids below `vocabulary` as frequent as words: an id about 1/(number) as often as the first.
pub fn word_ids(len: usize, vocabulary: usize, seed: u64) -> Vec<i32> {
    let id = |x: &f32| (vocabulary as f32).powf((x + 1.0) / 2.0) as i32 - 1;
    noise(len, seed).iter().map(id).collect()
}

/// Noise as a tensor on `device`.
pub fn noise_tensor(shape: &[usize], seed: u64, device: &Device) -> Tensor {
    Tensor::from_f32(&noise(shape.iter().product(), seed), shape, device).expect("noise tensor")
}

/// Element type of activations on `device`.
pub fn activation_dtype(device: &Device) -> DType {
    if device.is_cpu() { DType::F32 } else { DType::BF16 }
}

/// `values` as activations on `device`, rounded to their dtype. Compute a reference from the
/// rounded values: [`Tensor::to_f32_vec`].
pub fn activations(values: &[f32], shape: &[usize], device: &Device) -> Tensor {
    let tensor = match activation_dtype(device) {
        DType::BF16 => {
            let rounded: Vec<half::bf16> = values.iter().map(|&x| half::bf16::from_f32(x)).collect();
            Tensor::from_bytes(bytemuck::cast_slice(&rounded), shape, DType::BF16, device)
        }
        _ => Tensor::from_f32(values, shape, device),
    };
    tensor.expect("activations")
}

/// Noise as activations on `device`.
pub fn noise_activations(shape: &[usize], seed: u64, device: &Device) -> Tensor {
    activations(&noise(shape.iter().product(), seed), shape, device)
}

/// The tolerance that belongs to the activations of `device`.
pub fn tolerance(device: &Device, f32: f32, bf16: f32) -> f32 {
    match activation_dtype(device) {
        DType::BF16 => bf16,
        _ => f32,
    }
}

/// A reference's results, narrowed for [`assert_close`].
pub fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&x| x as f32).collect()
}

/// Fails unless every element is finite and `|got - want| <= tolerance * (1 + max |want|)`.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}: length");
    let scale = 1.0 + want.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!(a.is_finite(), "{name}[{i}] is {a}, want {b}");
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{name}[{i}] is {a}, want {b} (tolerance {tolerance} x {scale})"
        );
    }
}

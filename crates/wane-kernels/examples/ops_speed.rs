//! Speed of the dense CPU operators at the sizes of a small model: time, and the rate to be
//! compared with the machine's floors (FMA peak for products, streaming reads for the rest).
//!
//! `cargo run --release -p wane-kernels --example ops_speed [filter]`

use std::sync::Arc;
use std::time::Instant;

use wane_kernels::ops::adamw::{self, AdamwState, AdamwStep};
use wane_kernels::ops::decay_scan::{self, ScanDims, ScanSaved};
use wane_kernels::ops::{activation, cross_entropy, linear, rms_norm, rope};
use wane_kernels::{DType, Device, QuantKind, QuantMatrix, Result, Tensor, Weight, testing};

/// Runs `f` a few times and prints the best time with `work / time`.
fn report<T>(name: &str, work: f64, unit: &str, mut f: impl FnMut() -> Result<T>) -> Result<()> {
    if std::env::args().nth(1).is_some_and(|filter| !name.contains(&filter)) {
        return Ok(());
    }
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        f()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{name:40} {:9.3} ms {:8.1} {unit}", best * 1e3, work / best / 1e9);
    Ok(())
}

fn noise(shape: &[usize]) -> Tensor {
    testing::noise_tensor(shape, 1, &Device::Cpu)
}

fn products() -> Result<()> {
    for (n, m, k) in [(4096, 576, 576), (4096, 3072, 576), (4096, 576, 1536), (2048, 1408, 256)] {
        let (x, flops) = (noise(&[n, k]), 2.0 * (n * m * k) as f64);
        let w = Weight::Dense(noise(&[m, k]));
        report(&format!("linear f32 {n}x{m}x{k}"), flops, "GFLOP/s", || linear::linear(&x, &w, None))?;
        let dy = noise(&[n, m]);
        report(&format!("linear dx {n}x{m}x{k}"), flops, "GFLOP/s", || {
            linear::backward_input((&dy).into(), &w)
        })?;
        let mut dw = Tensor::zeros(&[m, k], DType::F32, &Device::Cpu)?;
        report(&format!("linear dw {n}x{m}x{k}"), flops, "GFLOP/s", || {
            linear::backward_weight((&dy).into(), &x, &mut dw)
        })?;
        for kind in [QuantKind::Q8_0, QuantKind::Q4_1] {
            let w = quantized(kind, m, k)?;
            report(&format!("linear {kind:?} {n}x{m}x{k}"), flops, "GFLOP/s", || {
                linear::linear(&x, &w, None)
            })?;
        }
    }
    Ok(())
}

fn decoding() -> Result<()> {
    let (m, k) = (49_152, 576);
    let mut weights = vec![("f32".to_owned(), Weight::Dense(noise(&[m, k])))];
    weights.push((
        "bf16".to_owned(),
        Weight::Dense(wane_kernels::ops::cast::cast(&noise(&[m, k]), DType::BF16)?),
    ));
    for kind in [QuantKind::Q8_0, QuantKind::Q4_0, QuantKind::Q4_1] {
        weights.push((format!("{kind:?}"), quantized(kind, m, k)?));
    }
    for kind in [QuantKind::Q4K, QuantKind::Q6K] {
        weights.push((format!("{kind:?} k=768"), quantized(kind, m, 768)?));
    }
    for (name, weight) in &weights {
        for n in [1, 4, 8] {
            let x = noise(&[n, weight.columns()]);
            report(&format!("decode {name} n={n}"), weight.num_bytes() as f64, "GB/s", || {
                linear::linear(&x, weight, None)
            })?;
        }
    }
    Ok(())
}

fn quantized(kind: QuantKind, rows: usize, columns: usize) -> Result<Weight> {
    let (weights, bytes) = kind.block();
    // Small scales everywhere: the bits 0x20 0x20 are an f16 of about 0.008.
    let data = vec![0x20u8; rows * columns / weights * bytes];
    Ok(Weight::Quantized(QuantMatrix::new(kind, [rows, columns], Arc::new(data), 0)?))
}

fn elementwise() -> Result<()> {
    let (n, d, f) = (4096, 576, 1536);
    let gigabytes = |elements: usize| (4 * elements) as f64;
    let (x, w) = (noise(&[n, d]), noise(&[d]));
    report("rms_norm", gigabytes(2 * n * d), "GB/s", || rms_norm::rms_norm((&x).into(), &w, 1e-5))?;
    let mut dw = Tensor::zeros(&[d], DType::F32, &Device::Cpu)?;
    report("rms_norm backward", gigabytes(4 * n * d), "GB/s", || {
        rms_norm::backward(&x, (&x).into(), &w, 1e-5, Some(&x), &mut dw)
    })?;
    let gate_up = noise(&[n, 2 * f]);
    report("swiglu", gigabytes(3 * n * f), "GB/s", || activation::swiglu(&gate_up))?;
    let dy = noise(&[n, f]);
    report("swiglu backward", gigabytes(5 * n * f), "GB/s", || activation::swiglu_backward(&dy, &gate_up))?;
    report("gelu", gigabytes(2 * n * f), "GB/s", || activation::gelu(&dy))?;
    report("add", gigabytes(3 * n * f), "GB/s", || activation::add(&dy, &dy))?;
    let angles = noise(&[n, 32]);
    let table = rope::RopeTable { cos: angles.clone(), sin: angles };
    let positions: Vec<i32> = (0..n as i32).collect();
    let positions = Tensor::from_i32(&positions, &[n], &Device::Cpu)?;
    report("rope", gigabytes(2 * n * d), "GB/s", || rope::rope((&x).into(), 64, &positions, &table))?;
    Ok(())
}

fn scans() -> Result<()> {
    let (n, width) = (4096, 512);
    let x = noise(&[n, 5 * width]);
    let part = |i: usize| x.cols(i * width, width);
    let dims = ScanDims { batch: 1, tokens: n };
    let bytes = (4 * n * width) as f64;
    report("decay_scan", 5.0 * bytes, "GB/s", || decay_scan::scan(part(2), part(3), part(4), dims, None))?;
    let scanned = decay_scan::scan(part(2), part(3), part(4), dims, None)?;
    let saved = ScanSaved {
        keys: part(2),
        values: part(3),
        gate_logits: part(4),
        scanned_keys: &scanned.keys,
        scanned_values: &scanned.values,
        initial: None,
    };
    let dy = noise(&[n, width]);
    let mut out = Tensor::zeros(&[n, 3 * width], DType::F32, &Device::Cpu)?;
    report("decay_scan backward", 10.0 * bytes, "GB/s", || {
        decay_scan::backward(&dy, &dy, saved, dims, out.cols_mut(0, 3 * width))
    })
}

fn training() -> Result<()> {
    let (n, vocabulary, d) = (2048, 8192, 256);
    let hidden = noise(&[n, d]);
    let head = Weight::Dense(testing::noise_tensor(&[vocabulary, d], 2, &Device::Cpu));
    let targets: Vec<i32> = (0..n as i32).collect();
    let targets = Tensor::from_i32(&targets, &[n], &Device::Cpu)?;
    let weights = Tensor::from_f32(&vec![1.0; n], &[n], &Device::Cpu)?;
    let mut dhead = Tensor::zeros(&[vocabulary, d], DType::F32, &Device::Cpu)?;
    report("cross_entropy with gradients", 6.0 * (n * vocabulary * d) as f64, "GFLOP/s", || {
        cross_entropy::forward_backward(&hidden, &head, &targets, &weights, 1e-3, &mut dhead)
    })?;
    let len = 10 << 20;
    let zeros = || Tensor::zeros(&[len], DType::F32, &Device::Cpu);
    let mut state = AdamwState { master: noise(&[len]), m: zeros()?, v: zeros()? };
    let (grad, mut working) = (noise(&[len]), zeros()?);
    report("global_norm", (4 * len) as f64, "GB/s", || adamw::global_norm(&[&grad]))?;
    let norm = adamw::global_norm(&[&grad])?;
    let step = AdamwStep { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 10 };
    report("adamw", (8 * 4 * len) as f64, "GB/s", || {
        adamw::step(&mut state, &grad, &norm, 1.0, step, &mut working)
    })
}

fn main() -> Result<()> {
    products()?;
    decoding()?;
    elementwise()?;
    scans()?;
    training()
}

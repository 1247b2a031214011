//! Times the dense operators on a GPU against its two ceilings, both measured here: a large copy
//! (bytes read plus bytes written) and a large matrix product.
//!
//! `cargo run --release -p wane-kernels --example cuda_bench [filter]`. Bytes are the fewest that an
//! operator must move: each input read once, each output written once.

use std::collections::HashSet;
use std::sync::Arc;

use half::bf16;
use wane_kernels::cuda::CudaDevice;
use wane_kernels::ops::adamw::{self, AdamwState, AdamwStep};
use wane_kernels::ops::decay_scan::{self, ScanDims, ScanSaved};
use wane_kernels::ops::rope::{self, RopeTable};
use wane_kernels::ops::top_k::{self, Forced};
use wane_kernels::ops::{activation, cast, cross_entropy, embedding, linear, rms_norm, sampling};
use wane_kernels::testing::{noise, word_ids};
use wane_kernels::{DType, Device, Result, Tensor, Weight};

/// What an operator is limited by.
#[derive(Clone, Copy)]
enum Work {
    Bytes(f64),
    Flops(f64),
}

struct Bench {
    device: Device,
    gpu: Arc<CudaDevice>,
    filter: String,
    // Bytes per second of a copy, floating-point operations per second of a product.
    copy: f64,
    product: f64,
}

impl Bench {
    /// Median over five rounds of the seconds that one call takes.
    fn seconds(&self, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
        const CALLS: usize = 10;
        (0..3).try_for_each(|_| call())?;
        let mut rounds = Vec::new();
        for _ in 0..5 {
            rounds.push(self.gpu.time(|| (0..CALLS).try_for_each(|_| call()))? / CALLS as f64);
        }
        rounds.sort_by(f64::total_cmp);
        Ok(rounds[2])
    }

    fn report<T>(&self, name: &str, work: Work, mut call: impl FnMut() -> Result<T>) -> Result<f64> {
        if !name.contains(&self.filter) {
            return Ok(0.0);
        }
        let seconds = match self.seconds(|| call().map(drop)) {
            Ok(seconds) => seconds,
            Err(error) => {
                println!("{name:44} failed: {error}");
                return Ok(0.0);
            }
        };
        let (rate, unit, ceiling) = match work {
            Work::Bytes(bytes) => (bytes / seconds * 1e-9, "GB/s", self.copy * 1e-9),
            Work::Flops(flops) => (flops / seconds * 1e-12, "TFLOP/s", self.product * 1e-12),
        };
        println!("{name:44} {:9.4} ms {rate:8.1} {unit:8} {:5.1} %", seconds * 1e3, 100.0 * rate / ceiling);
        Ok(seconds)
    }

    /// bf16 noise.
    fn noise(&self, shape: &[usize], seed: u64) -> Result<Tensor> {
        // A repeated piece of noise: the host is slow at making gigabytes of it.
        let piece: Vec<bf16> = noise(1 << 20, seed).iter().map(|&x| bf16::from_f32(x)).collect();
        let values: Vec<bf16> = piece.iter().copied().cycle().take(shape.iter().product()).collect();
        Tensor::from_bytes(bytemuck::cast_slice(&values), shape, DType::BF16, &self.device)
    }

    fn noise_f32(&self, shape: &[usize], seed: u64) -> Result<Tensor> {
        cast::cast(&self.noise(shape, seed)?, DType::F32)
    }

    fn ceilings(&mut self) -> Result<()> {
        let source = self.noise(&[256 << 20], 1)?;
        let mut target = Tensor::uninit(source.shape(), DType::BF16, &self.device)?;
        let seconds = self.seconds(|| target.copy_from(&source))?;
        self.copy = 2.0 * source.num_bytes() as f64 / seconds;
        println!("copy of {} MiB: {:.0} GB/s", source.num_bytes() >> 20, self.copy * 1e-9);
        let n = 8192;
        let (x, w) = (self.noise(&[n, n], 1)?, Weight::Dense(self.noise(&[n, n], 2)?));
        let seconds = self.seconds(|| linear::linear(&x, &w, None).map(drop))?;
        self.product = 2.0 * (n * n * n) as f64 / seconds;
        println!("product of {n}^3: {:.0} TFLOP/s", self.product * 1e-12);
        Ok(())
    }

    fn scans(&self) -> Result<()> {
        for (batch, tokens, width) in
            [(8, 2048, 512), (8, 4096, 1024), (32, 2048, 1024), (1, 32_768, 1024), (2, 16_384, 256)]
        {
            let (n, dims) = (batch * tokens, ScanDims { batch, tokens });
            let fused = self.noise(&[n, 5 * width], 1)?;
            let [keys, values, gate_logits] = [2, 3, 4].map(|i| fused.cols(i * width, width));
            let [dkeys, dvalues] = [self.noise(&[n, width], 2)?, self.noise(&[n, width], 3)?];
            let element = (n * width * 2) as f64;
            let shape = format!("{batch}x{tokens}x{width}");
            let forward = self.report(&format!("decay_scan {shape}"), Work::Bytes(5.0 * element), || {
                decay_scan::scan(keys, values, gate_logits, dims, None)
            })?;
            let scanned = decay_scan::scan(keys, values, gate_logits, dims, None)?;
            let saved = ScanSaved {
                keys,
                values,
                gate_logits,
                scanned_keys: &scanned.keys,
                scanned_values: &scanned.values,
                initial: None,
            };
            let mut out = Tensor::uninit(&[n, 5 * width], DType::BF16, &self.device)?;
            let backward =
                self.report(&format!("decay_scan backward {shape}"), Work::Bytes(10.0 * element), || {
                    decay_scan::backward(&dkeys, &dvalues, saved, dims, out.cols_mut(2 * width, 3 * width))
                })?;
            if forward > 0.0 && backward > 0.0 {
                let rate = 15.0 * element / (forward + backward);
                println!("{:44} forward + backward: {:5.1} % of copy", "", 100.0 * rate / self.copy);
            }
        }
        Ok(())
    }

    fn rows(&self) -> Result<()> {
        let n = 32_768;
        for d in [256, 512, 1024, 2048, 4096] {
            let element = (n * d * 2) as f64;
            let (x, dy) = (self.noise(&[n, d], 1)?, self.noise(&[n, d], 2)?);
            let residual = self.noise(&[n, d], 5)?;
            let (weight, mut dweight) = (self.noise(&[d], 3)?, self.noise_f32(&[d], 4)?);
            self.report(&format!("rms_norm {n}x{d}"), Work::Bytes(2.0 * element), || {
                rms_norm::rms_norm((&x).into(), &weight, 1e-5)
            })?;
            self.report(&format!("rms_norm backward {n}x{d}"), Work::Bytes(4.0 * element), || {
                rms_norm::backward(&dy, (&x).into(), &weight, 1e-5, Some(&residual), &mut dweight)
            })?;
        }
        let d = 1024;
        let element = (n * d * 2) as f64;
        let (x, dy) = (self.noise(&[n, 4 * d], 1)?, self.noise(&[n, d], 2)?);
        let both = self.noise(&[n, 2 * d], 3)?;
        let mut dx = Tensor::uninit(&[n, 4 * d], DType::BF16, &self.device)?;
        self.report("swiglu", Work::Bytes(3.0 * element), || activation::swiglu(&both))?;
        self.report("swiglu backward", Work::Bytes(5.0 * element), || {
            activation::swiglu_backward(&dy, &both)
        })?;
        self.report("sigmoid_gate", Work::Bytes(3.0 * element), || {
            activation::sigmoid_gate(&dy, x.cols(d, d))
        })?;
        self.report("sigmoid_gate backward", Work::Bytes(5.0 * element), || {
            activation::sigmoid_gate_backward(&dy, &dy, x.cols(d, d), dx.cols_mut(0, d))
        })?;
        self.report("add", Work::Bytes(6.0 * element), || activation::add(&both, &both))?;
        let positions: Vec<i32> = (0..n as i32).collect();
        let positions = Tensor::from_i32(&positions, &[n], &self.device)?;
        let table = RopeTable { cos: self.noise_f32(&[n, 32], 5)?, sin: self.noise_f32(&[n, 32], 6)? };
        self.report("rope", Work::Bytes(2.0 * element), || rope::rope(x.cols(d, d), 64, &positions, &table))?;
        self.report("cast to f32", Work::Bytes(6.0 * element), || cast::cast(&both, DType::F32))?;
        Ok(())
    }

    fn embeddings(&self) -> Result<()> {
        let n = 32_768;
        for (vocabulary, d) in [(4096, 256), (32_768, 1024)] {
            let words = Weight::Dense(self.noise(&[vocabulary, d], 1)?);
            let (dy, mut dwords) = (self.noise(&[n, d], 2)?, self.noise_f32(&[vocabulary, d], 3)?);
            for (name, ids) in [("even", even(n, vocabulary)), ("words", frequent(n, vocabulary))] {
                let touched = ids.iter().collect::<HashSet<_>>().len();
                let ids = Tensor::from_i32(&ids, &[n], &self.device)?;
                let shape = format!("{n} {name} of {vocabulary}x{d}");
                let read = (n * d * 2) as f64;
                self.report(&format!("embedding {shape}"), Work::Bytes(2.0 * read), || {
                    embedding::embedding(&ids, &words, DType::BF16)
                })?;
                let bytes = read + (touched * d * 8) as f64;
                self.report(&format!("embedding backward {shape}"), Work::Bytes(bytes), || {
                    embedding::backward(&ids, &dy, &mut dwords)
                })?;
            }
        }
        Ok(())
    }

    fn products(&self) -> Result<()> {
        let n = 16_384;
        for (m, k) in [(2560, 512), (5120, 1024), (1024, 1024), (5504, 1024), (4096, 4096)] {
            let flops = Work::Flops(2.0 * (n * m * k) as f64);
            let (x, dy) = (self.noise(&[n, k], 1)?, self.noise(&[n, m], 2)?);
            let w = Weight::Dense(self.noise(&[m, k], 3)?);
            let mut dw = self.noise_f32(&[m, k], 4)?;
            self.report(&format!("linear {n}x{m}x{k}"), flops, || linear::linear(&x, &w, None))?;
            self.report(&format!("linear dx {n}x{m}x{k}"), flops, || {
                linear::backward_input((&dy).into(), &w)
            })?;
            self.report(&format!("linear dw {n}x{m}x{k}"), flops, || {
                linear::backward_weight((&dy).into(), &x, &mut dw)
            })?;
        }
        for n in [1, 2, 4, 8, 16] {
            let (m, k) = (32_768, 4096);
            let (x, w) = (self.noise(&[n, k], 1)?, Weight::Dense(self.noise(&[m, k], 2)?));
            let bytes = Work::Bytes((m * k * 2) as f64);
            self.report(&format!("linear of {n} rows, {m}x{k}"), bytes, || linear::linear(&x, &w, None))?;
        }
        let (x, w) = (self.noise(&[1, 512], 1)?, Weight::Dense(self.noise(&[512, 512], 2)?));
        self.report("linear of 1 row, 512x512 (latency)", Work::Bytes(512.0 * 1024.0), || {
            linear::linear(&x, &w, None)
        })?;
        Ok(())
    }

    fn training(&self) -> Result<()> {
        for (n, vocabulary, d) in [(16_384, 32_000, 512), (16_384, 50_304, 1024)] {
            let (hidden, head) = (self.noise(&[n, d], 1)?, Weight::Dense(self.noise(&[vocabulary, d], 2)?));
            let targets: Vec<i32> = (0..n).map(|i| (i * 7919 % vocabulary) as i32).collect();
            let targets = Tensor::from_i32(&targets, &[n], &self.device)?;
            let weights = Tensor::from_f32(&vec![1.0; n], &[n], &self.device)?;
            let mut dhead = self.noise_f32(&[vocabulary, d], 3)?;
            let flops = 2.0 * (n * vocabulary * d) as f64;
            self.report(&format!("losses {n}x{vocabulary}x{d}"), Work::Flops(flops), || {
                cross_entropy::losses(&hidden, &head, &targets)
            })?;
            self.report(
                &format!("loss and gradients {n}x{vocabulary}x{d}"),
                Work::Flops(3.0 * flops),
                || cross_entropy::forward_backward(&hidden, &head, &targets, &weights, 1e-4, &mut dhead),
            )?;
        }
        let n = 128 << 20;
        let mut state = AdamwState {
            master: self.noise_f32(&[n], 1)?,
            m: self.noise_f32(&[n], 2)?,
            v: Tensor::zeros(&[n], DType::F32, &self.device)?,
        };
        let (grad, mut working) = (self.noise_f32(&[n], 3)?, self.noise(&[n], 4)?);
        let norm = adamw::global_norm(&[&grad])?;
        let config = AdamwStep { lr: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 10 };
        self.report("adamw 128M", Work::Bytes(30.0 * n as f64), || {
            adamw::step(&mut state, &grad, &norm, 1.0, config, &mut working)
        })?;
        self.report("global_norm 128M", Work::Bytes(4.0 * n as f64), || adamw::global_norm(&[&grad]))?;
        Ok(())
    }

    fn selections(&self) -> Result<()> {
        for (rows, n, k) in [(131_072, 64, 16), (65_536, 512, 32), (16_384, 4096, 64), (16, 131_072, 1024)] {
            let scores = self.noise_f32(&[rows, n], 1)?;
            let valid = Tensor::from_i32(&vec![n as i32; rows], &[rows], &self.device)?;
            let forced = Forced { first: 1, local: 1, counted: true };
            self.report(&format!("top_k {rows}x{n}, k {k}"), Work::Bytes(4.0 * (rows * n) as f64), || {
                top_k::top_k(&scores, &valid, k, forced)
            })?;
        }
        let logits = self.noise(&[64, 128_256], 1)?;
        self.report("argmax 64x128256", Work::Bytes(logits.num_bytes() as f64), || {
            sampling::argmax(&logits)
        })?;
        Ok(())
    }
}

// Every id of the vocabulary equally often.
fn even(n: usize, vocabulary: usize) -> Vec<i32> {
    (0..n).map(|i| (i * 7919 % vocabulary) as i32).collect()
}

// Ids as of words, and one with a twentieth of all rows.
fn frequent(n: usize, vocabulary: usize) -> Vec<i32> {
    let mut ids = word_ids(n, vocabulary, 4);
    ids.iter_mut().step_by(20).for_each(|id| *id = vocabulary as i32 - 1);
    ids
}

fn main() -> Result<()> {
    let device = Device::cuda(0)?;
    let Device::Cuda(gpu) = &device else { return Ok(()) };
    println!("{} {}, {} multiprocessors", gpu.name(), gpu.arch(), gpu.multiprocessors());
    let gpu = gpu.clone();
    let filter = std::env::args().nth(1).unwrap_or_default();
    let mut bench = Bench { device, gpu, filter, copy: f64::NAN, product: f64::NAN };
    bench.ceilings()?;
    bench.scans()?;
    bench.rows()?;
    bench.embeddings()?;
    bench.products()?;
    bench.training()?;
    bench.selections()?;
    let memory = bench.gpu.memory();
    println!("memory: peak {} MiB, reserved {} MiB", memory.peak >> 20, memory.reserved >> 20);
    Ok(())
}

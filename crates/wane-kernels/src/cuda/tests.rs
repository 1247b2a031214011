//! The GPU's wide and multi-tile paths against the CPU's operators: aligned sizes, several tiles,
//! several rows per block. The operators' own tests use odd sizes, which take the scalar paths.
//!
//! They need `WANE_TEST_DEVICE=cuda` and do nothing otherwise.

use crate::ops::adamw::{AdamwState, AdamwStep};
use crate::ops::decay_scan::{ScanDims, ScanSaved};
use crate::ops::rope::RopeTable;
use crate::ops::top_k::Forced;
use crate::ops::{activation, adamw, cast, decay_scan, embedding, linear, rms_norm, rope, sampling, top_k};
use crate::testing::{assert_close, device, noise};
use crate::{DType, Device, Tensor, Weight};

/// The GPU under test, if any.
fn gpu() -> Option<Device> {
    Some(device()).filter(|device| !device.is_cpu())
}

/// The same values on the GPU in `dtype` and on the CPU in f32.
fn pair(shape: &[usize], seed: u64, dtype: DType, gpu: &Device) -> (Tensor, Tensor) {
    let values = noise(shape.iter().product(), seed);
    let exact = Tensor::from_f32(&values, shape, &Device::Cpu).unwrap();
    let rounded = cast::cast(&exact, dtype).unwrap();
    (rounded.to_device(gpu).unwrap(), cast::cast(&rounded, DType::F32).unwrap())
}

#[track_caller]
fn close(name: &str, got: &Tensor, want: &Tensor, tolerance: f32) {
    assert_eq!(got.shape(), want.shape(), "{name}: shape");
    assert_close(name, &got.to_f32_vec().unwrap(), &want.to_f32_vec().unwrap(), tolerance);
}

fn tolerance(dtype: DType) -> f32 {
    if dtype == DType::BF16 { 1e-2 } else { 1e-5 }
}

const DTYPES: [DType; 2] = [DType::BF16, DType::F32];

#[test]
fn scans_of_several_tiles() {
    let Some(gpu) = gpu() else { return };
    for dtype in DTYPES {
        for (batch, tokens, width) in [(2, 700, 128), (1, 4300, 40), (3, 129, 136), (4, 1, 256), (2, 3, 64)] {
            for with_initial in [false, true] {
                check_scan(&gpu, dtype, ScanDims { batch, tokens }, width, with_initial);
            }
        }
    }
}

#[track_caller]
fn check_scan(gpu: &Device, dtype: DType, dims: ScanDims, width: usize, with_initial: bool) {
    let n = dims.batch * dims.tokens;
    let fused = pair(&[n, 4 * width], 1, dtype, gpu);
    let initial = pair(&[dims.batch, 2, width], 2, DType::F32, gpu);
    let (dkeys, dvalues) = (pair(&[n, width], 3, dtype, gpu), pair(&[n, width], 4, dtype, gpu));
    let run = |x: &Tensor, initial: &Tensor, dkeys: &Tensor, dvalues: &Tensor, dtype: DType| {
        let initial = with_initial.then_some(initial);
        let [gate_logits, keys, values] = [0, 1, 3].map(|i| x.cols(i * width, width));
        let scanned = decay_scan::scan(keys, values, gate_logits, dims, initial).unwrap();
        let saved = ScanSaved {
            keys,
            values,
            gate_logits,
            scanned_keys: &scanned.keys,
            scanned_values: &scanned.values,
            initial,
        };
        let mut out = Tensor::zeros(&[n, 4 * width], dtype, x.device()).unwrap();
        let dinitial =
            decay_scan::backward(dkeys, dvalues, saved, dims, out.cols_mut(width, 3 * width)).unwrap();
        (scanned, out, dinitial)
    };
    let got = run(&fused.0, &initial.0, &dkeys.0, &dvalues.0, dtype);
    let want = run(&fused.1, &initial.1, &dkeys.1, &dvalues.1, DType::F32);
    let name = format!("{dtype:?} {dims:?} {width} {with_initial}");
    close(&format!("{name} keys"), &got.0.keys, &want.0.keys, tolerance(dtype));
    close(&format!("{name} values"), &got.0.values, &want.0.values, tolerance(dtype));
    close(&format!("{name} state"), &got.0.state, &want.0.state, 1e-5);
    close(&format!("{name} gradients"), &got.1, &want.1, tolerance(dtype));
    if let (Some(got), Some(want)) = (got.2, want.2) {
        close(&format!("{name} dinitial"), &got, &want, 1e-5);
    }
}

#[test]
fn norms_of_every_team() {
    let Some(gpu) = gpu() else { return };
    for dtype in DTYPES {
        let sizes = [
            (300, 4, 64),
            (9000, 1, 256),
            (700, 3, 512),
            (37, 1, 1024),
            (90, 1, 2048),
            (11, 1, 4096),
            (3, 1, 9216),
        ];
        for (rows, groups, d) in sizes {
            for weight_dtype in DTYPES {
                let width = groups * d;
                let x = pair(&[rows, width + 16], 1, dtype, &gpu);
                let (dy, residual) =
                    (pair(&[rows, width], 2, dtype, &gpu), pair(&[rows, width], 3, dtype, &gpu));
                let (weight, start) = (pair(&[d], 4, weight_dtype, &gpu), pair(&[d], 5, DType::F32, &gpu));
                let run =
                    |x: &Tensor, dy: &Tensor, residual: &Tensor, weight: &Tensor, mut dweight: Tensor| {
                        let x = x.cols(16, width);
                        let y = rms_norm::rms_norm(x, weight, 1e-5).unwrap();
                        let dx =
                            rms_norm::backward(dy, x, weight, 1e-5, Some(residual), &mut dweight).unwrap();
                        (y, dx, dweight)
                    };
                let got = run(&x.0, &dy.0, &residual.0, &weight.0, start.0);
                let want = run(&x.1, &dy.1, &residual.1, &weight.1, start.1);
                let name = format!("{dtype:?} {rows} x {groups} x {d}");
                close(&format!("{name} y"), &got.0, &want.0, tolerance(dtype));
                close(&format!("{name} dx"), &got.1, &want.1, tolerance(dtype));
                close(&format!("{name} dweight"), &got.2, &want.2, 1e-5);
            }
        }
    }
}

#[test]
fn elementwise_vectors() {
    let Some(gpu) = gpu() else { return };
    for dtype in DTYPES {
        let (x, dy) = (pair(&[37, 192], 1, dtype, &gpu), pair(&[37, 96], 2, dtype, &gpu));
        let y = pair(&[37, 96], 3, dtype, &gpu);
        let run = |x: &Tensor, dy: &Tensor, y: &Tensor| {
            let gate = x.cols(64, 96);
            let mut dgate = Tensor::zeros(&[37, 128], x.dtype(), x.device()).unwrap();
            let dy_gate = activation::sigmoid_gate_backward(dy, y, gate, dgate.cols_mut(32, 96)).unwrap();
            [
                activation::swiglu(x).unwrap(),
                activation::swiglu_backward(dy, x).unwrap(),
                activation::gelu(x).unwrap(),
                activation::gelu_backward(x, x).unwrap(),
                activation::add(dy, y).unwrap(),
                activation::sigmoid_gate(y, gate).unwrap(),
                dy_gate,
                dgate,
            ]
        };
        let (got, want) = (run(&x.0, &dy.0, &y.0), run(&x.1, &dy.1, &y.1));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            close(&format!("{dtype:?} part {i}"), got, want, tolerance(dtype));
        }
    }
}

#[test]
fn rotations_and_lookups() {
    let Some(gpu) = gpu() else { return };
    for dtype in DTYPES {
        for (heads, head_dim, half) in [(3, 64, 32), (2, 64, 16), (1, 128, 64)] {
            let width = heads * head_dim;
            let x = pair(&[50, width + 64], 1, dtype, &gpu);
            let tables = [2, 3].map(|seed| pair(&[60, half], seed, DType::F32, &gpu));
            let positions: Vec<i32> = (0..50).map(|i| (i * 7) % 60).collect();
            let run = |x: &Tensor, cos: &Tensor, sin: &Tensor| {
                let positions = Tensor::from_i32(&positions, &[50], x.device()).unwrap();
                let table = RopeTable { cos: cos.clone(), sin: sin.clone() };
                let y = rope::rope(x.cols(64, width), head_dim, &positions, &table).unwrap();
                let mut dx = Tensor::zeros(&[50, width + 32], x.dtype(), x.device()).unwrap();
                rope::backward(&y, head_dim, &positions, &table, dx.cols_mut(32, width)).unwrap();
                (y, dx)
            };
            let got = run(&x.0, &tables[0].0, &tables[1].0);
            let want = run(&x.1, &tables[0].1, &tables[1].1);
            close("rope", &got.0, &want.0, tolerance(dtype));
            close("rope backward", &got.1, &want.1, tolerance(dtype));
        }
        let (table, dy) = (pair(&[29, 64], 4, dtype, &gpu), pair(&[200, 64], 5, dtype, &gpu));
        let ids: Vec<i32> = (0..200).map(|i| (i * i) % 29).collect();
        let run = |table: Tensor, dy: &Tensor, dtype: DType| {
            let ids = Tensor::from_i32(&ids, &[200], table.device()).unwrap();
            let mut dtable = Tensor::zeros(&[29, 64], DType::F32, table.device()).unwrap();
            embedding::backward(&ids, dy, &mut dtable).unwrap();
            (embedding::embedding(&ids, &Weight::Dense(table), dtype).unwrap(), dtable)
        };
        let (got, want) = (run(table.0, &dy.0, dtype), run(table.1, &dy.1, DType::F32));
        close("embedding", &got.0, &want.0, 1e-6);
        close("embedding backward", &got.1, &want.1, 1e-5);
    }
}

#[test]
fn products_with_few_and_many_rows() {
    let Some(gpu) = gpu() else { return };
    for dtype in DTYPES {
        for (n, m, k) in [(1, 77, 64), (2, 40, 128), (3, 130, 512), (5, 9, 96), (8, 64, 264), (130, 72, 96)] {
            let x = pair(&[n, k + 8], 1, dtype, &gpu);
            let (weight, bias) = (pair(&[m, k], 2, dtype, &gpu), pair(&[m], 3, dtype, &gpu));
            let (residual, dy) = (pair(&[n, m], 4, dtype, &gpu), pair(&[n, m + 5], 5, dtype, &gpu));
            let run = |x: &Tensor, weight: Tensor, bias: &Tensor, residual: &Tensor, dy: &Tensor| {
                let (weight, dtype, device) = (Weight::Dense(weight), x.dtype(), x.device());
                let mut out = Tensor::zeros(&[n, m + 3], dtype, device).unwrap();
                linear::linear_into(x.cols(8, k), &weight, Some(bias), out.cols_mut(3, m)).unwrap();
                let inner = crate::ops::columns::contiguous(x.cols(8, k)).unwrap();
                let mut dweight = Tensor::zeros(&[m, k], DType::F32, device).unwrap();
                let mut dbias = Tensor::zeros(&[m], DType::F32, device).unwrap();
                for _ in 0..2 {
                    linear::backward_weight(dy.cols(2, m), &inner, &mut dweight).unwrap();
                    linear::backward_bias(dy.cols(2, m), &mut dbias).unwrap();
                }
                let dx = linear::backward_input(dy.cols(2, m), &weight).unwrap();
                [out, linear::linear_residual(&inner, &weight, residual).unwrap(), dx, dweight, dbias]
            };
            let got = run(&x.0, weight.0, &bias.0, &residual.0, &dy.0);
            let want = run(&x.1, weight.1, &bias.1, &residual.1, &dy.1);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let tolerance = if i < 3 { tolerance(dtype) } else { 1e-5 };
                close(&format!("{dtype:?} {n} x {m} x {k}, part {i}"), got, want, tolerance);
            }
        }
    }
}

#[test]
fn updates_of_many_elements() {
    let Some(gpu) = gpu() else { return };
    let n = 70_003;
    let [master, m, v, grad] = [1, 2, 3, 4].map(|seed| pair(&[n], seed, DType::F32, &gpu));
    let run = |tensors: [Tensor; 3], grad: &Tensor| {
        let [master, m, v] = tensors;
        let v = {
            let squared: Vec<f32> = v.to_f32_vec().unwrap().iter().map(|x| x * x).collect();
            Tensor::from_f32(&squared, &[n], grad.device()).unwrap()
        };
        let mut state = AdamwState { master, m, v };
        let mut working = Tensor::zeros(&[n], DType::F32, grad.device()).unwrap();
        let config = AdamwStep { lr: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, step: 3 };
        let norm = adamw::global_norm(&[grad, &state.m]).unwrap();
        adamw::step(&mut state, grad, &norm, 1.0, config, &mut working).unwrap();
        [norm, state.master, state.m, state.v, working]
    };
    let got = run([master.0, m.0, v.0], &grad.0);
    let want = run([master.1, m.1, v.1], &grad.1);
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        close(&format!("part {i}"), got, want, 2e-6);
    }
}

#[test]
fn long_rows_are_selected_from() {
    let Some(gpu) = gpu() else { return };
    for (n, k, coarse) in [(5000, 700, 1.0), (3001, 30, 8.0), (1025, 1025, 100.0)] {
        let scores: Vec<f32> = noise(4 * n, 1).iter().map(|x| (x * 1000.0 / coarse).round()).collect();
        let valid = [n as i32, 1024, 17, (n / 2) as i32];
        let forced = Forced { first: 3, local: 5, counted: true };
        let run = |device: &Device| {
            let scores = Tensor::from_f32(&scores, &[4, n], device).unwrap();
            let valid = Tensor::from_i32(&valid, &[4], device).unwrap();
            let selection = top_k::top_k(&scores, &valid, k, forced).unwrap();
            let best = sampling::argmax(&scores).unwrap();
            [selection.indices, selection.counts, best].map(|tensor| tensor.to_i32_vec().unwrap())
        };
        assert_eq!(run(&gpu), run(&Device::Cpu), "{n} {k}");
    }
}

#[test]
fn freed_memory_is_reused_and_counted() {
    let Some(Device::Cuda(gpu)) = gpu() else { return };
    let before = gpu.memory();
    let big = gpu.allocate(5 << 20).unwrap();
    assert!(gpu.memory().in_use >= before.in_use + (5 << 20) || before.in_use > 0);
    drop(big);
    // Other tests allocate at the same time, so only lower bounds can be checked.
    assert!(gpu.memory().reserved >= 6 << 20);
    assert!(gpu.memory().peak >= 5 << 20);
    let error = gpu.allocate(1 << 50).unwrap_err().to_string();
    assert!(error.contains("out of memory"), "{error}");
}

#[test]
fn a_missing_gpu_and_an_old_driver_say_what_to_do() {
    // CUDA 12.4's driver with NVRTC 13, and the other way round.
    let message = super::too_old(12_040, (13, 0)).expect_err("too old").to_string();
    assert_eq!(
        message,
        "CUDA driver: it supports CUDA 12.4, but the NVRTC found is 13.0: update the driver, or install NVRTC and \
         cuBLAS of CUDA 12; or run with --device cpu"
    );
    super::too_old(13_010, (12, 9)).expect("new enough");
    // No machine has that many: there the GPU is missing, elsewhere the driver or a library.
    let message = Device::parse("cuda:99").expect_err("no such GPU").to_string();
    assert!(message.starts_with("CUDA ") && message.contains("--device cpu"), "{message}");
}

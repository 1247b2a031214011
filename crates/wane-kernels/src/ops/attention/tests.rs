//! Attention against its reference, and the reference's gradients against differences.

use super::*;
use crate::testing::{activations, assert_close, device, narrow, noise, tolerance};

const TOLERANCE_F32: f32 = 3e-6;
const TOLERANCE_BF16: f32 = 1e-2;

const PATTERNS: [Pattern; 10] = [
    Pattern::Causal,
    Pattern::Dilated { dilation: Some(4), window: 0, initial: 0 },
    Pattern::Dilated { dilation: Some(16), window: 20, initial: 3 },
    // Windows from half of a tile of 128 queries to more than all of it.
    Pattern::Dilated { dilation: Some(64), window: 65, initial: 0 },
    Pattern::Dilated { dilation: Some(64), window: 70, initial: 0 },
    Pattern::Dilated { dilation: Some(3), window: 129, initial: 70 },
    Pattern::Dilated { dilation: None, window: 127, initial: 0 },
    Pattern::Dilated { dilation: Some(64), window: 200, initial: 1 },
    Pattern::Dilated { dilation: Some(1), window: 5, initial: 2 },
    Pattern::Dilated { dilation: None, window: 33, initial: 4 },
];

fn dims(queries: usize, keys: usize, head_dim: usize) -> AttentionDims {
    AttentionDims {
        batch: 1,
        queries,
        keys,
        heads: 2,
        kv_heads: 2,
        head_dim,
        scale: (head_dim as f32).sqrt().recip(),
        pattern: Pattern::Causal,
    }
}

struct Inputs {
    q: Tensor,
    k: Tensor,
    v: Tensor,
    doutput: Tensor,
}

/// Queries and keys are stretched so that the softmax is neither flat nor one-hot.
fn inputs(dims: AttentionDims) -> Inputs {
    let device = device();
    let make = |rows: usize, heads: usize, seed: u64, factor: f32| {
        let shape = [rows, heads * dims.head_dim];
        let values: Vec<f32> = noise(shape[0] * shape[1], seed).iter().map(|x| factor * x).collect();
        activations(&values, &shape, &device)
    };
    Inputs {
        q: make(dims.batch * dims.queries, dims.heads, 1, 2.0),
        k: make(dims.batch * dims.keys, dims.kv_heads, 2, 2.0),
        v: make(dims.batch * dims.keys, dims.kv_heads, 3, 1.0),
        doutput: make(dims.batch * dims.queries, dims.heads, 4, 1.0),
    }
}

fn host(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().expect("floats")
}

/// Compares outputs and gradients with the reference: those of every variant that serves the call on a GPU.
#[track_caller]
fn check(dims: AttentionDims) {
    let device = device();
    let tolerance = tolerance(&device, TOLERANCE_F32, TOLERANCE_BF16);
    let Inputs { q, k, v, doutput } = inputs(dims);
    let (want, want_lse) = reference::attention(&host(&q), &host(&k), &host(&v), dims);
    let (dq, dk, dv) = reference::backward(&host(&doutput), [&host(&q), &host(&k), &host(&v)], dims);
    let compare = |variant: &str, attended: &Attended, grads: &AttentionGrads| {
        let close = |what: &str, got: &Tensor, want: &[f64], tolerance: f32| {
            assert_close(&format!("{variant} {what} of {dims:?}"), &host(got), &narrow(want), tolerance);
        };
        close("output", &attended.output, &want, tolerance);
        close("lse", &attended.lse, &want_lse, tolerance);
        close("dq", &grads.dq, &dq, 2.0 * tolerance);
        close("dk", &grads.dk, &dk, 2.0 * tolerance);
        close("dv", &grads.dv, &dv, 2.0 * tolerance);
    };
    let Device::Cuda(gpu) = &device else {
        let attended = attention(&q, &k, &v, dims).expect("attention");
        let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
        return compare("cpu", &attended, &backward(&doutput, saved, dims).expect("backward"));
    };
    for variant in [CudaVariant::Portable, CudaVariant::Hopper] {
        if variant.serves(gpu, dims) {
            let attended = variant.attention(&q, &k, &v, dims).expect("attention");
            let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
            let grads = variant.backward(&doutput, saved, dims).expect("backward");
            compare(&format!("{variant:?}"), &attended, &grads);
        }
    }
}

#[test]
fn odd_lengths() {
    for keys in [1, 2, 63, 64, 65, 130, 257] {
        check(dims(keys, keys, 64));
    }
}

#[test]
fn lengths_of_several_tiles_with_grouped_heads() {
    for head_dim in [64, 128] {
        for (queries, keys) in [(1, 1), (5, 131), (130, 130), (200, 263), (385, 513)] {
            check(AttentionDims { batch: 2, heads: 4, kv_heads: 2, ..dims(queries, keys, head_dim) });
        }
    }
}

#[test]
fn odd_head_dims() {
    for head_dim in [8, 32, 40, 64, 80, 96, 128] {
        check(dims(67, 67, head_dim));
    }
}

#[test]
fn fewer_queries_than_keys() {
    for (queries, keys) in [(1, 1), (1, 130), (5, 131), (64, 257), (200, 263)] {
        check(dims(queries, keys, 32));
    }
}

#[test]
fn grouped_heads_and_batches() {
    for (heads, kv_heads) in [(4, 1), (6, 2), (8, 4)] {
        check(AttentionDims { batch: 3, heads, kv_heads, ..dims(45, 77, 40) });
    }
}

#[test]
fn every_pattern() {
    for pattern in PATTERNS {
        check(AttentionDims { pattern, ..dims(257, 257, 40) });
        check(AttentionDims { pattern, heads: 4, batch: 2, ..dims(70, 203, 64) });
        check(AttentionDims { pattern, ..dims(1, 5, 32) });
    }
}

#[test]
fn patterns_whose_gathered_keys_many_queries_see() {
    for (dilation, window, initial) in [(64, 0, 0), (3, 5, 2), (40, 70, 200)] {
        let pattern = Pattern::Dilated { dilation: Some(dilation), window, initial };
        check(AttentionDims { pattern, heads: 2, kv_heads: 1, ..dims(700, 700, 64) });
        check(AttentionDims { pattern, ..dims(1030, 1100, 24) });
    }
}

#[test]
fn keys_in_bf16_are_read_as_they_are_on_the_cpu() {
    let dims = dims(50, 130, 64);
    let Inputs { q, k, v, .. } = inputs(dims);
    let rounded = |tensor: &Tensor| {
        let values: Vec<half::bf16> = host(tensor).iter().map(|&x| half::bf16::from_f32(x)).collect();
        Tensor::from_bytes(bytemuck::cast_slice(&values), tensor.shape(), DType::BF16, &device())
            .expect("bf16")
    };
    let (k, v) = (rounded(&k), rounded(&v));
    let (want, _) = reference::attention(&host(&q), &host(&k), &host(&v), dims);
    let got = attention(&q, &k, &v, dims).expect("attention");
    let tolerance = tolerance(&device(), TOLERANCE_F32, TOLERANCE_BF16);
    assert_close("output", &host(&got.output), &narrow(&want), tolerance);
}

#[test]
fn an_undilated_pattern_is_causal() {
    let causal = dims(100, 130, 64);
    let dense =
        AttentionDims { pattern: Pattern::Dilated { dilation: Some(1), window: 0, initial: 0 }, ..causal };
    let Inputs { q, k, v, .. } = inputs(causal);
    let want = attention(&q, &k, &v, causal).expect("causal");
    let got = attention(&q, &k, &v, dense).expect("dense");
    let tolerance = tolerance(&device(), TOLERANCE_F32, TOLERANCE_BF16);
    assert_close("output", &host(&got.output), &host(&want.output), tolerance);
}

#[test]
fn the_references_gradients_are_those_of_its_forward() {
    let dims = AttentionDims {
        batch: 2,
        heads: 4,
        pattern: Pattern::Dilated { dilation: Some(3), window: 1, initial: 1 },
        ..dims(5, 7, 4)
    };
    let inputs: [Vec<f32>; 3] = [
        noise(dims.batch * dims.queries * dims.heads * dims.head_dim, 11),
        noise(dims.batch * dims.keys * dims.kv_heads * dims.head_dim, 12),
        noise(dims.batch * dims.keys * dims.kv_heads * dims.head_dim, 13),
    ];
    let doutput = noise(inputs[0].len(), 14);
    let loss = |[q, k, v]: &[Vec<f32>; 3]| -> f64 {
        let (output, _) = reference::attention(q, k, v, dims);
        output.iter().zip(&doutput).map(|(o, d)| o * f64::from(*d)).sum()
    };
    let (dq, dk, dv) = reference::backward(&doutput, [&inputs[0], &inputs[1], &inputs[2]], dims);
    for (which, grads) in [dq, dk, dv].iter().enumerate() {
        for (i, grad) in grads.iter().enumerate() {
            let moved = |step: f32| {
                let mut inputs = inputs.clone();
                inputs[which][i] += step;
                (loss(&inputs), f64::from(inputs[which][i]))
            };
            let ((up, at_up), (down, at_down)) = (moved(1e-3), moved(-1e-3));
            let slope = (up - down) / (at_up - at_down);
            assert!((slope - grad).abs() < 1e-6, "input {which}[{i}]: {grad}, but the slope is {slope}");
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let good = dims(5, 7, 8);
    let Inputs { q, k, v, .. } = inputs(good);
    for bad in [
        AttentionDims { heads: 3, ..good },
        AttentionDims { queries: 8, ..good },
        AttentionDims { head_dim: 4, ..good },
        AttentionDims { kv_heads: 0, ..good },
        AttentionDims { pattern: Pattern::Dilated { dilation: Some(0), window: 1, initial: 0 }, ..good },
    ] {
        attention(&q, &k, &v, bad).expect_err("a shape error");
    }
}

/// Lengths that cut two sequences of 83 rows into documents, and the first position of each row's document.
const PACKED: [&[usize]; 2] = [&[1, 20, 20, 5, 37], &[70, 13]];

fn packed() -> (crate::Documents, Vec<usize>) {
    let mut starts = Vec::new();
    for lengths in PACKED {
        let mut start = 0;
        for &length in lengths {
            starts.extend(std::iter::repeat_n(start, length));
            start += length;
        }
    }
    (crate::Documents::new(PACKED.concat()), starts)
}

#[test]
fn documents_are_kept_apart() {
    let tolerance = tolerance(&device(), TOLERANCE_F32, TOLERANCE_BF16);
    let (documents, starts) = packed();
    for pattern in PATTERNS {
        let dims = AttentionDims { batch: 2, heads: 4, pattern, ..dims(83, 83, 32) };
        let Inputs { q, k, v, doutput } = inputs(dims);
        let host = [host(&q), host(&k), host(&v)];
        let host = [&host[0][..], &host[1][..], &host[2][..]];
        let (want, _) = reference::attention_from(host, dims, Some(&starts));
        let attended = attention_documents(&q, &k, &v, dims, &documents).expect("attention");
        let name = format!("{pattern:?}");
        assert_close(&name, &attended.output.to_f32_vec().expect("floats"), &narrow(&want), tolerance);
        let doutput_host = doutput.to_f32_vec().expect("floats");
        let (dq, dk, dv) = reference::backward_from(&doutput_host, host, dims, Some(&starts));
        let saved = AttentionSaved { q: &q, k: &k, v: &v, attended: &attended };
        let grads = backward_documents(&doutput, saved, dims, &documents).expect("backward");
        for (part, got, want) in [("dq", &grads.dq, dq), ("dk", &grads.dk, dk), ("dv", &grads.dv, dv)] {
            let got = got.to_f32_vec().expect("floats");
            assert_close(&format!("{part} of {name}"), &got, &narrow(&want), 2.0 * tolerance);
        }
    }
}

#[test]
fn documents_that_do_not_cover_the_rows_are_an_error() {
    let dims = dims(10, 10, 32);
    let Inputs { q, k, v, .. } = inputs(dims);
    let error = attention_documents(&q, &k, &v, dims, &crate::Documents::new([4, 5])).expect_err("9 rows");
    assert!(error.to_string().contains("documents of 10 rows"), "{error}");
}

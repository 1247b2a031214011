//! The memory against its definition: odd widths, windows of a fused projection, chunked prompts.

use super::*;
use crate::testing::{
    activation_dtype, assert_close, assert_gradient, assert_tensor_close, columns, device, dot, noise,
    noise_f64, noise_pair, rounded,
};

fn tolerance(device: &Device) -> f32 {
    if activation_dtype(device) == DType::BF16 { 1e-2 } else { 2e-6 }
}

/// Sequences, tokens, channels.
const SIZES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (1, 1, 64), (3, 1, 96), (2, 63, 40), (1, 130, 64), (2, 130, 200), (3, 17, 129)];

/// Column `c` of sequence `b` of a [batch * tokens, width] matrix.
fn channel(values: &[f64], [b, tokens, width, c]: [usize; 4]) -> Vec<f64> {
    (0..tokens).map(|t| values[(b * tokens + t) * width + c]).collect()
}

#[test]
fn definition_agrees_with_finite_differences() {
    let (x, f, dy) = (noise_f64(6, 1), noise_f64(6, 2), noise_f64(6, 3));
    let (dx, df, dinitial) = reference::backward(&dy, &x, &f, 0.7);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::scan(x, &f, 0.7), &dy));
    assert_gradient("df", &f, &df, |f| dot(&reference::scan(&x, f, 0.7), &dy));
    assert_gradient("dinitial", &[0.7], &[dinitial], |h| dot(&reference::scan(&x, &f, h[0]), &dy));
    let resets = [2, 3];
    let (dx, df, _) = reference::backward_from([&dy, &x, &f], 0.7, &resets);
    assert_gradient("dx", &x, &dx, |x| dot(&reference::scan_from(x, &f, 0.7, &resets), &dy));
    assert_gradient("df", &f, &df, |f| dot(&reference::scan_from(&x, f, 0.7, &resets), &dy));
}

#[test]
fn states_and_gradients_match_the_definition() {
    let device = device();
    for (batch, tokens, width) in SIZES {
        for with_initial in [false, true] {
            check(&device, ScanDims { batch, tokens }, width, with_initial);
        }
    }
}

#[track_caller]
fn check(device: &Device, dims: ScanDims, width: usize, with_initial: bool) {
    let ScanDims { batch, tokens } = dims;
    let (n, stride) = (batch * tokens, 4 * width + 3);
    let (fused, fused64) = noise_pair(&[n, stride], 1, device);
    let part = |i: usize| (fused.cols(i * width + 3, width), columns(&fused64, stride, i * width + 3, width));
    let ((keys, keys64), (values, values64), (gates, gates64)) = (part(0), part(1), part(3));
    let (initial, initial64) = rounded(&noise(batch * 2 * width, 2), &[batch, 2, width], DType::F32, device);
    let initial = with_initial.then_some(&initial);
    let ((dkeys, dkeys64), (dvalues, dvalues64)) =
        (noise_pair(&[n, width], 3, device), noise_pair(&[n, width], 4, device));

    let mut want = [vec![0.0; n * width], vec![0.0; n * width]];
    let (mut state, mut grads) = (vec![0.0; batch * 2 * width], vec![0.0; n * 3 * width]);
    let mut dinitial = vec![0.0; batch * 2 * width];
    for b in 0..batch {
        for c in 0..width {
            let of = |values: &[f64]| channel(values, [b, tokens, width, c]);
            let f = of(&gates64);
            for (side, (x, dy)) in [(&keys64, &dkeys64), (&values64, &dvalues64)].into_iter().enumerate() {
                let at = (2 * b + side) * width + c;
                let first = if with_initial { initial64[at] } else { 0.0 };
                let h = reference::scan(&of(x), &f, first);
                state[at] = h[tokens - 1];
                let (dx, df, dfirst) = reference::backward(&of(dy), &of(x), &f, first);
                dinitial[at] = dfirst;
                for t in 0..tokens {
                    let i = b * tokens + t;
                    want[side][i * width + c] = h[t];
                    grads[i * 3 * width + side * width + c] = dx[t];
                    grads[i * 3 * width + 2 * width + c] += df[t];
                }
            }
        }
    }

    let name = format!("{dims:?} {width} {with_initial}");
    let scanned = scan(keys, values, gates, dims, initial).unwrap();
    assert_tensor_close(&format!("{name} keys"), &scanned.keys, &want[0], tolerance(device));
    assert_tensor_close(&format!("{name} values"), &scanned.values, &want[1], tolerance(device));
    assert_tensor_close(&format!("{name} state"), &scanned.state, &state, 2e-6);

    let saved = ScanSaved {
        keys,
        values,
        gate_logits: gates,
        scanned_keys: &scanned.keys,
        scanned_values: &scanned.values,
        initial,
    };
    let (mut out, before) = noise_pair(&[n, 3 * width + 2], 5, device);
    let got = backward(&dkeys, &dvalues, saved, dims, out.cols_mut(1, 3 * width)).unwrap();
    let mut want = before;
    for (row, grads) in want.chunks_exact_mut(3 * width + 2).zip(grads.chunks_exact(3 * width)) {
        row[1..1 + 3 * width].copy_from_slice(grads);
    }
    assert_tensor_close(&format!("{name} gradients"), &out, &want, tolerance(device));
    assert_eq!(got.is_some(), with_initial);
    if let Some(got) = got {
        assert_tensor_close(&format!("{name} dinitial"), &got, &dinitial, 1e-5);
    }
}

#[test]
fn a_prompt_in_chunks_gives_the_same_states() {
    let device = device();
    let (x, _) = noise_pair(&[130, 3 * 96], 1, &device);
    let run = |x: &Tensor, initial: Option<&Tensor>| {
        let dims = ScanDims { batch: 1, tokens: x.rows() };
        scan(x.cols(0, 96), x.cols(96, 96), x.cols(192, 96), dims, initial).unwrap()
    };
    let whole = run(&x, None);
    let mut state = None;
    let mut keys = vec![];
    for (start, end) in [(0, 63), (63, 64), (64, 130)] {
        let part = run(&x.slice(start, end).unwrap(), state.as_ref());
        keys.extend(part.keys.to_f32_vec().unwrap());
        state = Some(part.state);
    }
    let (want, state) = (whole.keys.to_f32_vec().unwrap(), state.unwrap().to_f32_vec().unwrap());
    let want_state = whole.state.to_f32_vec().unwrap();
    if device.is_cpu() {
        assert_eq!(keys, want);
        assert_eq!(state, want_state);
    } else {
        // A GPU splits time into tiles that begin with the chunk.
        assert_close("keys", &keys, &want, tolerance(&device));
        assert_close("state", &state, &want_state, 2e-6);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (x, _) = noise_pair(&[6, 12], 1, &Device::Cpu);
    let run = |dims, width| scan(x.cols(0, 4), x.cols(4, 4), x.cols(8, width), dims, None);
    assert!(run(ScanDims { batch: 2, tokens: 3 }, 4).is_ok());
    assert!(run(ScanDims { batch: 2, tokens: 4 }, 4).is_err());
    assert!(run(ScanDims { batch: 2, tokens: 3 }, 3).is_err());
}

#[test]
fn the_state_is_reset_at_every_document() {
    let device = device();
    // One sequence of 99 rows; widths with and without the vector paths.
    let lengths = [1, 7, 7, 40, 44];
    let resets: Vec<usize> = (0..lengths.len()).map(|i| lengths[..i].iter().sum()).collect();
    let documents = crate::Documents::new(lengths);
    for width in [64, 37] {
        let (x, x64) = noise_pair(&[99, 3 * width], 1, &device);
        let (dkeys, dkeys64) = noise_pair(&[99, width], 2, &device);
        let (dvalues, dvalues64) = noise_pair(&[99, width], 3, &device);
        let part = |i: usize| (x.cols(i * width, width), columns(&x64, 3 * width, i * width, width));
        let ((keys, keys64), (values, values64), (gates, gates64)) = (part(0), part(1), part(2));
        let mut want = [vec![0.0; 99 * width], vec![0.0; 99 * width]];
        let mut want_grads = vec![0.0; 99 * 3 * width];
        for c in 0..width {
            let of = |values: &[f64]| channel(values, [0, 99, width, c]);
            for (side, (x, dy)) in [(&keys64, &dkeys64), (&values64, &dvalues64)].into_iter().enumerate() {
                let h = reference::scan_from(&of(x), &of(&gates64), 0.0, &resets);
                let (dx, df, _) = reference::backward_from([&of(dy), &of(x), &of(&gates64)], 0.0, &resets);
                for t in 0..99 {
                    want[side][t * width + c] = h[t];
                    want_grads[t * 3 * width + side * width + c] = dx[t];
                    want_grads[t * 3 * width + 2 * width + c] += df[t];
                }
            }
        }
        let (scanned_keys, scanned_values) = scan_documents(keys, values, gates, &documents).unwrap();
        assert_tensor_close("keys", &scanned_keys, &want[0], tolerance(&device));
        assert_tensor_close("values", &scanned_values, &want[1], tolerance(&device));
        let saved = ScanSaved {
            keys,
            values,
            gate_logits: gates,
            scanned_keys: &scanned_keys,
            scanned_values: &scanned_values,
            initial: None,
        };
        let (mut out, _) = noise_pair(&[99, 3 * width], 5, &device);
        let target = out.cols_mut(0, 3 * width);
        backward_documents(&dkeys, &dvalues, saved, &documents, target).unwrap();
        assert_tensor_close("gradients", &out, &want_grads, tolerance(&device));
    }
}

//! Selections against sorting, with ties, NaN and infinities.

use super::*;
use crate::testing::{device, noise};

#[track_caller]
fn check(scores: &[f32], valid: &[i32], k: usize, forced: Forced) {
    let rows = valid.len();
    let n = scores.len() / rows;
    let selection = top_k(
        &Tensor::from_f32(scores, &[rows, n], &device()).expect("scores"),
        &Tensor::from_i32(valid, &[rows], &device()).expect("valid"),
        k,
        forced,
    )
    .expect("top_k");
    let width = forced.width(n, k);
    assert_eq!(selection.indices.shape(), [rows, width]);
    let indices = selection.indices.to_i32_vec().expect("indices");
    let counts = selection.counts.to_i32_vec().expect("counts");
    for row in 0..rows {
        let mut want = reference::select(&scores[row * n..][..valid[row] as usize], k, forced);
        assert_eq!(counts[row] as usize, want.len(), "count of row {row}, k {k}, {forced:?}");
        want.resize(width, -1);
        assert_eq!(indices[row * width..][..width], want, "row {row}, k {k}, {forced:?}");
    }
}

const NONE: Forced = Forced { first: 0, local: 0, counted: true };

#[test]
fn noise_of_odd_lengths() {
    for n in [1, 2, 63, 64, 130, 257, 1000] {
        for k in [0, 1, 2, 16, 64, 200, 1000] {
            let scores = noise(5 * n, (n * k) as u64);
            let valid = [n as i32, 0, 1, (n / 2) as i32, n as i32];
            check(&scores, &valid, k, NONE);
            check(&scores, &valid, k, Forced { first: 1, local: 2, counted: false });
            if k >= 3 {
                check(&scores, &valid, k, Forced { first: 1, local: 2, counted: true });
            }
        }
    }
}

#[test]
fn ties_go_to_the_lower_index() {
    let coarse: Vec<f32> = noise(4 * 257, 3).iter().map(|x| (x * 3.0).round()).collect();
    for k in [1, 7, 100, 256] {
        check(&coarse, &[257, 200, 64, 3], k, NONE);
        check(&vec![0.5; 4 * 257], &[257, 200, 64, 3], k, NONE);
    }
    check(&[0.0, -0.0, 0.0, -0.0], &[4], 2, NONE);
}

#[test]
fn nan_is_lowest_and_infinities_are_ordered() {
    let scores = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY, -1.0, f32::NAN, -f32::NAN, 0.0];
    for k in 0..=8 {
        check(&scores, &[8], k, NONE);
    }
}

#[test]
fn forced_entries_overlap_in_short_rows() {
    for counted in [true, false] {
        for valid in 0..=6 {
            check(&noise(6, 1), &[valid], 5, Forced { first: 2, local: 3, counted });
        }
    }
}

#[test]
fn forced_entries_must_fit_when_they_count() {
    let scores = Tensor::from_f32(&[0.0; 8], &[1, 8], &device()).expect("scores");
    let valid = Tensor::from_i32(&[8], &[1], &device()).expect("valid");
    top_k(&scores, &valid, 2, Forced { first: 1, local: 2, counted: true }).expect_err("k of 2 for 3");
}

//! Greedy choice and draws that can be checked by hand.

use super::*;
use crate::testing::device;

const ALL: SamplingParams = SamplingParams { temperature: 1.0, top_k: 0, top_p: 1.0 };

#[test]
fn argmax_takes_the_lowest_index_and_ignores_nan() {
    let device = device();
    let rows = [[1.0, 3.0, 3.0, 2.0], [-1.0, -1.0, -1.0, -2.0], [f32::NAN, -5.0, f32::NEG_INFINITY, -5.0]];
    let logits = Tensor::from_f32(&rows.concat(), &[3, 4], &device).unwrap();
    assert_eq!(argmax(&logits).unwrap().to_i32_vec().unwrap(), [1, 0, 1]);
}

#[test]
fn draws_follow_the_probabilities() {
    // Probabilities 0.5, 0.25, 0.25, ranked 1, 0, 2.
    let logits = [0.25f32.ln(), 0.5f32.ln(), 0.25f32.ln()];
    let draw = |u| sample(&logits, ALL, u);
    assert_eq!(
        [draw(0.0), draw(0.49), draw(0.51), draw(0.74), draw(0.76), draw(0.999_999)],
        [1, 1, 0, 0, 2, 2]
    );
}

#[test]
fn temperature_sharpens_and_zero_is_greedy() {
    let logits = [0.0, 4f32.ln()];
    // Probabilities 0.2 and 0.8; at temperature 1/2, 1/17 and 16/17.
    assert_eq!(sample(&logits, ALL, 0.85), 0);
    assert_eq!(sample(&logits, SamplingParams { temperature: 0.5, ..ALL }, 0.85), 1);
    assert_eq!(sample(&logits, SamplingParams { temperature: 0.0, ..ALL }, 0.999), 1);
}

#[test]
fn top_k_and_top_p_cut_the_tail() {
    let logits = [0.1f32.ln(), 0.4f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
    let last = 0.999_999;
    assert_eq!(sample(&logits, ALL, last), 0);
    assert_eq!(sample(&logits, SamplingParams { top_k: 2, ..ALL }, last), 2);
    assert_eq!(sample(&logits, SamplingParams { top_k: 1, ..ALL }, last), 1);
    // 0.4 + 0.3 reaches 0.65; with top-k 3 the masses are 4/9, 3/9, 2/9.
    assert_eq!(sample(&logits, SamplingParams { top_p: 0.65, ..ALL }, last), 2);
    assert_eq!(sample(&logits, SamplingParams { top_k: 3, top_p: 0.8, ..ALL }, last), 3);
    assert_eq!(sample(&logits, SamplingParams { top_p: 0.0, ..ALL }, last), 1);
}

#[test]
fn nan_and_infinite_logits_are_survived() {
    assert_eq!(sample(&[f32::NAN, 1.0, f32::NAN], ALL, 0.999), 1);
    assert_eq!(sample(&[0.0, f32::INFINITY, 1.0], ALL, 0.999), 1);
    assert_eq!(sample(&[f32::NAN; 2], ALL, 0.5), 0);
}

#[test]
fn a_large_vocabulary_is_drawn_like_a_sorted_one() {
    let logits: Vec<f32> = crate::testing::noise(5000, 1).iter().map(|x| 2.0 * x).collect();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let masses: Vec<f64> = order.iter().map(|&i| f64::from(logits[i]).exp()).collect();
    let total: f64 = masses.iter().sum();
    for (top_p, uniform) in [(1.0, 0.001), (1.0, 0.5), (1.0, 0.9), (0.5, 0.3), (0.9, 0.99)] {
        let prefix = |wanted: f64| {
            let mut sum = 0.0;
            masses.iter().position(|mass| {
                sum += mass;
                sum >= wanted
            })
        };
        let kept = prefix(total * f64::from(top_p)).unwrap_or(masses.len() - 1) + 1;
        let mass: f64 = masses[..kept].iter().sum();
        let want = order[prefix(uniform * mass).unwrap()];
        assert_eq!(sample(&logits, SamplingParams { top_p, ..ALL }, uniform), want, "{top_p} {uniform}");
    }
}

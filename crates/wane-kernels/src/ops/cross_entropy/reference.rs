//! Definition of the loss and its gradients, in f64.

/// Tokens, vocabulary, hidden width.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) n: usize,
    pub(super) vocabulary: usize,
    pub(super) d: usize,
}

/// The loss of each token.
pub(super) fn losses(hidden: &[f64], head: &[f64], targets: &[i32], s: Sizes) -> Vec<f64> {
    (0..s.n)
        .map(|i| {
            let logits = logits(hidden, head, i, s);
            logits.iter().map(|x| x.exp()).sum::<f64>().ln() - logits[targets[i] as usize]
        })
        .collect()
}

fn logits(hidden: &[f64], head: &[f64], i: usize, s: Sizes) -> Vec<f64> {
    (0..s.vocabulary).map(|j| (0..s.d).map(|c| hidden[i * s.d + c] * head[j * s.d + c]).sum()).collect()
}

/// Gradients of `sum_i factors_i loss_i` by the hidden states and the head.
pub(super) fn backward(
    hidden: &[f64],
    head: &[f64],
    targets: &[i32],
    factors: &[f64],
    s: Sizes,
) -> (Vec<f64>, Vec<f64>) {
    let (mut dhidden, mut dhead) = (vec![0.0; s.n * s.d], vec![0.0; s.vocabulary * s.d]);
    for i in 0..s.n {
        let logits = logits(hidden, head, i, s);
        let sum: f64 = logits.iter().map(|x| x.exp()).sum();
        for (j, logit) in logits.iter().enumerate() {
            let target = if j == targets[i] as usize { 1.0 } else { 0.0 };
            let grad = factors[i] * (logit.exp() / sum - target);
            for c in 0..s.d {
                dhidden[i * s.d + c] += grad * head[j * s.d + c];
                dhead[j * s.d + c] += grad * hidden[i * s.d + c];
            }
        }
    }
    (dhidden, dhead)
}

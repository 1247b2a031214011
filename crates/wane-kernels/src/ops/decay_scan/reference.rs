//! Definition of the memory and its gradients, in f64, for one channel of one sequence.

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `h_t = g_t h_{t-1} + (1 - g_t) x_t` from `h_{-1} = initial`.
pub(super) fn scan(x: &[f64], logits: &[f64], initial: f64) -> Vec<f64> {
    let mut state = initial;
    x.iter()
        .zip(logits)
        .map(|(x, f)| {
            state = sigmoid(*f) * state + (1.0 - sigmoid(*f)) * x;
            state
        })
        .collect()
}

/// Gradients of the inputs, the gate logits and the initial state.
pub(super) fn backward(dy: &[f64], x: &[f64], logits: &[f64], initial: f64) -> (Vec<f64>, Vec<f64>, f64) {
    let h = scan(x, logits, initial);
    let (mut dx, mut df, mut carry) = (vec![0.0; x.len()], vec![0.0; x.len()], 0.0);
    for t in (0..x.len()).rev() {
        let g = sigmoid(logits[t]);
        let a = dy[t] + carry;
        let previous = if t > 0 { h[t - 1] } else { initial };
        dx[t] = (1.0 - g) * a;
        df[t] = g * (1.0 - g) * a * (previous - x[t]);
        carry = g * a;
    }
    (dx, df, carry)
}

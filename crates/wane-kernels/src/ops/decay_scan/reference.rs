//! Definition of the memory and its gradients, in f64, for one channel of one sequence.

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `h_t = g_t h_{t-1} + (1 - g_t) x_t` from `h_{-1} = initial`.
pub(super) fn scan(x: &[f64], logits: &[f64], initial: f64) -> Vec<f64> {
    scan_from(x, logits, initial, &[])
}

/// As [`scan`]; the state is 0 before each position of `resets`.
pub(super) fn scan_from(x: &[f64], logits: &[f64], initial: f64, resets: &[usize]) -> Vec<f64> {
    let mut state = initial;
    x.iter()
        .zip(logits)
        .enumerate()
        .map(|(t, (x, f))| {
            if resets.contains(&t) {
                state = 0.0;
            }
            state = sigmoid(*f) * state + (1.0 - sigmoid(*f)) * x;
            state
        })
        .collect()
}

/// Gradients of the inputs, the gate logits and the initial state.
pub(super) fn backward(dy: &[f64], x: &[f64], logits: &[f64], initial: f64) -> (Vec<f64>, Vec<f64>, f64) {
    backward_from([dy, x, logits], initial, &[])
}

/// As [`backward`], of [`scan_from`].
pub(super) fn backward_from(
    [dy, x, logits]: [&[f64]; 3],
    initial: f64,
    resets: &[usize],
) -> (Vec<f64>, Vec<f64>, f64) {
    let h = scan_from(x, logits, initial, resets);
    let (mut dx, mut df, mut carry) = (vec![0.0; x.len()], vec![0.0; x.len()], 0.0);
    for t in (0..x.len()).rev() {
        let g = sigmoid(logits[t]);
        let a = dy[t] + carry;
        let is_reset = resets.contains(&t);
        let previous = match t {
            _ if is_reset => 0.0,
            0 => initial,
            _ => h[t - 1],
        };
        dx[t] = (1.0 - g) * a;
        df[t] = g * (1.0 - g) * a * (previous - x[t]);
        carry = if is_reset { 0.0 } else { g * a };
    }
    (dx, df, carry)
}

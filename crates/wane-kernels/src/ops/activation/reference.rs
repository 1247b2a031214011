//! Definition of the elementwise operators, in f64.

/// `1 / (1 + e^-x)`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `silu(gate) up`.
pub(super) fn swiglu(gate: f64, up: f64) -> f64 {
    gate * sigmoid(gate) * up
}

/// Derivatives of [`swiglu`] by gate and up.
pub(super) fn swiglu_gradient(gate: f64, up: f64) -> (f64, f64) {
    let s = sigmoid(gate);
    (up * (s + gate * s * (1.0 - s)), gate * s)
}

/// `x Phi(x)`.
pub(super) fn gelu(x: f64) -> f64 {
    x * normal_cdf(x)
}

/// Derivative of [`gelu`].
pub(super) fn gelu_gradient(x: f64) -> f64 {
    normal_cdf(x) + x * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// `1/2 + phi(x) (x + x^3/3 + x^5/(3 5) + ...)`: converges everywhere, exact enough for |x| < 6.
fn normal_cdf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= x * x / f64::from(2 * n + 1);
        sum += term;
    }
    0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

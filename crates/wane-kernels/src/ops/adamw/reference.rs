//! Definition of one AdamW step, in f64.

use super::AdamwStep;

/// New weight and moments of one parameter; `clip` scales the gradient.
pub(super) fn step([w, m, v, grad]: [f64; 4], clip: f64, config: AdamwStep) -> [f64; 3] {
    let (beta1, beta2) = (f64::from(config.beta1), f64::from(config.beta2));
    let (lr, decay) = (f64::from(config.lr), f64::from(config.weight_decay));
    let g = grad * clip;
    let m = beta1 * m + (1.0 - beta1) * g;
    let v = beta2 * v + (1.0 - beta2) * g * g;
    let m_hat = m / (1.0 - beta1.powi(config.step as i32));
    let v_hat = v / (1.0 - beta2.powi(config.step as i32));
    [w - lr * decay * w - lr * m_hat / (v_hat.sqrt() + f64::from(config.eps)), m, v]
}

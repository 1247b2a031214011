//! AdamW with decoupled weight decay (arXiv 1711.05101), global-norm clipping and f32 master
//! weights.
//!
//! `g = clip grad`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
//! `w = (1 - lr decay) w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`.

mod cpu;
mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Tensor};

/// Settings of one step for one parameter.
#[derive(Debug, Clone, Copy)]
pub struct AdamwStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay: `w -= lr * decay * w`.
    pub weight_decay: f32,
    /// Number of this step, from 1.
    pub step: u64,
}

/// What the settings say once for all elements: `w = keep w - rate m / (sqrt(unbias2 v) + eps)`.
#[derive(Debug, Clone, Copy)]
struct Factors {
    /// `lr / (1 - beta1^t)`.
    rate: f32,
    /// `1 / (1 - beta2^t)`.
    unbias2: f32,
    /// `1 - lr weight_decay`.
    keep: f32,
}

impl AdamwStep {
    fn factors(&self) -> Factors {
        let unbias = |beta: f32| 1.0 - f64::from(beta).powf(self.step as f64);
        Factors {
            rate: (f64::from(self.lr) / unbias(self.beta1)) as f32,
            unbias2: (1.0 / unbias(self.beta2)) as f32,
            keep: 1.0 - self.lr * self.weight_decay,
        }
    }
}

/// State of one parameter.
#[derive(Debug)]
pub struct AdamwState {
    /// f32 weights that the optimizer owns.
    pub master: Tensor,
    /// First moment.
    pub m: Tensor,
    /// Second moment.
    pub v: Tensor,
}

/// The global norm of all gradients, f32 \[1] on their device: nothing waits for the host.
///
/// # Errors
/// The device failed.
pub fn global_norm(grads: &[&Tensor]) -> Result<Tensor> {
    if let Some(other) = grads.iter().find(|grad| grad.dtype() != DType::F32) {
        return Err(Error::shape("global_norm", "f32 gradients", format!("{other:?}")));
    }
    match grads.first().map_or(&Device::Cpu, |t| t.device()) {
        Device::Cpu => cpu::global_norm(grads),
        Device::Cuda(_) => cuda::global_norm(grads),
    }
}

/// One step: the gradient is scaled by `min(1, max_norm / norm)` (no clipping if `max_norm` is 0;
/// no change at all if `norm` is not finite), master weights and moments are updated, and
/// `working` receives the new weights in its dtype.
///
/// # Errors
/// Shapes that do not fit.
pub fn step(
    state: &mut AdamwState,
    grad: &Tensor,
    norm: &Tensor,
    max_norm: f32,
    config: AdamwStep,
    working: &mut Tensor,
) -> Result<()> {
    let shape = grad.shape();
    for (name, tensor) in [("grad", grad), ("master", &state.master), ("m", &state.m), ("v", &state.v)] {
        tensor.expect("adamw", name, DType::F32, shape)?;
    }
    norm.expect("adamw", "norm", DType::F32, &[1])?;
    if working.dtype() == DType::I32 || working.len() != grad.len() {
        return Err(Error::shape(
            "adamw",
            format!("float working weights {shape:?}"),
            format!("{working:?}"),
        ));
    }
    if config.step == 0 {
        return Err(Error::shape("adamw", "steps counted from 1", 0));
    }
    match grad.device() {
        Device::Cpu => cpu::step(state, grad, norm, max_norm, config, working),
        Device::Cuda(_) => cuda::step(state, grad, norm, max_norm, config, working),
    }
}

//! adamw on the CPU.

use super::{AdamwState, AdamwStep};
use crate::{Error, Result, Tensor};

pub(super) fn global_norm(_grads: &[&Tensor]) -> Result<Tensor> {
    Err(Error::unsupported("adamw::global_norm", "cpu"))
}

pub(super) fn step(
    _state: &mut AdamwState,
    _grad: &Tensor,
    _norm: &Tensor,
    _max_norm: f32,
    _config: AdamwStep,
    _working: &mut Tensor,
) -> Result<()> {
    Err(Error::unsupported("adamw::step", "cpu"))
}

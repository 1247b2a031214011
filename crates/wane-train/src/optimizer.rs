//! AdamW over all parameters of a decoder, in groups: norms and biases never decay, the memory has its own
//! learning rate and decay. Master weights and moments are f32; the decoder's weights receive each
//! update in their own dtype. Nothing waits for the device.

use wane_kernels::ops::adamw::{self, AdamwState, AdamwStep};
use wane_kernels::ops::cast::cast;
use wane_kernels::{DType, Tensor};
use wane_model::decoder::{Decoder, Gradients, ParameterKind};

use crate::Result;
use crate::config::Optimizer as Table;

/// Learning rate and decay of one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Peak learning rate.
    pub lr: f64,
    /// Decoupled decay.
    pub weight_decay: f64,
}

impl Group {
    /// The group of parameters of a kind.
    pub fn of(kind: ParameterKind, table: &Table) -> Self {
        let memory_lr = table.memory_lr.unwrap_or(table.lr);
        match kind {
            ParameterKind::MemoryGate => {
                Self { lr: memory_lr, weight_decay: table.memory_weight_decay.unwrap_or(table.weight_decay) }
            }
            ParameterKind::MemoryGateBias => Self { lr: memory_lr, weight_decay: 0.0 },
            ParameterKind::Norm | ParameterKind::Bias => Self { lr: table.lr, weight_decay: 0.0 },
            ParameterKind::Matrix | ParameterKind::Embedding => {
                Self { lr: table.lr, weight_decay: table.weight_decay }
            }
        }
    }
}

/// The optimizer's state of a whole decoder.
#[derive(Debug)]
pub struct Optimizer {
    table: Table,
    groups: Vec<Group>,
    states: Vec<AdamwState>,
    step: u64,
}

impl Optimizer {
    /// Fresh state: master weights are the decoder's, moments are zero.
    ///
    /// # Errors
    /// Quantized weights, or the device is out of memory.
    pub fn new(decoder: &mut Decoder, table: &Table) -> Result<Self> {
        let groups: Vec<Group> = decoder.parameters().iter().map(|p| Group::of(p.kind, table)).collect();
        let mut states = Vec::with_capacity(groups.len());
        for i in 0..groups.len() {
            let weight = decoder.parameter_mut(i)?;
            // Weights may share memory with the checkpoint they were read from; updates need their own.
            *weight = weight.duplicate()?;
            let master = match weight.dtype() {
                DType::F32 => weight.duplicate()?,
                _ => cast(weight, DType::F32)?,
            };
            let zeros = || Tensor::zeros(master.shape(), DType::F32, master.device());
            states.push(AdamwState { m: zeros()?, v: zeros()?, master });
        }
        Ok(Self { table: table.clone(), groups, states, step: 0 })
    }

    /// Optimizer steps done.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// State of each parameter, in the decoder's order.
    pub fn states(&self) -> &[AdamwState] {
        &self.states
    }

    /// Takes over saved state; the decoder's weights become the master weights.
    ///
    /// # Errors
    /// The device failed.
    pub fn restore(&mut self, decoder: &mut Decoder, states: Vec<AdamwState>, step: u64) -> Result<()> {
        for (i, state) in states.iter().enumerate() {
            let weight = decoder.parameter_mut(i)?;
            *weight = match weight.dtype() {
                DType::F32 => state.master.duplicate()?,
                dtype => cast(&state.master, dtype)?,
            };
        }
        self.states = states;
        self.step = step;
        Ok(())
    }

    /// One step with all learning rates times `factor`; returns the global norm before clipping, f32 \[1]
    /// on the device.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(&mut self, decoder: &mut Decoder, gradients: &Gradients, factor: f64) -> Result<Tensor> {
        self.step += 1;
        let tensors: Vec<&Tensor> = gradients.tensors().iter().collect();
        let norm = adamw::global_norm(&tensors)?;
        for (i, state) in self.states.iter_mut().enumerate() {
            let config = AdamwStep {
                lr: (self.groups[i].lr * factor) as f32,
                beta1: self.table.betas[0] as f32,
                beta2: self.table.betas[1] as f32,
                eps: self.table.eps as f32,
                weight_decay: self.groups[i].weight_decay as f32,
                step: self.step,
            };
            adamw::step(state, tensors[i], &norm, self.table.clip as f32, config, decoder.parameter_mut(i)?)?;
        }
        Ok(norm)
    }
}

//! Adds the decaying memory to a model that has none, ready for continued training.
//!
//! The gate's weights start at zero, so that every channel starts with the gate `sigmoid(bias)`
//! whatever the input: a constant (near 0 leaves the function nearly unchanged), or half-lives
//! spread over the channels of each head (see [`GateBias`]).

use wane_kernels::{Device, Tensor, Weight};

use super::Checkpoint;
use crate::config::{Architecture, MemoryConfig, MemoryStateDtype};
use crate::decoder::initialize::GateBias;
use crate::{Error, Result};

impl Checkpoint {
    /// Adds a memory with a gate bias to every layer.
    ///
    /// # Errors
    /// The model has a memory already.
    pub fn add_memory(&mut self, bias: GateBias) -> Result<()> {
        if self.config.memory.is_some() {
            return Err(Error::Invalid(format!("{} has a memory already", self.path.display())));
        }
        let (width, hidden) = (self.config.kv_width(), self.config.hidden_size);
        let head_dim = self.config.head_dim;
        let biases: Vec<f32> = (0..width).map(|i| bias.value(i % head_dim, head_dim)).collect();
        for layer in 0..self.config.num_hidden_layers {
            let name = format!("model.layers.{layer}.self_attn.memory_gate");
            let bias = Tensor::from_f32(&biases, &[width], &Device::Cpu)?;
            let weight = Tensor::from_f32(&vec![0.0; width * hidden], &[width, hidden], &Device::Cpu)?;
            self.weights.insert(format!("{name}.bias"), Weight::Dense(bias));
            self.weights.insert(format!("{name}.weight"), Weight::Dense(weight));
        }
        self.config.architecture = Architecture::Wane;
        self.config.memory = Some(MemoryConfig { gate_bias: true, state_dtype: MemoryStateDtype::F32 });
        Ok(())
    }
}

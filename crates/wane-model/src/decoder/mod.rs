//! The one decoder: RAT+ (output gate, with and without memory), Llama, Mistral, OLMo2, Qwen2,
//! Qwen3, SmolLM2; for training and for generation.
//!
//! One block (arXiv 2605.28640, section 2; arXiv 2602.18196), with the parts that a family lacks left out:
//! `h = norm(x)`, `[o q k v f] = h W`, `q, k = qk_norm(q, k)`, `k~, v~ = decay_scan(k, v, sigmoid(f))`,
//! `q, k~ = rope(q, k~)`, `y = attention(q, k~, v~) * sigmoid(o)`, `x += y W_o`, `x += ffn(norm(x))`.
//!
//! - [`parameters`]: what is learned, under which name, and how it is loaded and initialized;
//! - `block`: one block forward, shared by training and generation;
//! - `backward`: its gradients;
//! - `training`: losses and gradients of a batch;
//! - `inference`: prefill of one sequence, one decode step of many.

mod backward;
mod block;
mod gates;
mod inference;
pub mod initialize;
pub mod parameters;
#[cfg(test)]
mod tests;
mod training;

use std::sync::Arc;

use wane_kernels::ops::rope::RopeTable;
use wane_kernels::{DType, Device, Tensor, Weight};

use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::{Error, Result};
use parameters::{Collector, LayerIndices};
pub use parameters::{Parameter, ParameterKind};

pub use gates::MemoryTrace;
pub use inference::{CacheOptions, DEFAULT_CHUNK};
pub use training::{Batch, Gradients, Isolation, Keep, TrainOptions};

/// How weights are held in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions {
    /// Convert dense weights to this type; `None` keeps what the file has (CPU) or takes bf16 (CUDA).
    pub dtype: Option<DType>,
}

/// A decoder-only language model with its weights on one device.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    device: Device,
    parameters: Vec<Parameter>,
    embedding: usize,
    layers: Vec<LayerIndices>,
    final_norm: usize,
    // The embedding itself if tied.
    head: usize,
    rope: Arc<RopeTable>,
}

impl Decoder {
    /// Takes the weights of a checkpoint.
    ///
    /// # Errors
    /// A missing or misshapen tensor; quantized weights on CUDA; out of memory.
    pub fn load(checkpoint: &Checkpoint, device: &Device, options: LoadOptions) -> Result<Self> {
        let fetch = |name: &str| Ok(checkpoint.weights.get(name).cloned());
        Self::collect(&checkpoint.config, device, options.dtype, &fetch)
    }

    /// Builds the model from whatever `fetch` returns for each canonical name.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn collect(
        config: &ModelConfig,
        device: &Device,
        dtype: Option<DType>,
        fetch: &dyn Fn(&str) -> Result<Option<Weight>>,
    ) -> Result<Self> {
        config.validate()?;
        let mut collector = Collector::new(device, dtype, fetch);
        let embedding = collector.embedding(config)?;
        let layers =
            (0..config.num_hidden_layers).map(|i| collector.layer(config, i)).collect::<Result<Vec<_>>>()?;
        let final_norm = collector.norm("model.norm.weight", config.hidden_size)?;
        let head = if config.tie_word_embeddings { embedding } else { collector.head(config)? };
        let rope = crate::rope::rope_table(config, config.max_position_embeddings, device)?;
        Ok(Self {
            config: config.clone(),
            device: device.clone(),
            parameters: collector.finish(),
            embedding,
            layers,
            final_norm,
            head,
            rope: Arc::new(rope),
        })
    }

    /// Sizes and choices.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Everything that is learned, in a fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The working weights of parameter `index`, for the optimizer to overwrite.
    ///
    /// # Errors
    /// The parameter is quantized.
    pub fn parameter_mut(&mut self, index: usize) -> Result<&mut Tensor> {
        let parameter = &mut self.parameters[index];
        match &mut parameter.weight {
            Weight::Dense(tensor) => Ok(tensor),
            Weight::Quantized(_) => Err(Error::Invalid(format!(
                "{} is quantized and cannot be trained: run `wane convert` first",
                parameter.name
            ))),
        }
    }

    /// Number of learned values.
    pub fn num_parameters(&self) -> usize {
        self.parameters.iter().map(|p| p.weight.rows() * p.weight.columns()).sum()
    }

    /// All weights under their canonical names (fused projections taken apart).
    ///
    /// # Errors
    /// A slice failed.
    pub fn state_dict(&self) -> Result<Vec<(String, Weight)>> {
        let mut all = Vec::new();
        for parameter in &self.parameters {
            match &parameter.weight {
                Weight::Dense(tensor) => {
                    all.extend(parameter.split(tensor)?.into_iter().map(|(n, t)| (n, Weight::Dense(t))));
                }
                Weight::Quantized(_) => all.push((parameter.name.clone(), parameter.weight.clone())),
            }
        }
        Ok(all)
    }

    /// Type of the activations: f32 on the CPU, bf16 on CUDA.
    pub fn activation_dtype(&self) -> DType {
        if self.device.is_cpu() { DType::F32 } else { DType::BF16 }
    }

    fn weight(&self, index: usize) -> &Weight {
        &self.parameters[index].weight
    }

    fn dense(&self, index: usize) -> Result<&Tensor> {
        Ok(self.parameters[index].weight.dense()?)
    }
}

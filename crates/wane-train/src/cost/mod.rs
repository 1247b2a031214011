//! What a run costs, from its configuration alone: parameters, FLOPs, peak memory.
//!
//! FLOPs of a token, forward: 2 for each weight of a matrix product (the head included, the embedding's
//! look-up not), plus `4 * heads * head_dim` for each key that a query sees, averaged over the row; forward
//! and backward together are three times that. Recomputation is not counted: the utilization is that of the
//! model. Memory is predicted in `memory.rs`.

mod memory;

use wane_kernels::Device;
use wane_kernels::ops::attention::Pattern;
use wane_model::ModelConfig;

use crate::config::RunConfig;
use memory::peak_bytes;

/// Type of weights and activations on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elements {
    /// The CPU's.
    F32,
    /// CUDA's.
    BF16,
}

impl Elements {
    /// What `device` computes with.
    pub fn of(device: &Device) -> Self {
        if device.is_cpu() { Self::F32 } else { Self::BF16 }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::BF16 => 2,
        }
    }

    /// What the allocator of such a device takes for a tensor of that size.
    fn rounded(self, bytes: u64) -> u64 {
        match self {
            Self::F32 => wane_kernels::CpuBuffer::size_class(bytes as usize) as u64,
            Self::BF16 => wane_kernels::cuda::rounded(bytes as usize) as u64,
        }
    }
}

/// Costs of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Learned values.
    pub parameters: u64,
    /// Steps of the run.
    pub steps: u64,
    /// Tokens of the run; those of second passes are not counted twice.
    pub tokens: u64,
    /// FLOPs of the whole run, second passes included.
    pub flops: f64,
    /// Predicted peak memory of the device in bytes.
    pub bytes: u64,
}

impl Cost {
    /// Of a run of `model`.
    pub fn of(config: &RunConfig, model: &ModelConfig, elements: Elements) -> Self {
        let steps = config.steps();
        let base = config.adaptation.as_ref().map_or(Pattern::Causal, |a| a.pattern());
        let dense = step_flops(config, model, base);
        let joint = (0..steps).filter(|step| config.is_joint_step(*step)).count() as f64;
        let second = config.joint.as_ref().map_or(0.0, |j| step_flops(config, model, j.pattern()));
        Self {
            parameters: parameters(model),
            steps,
            tokens: steps * config.tokens_per_step(),
            flops: steps as f64 * dense + joint * second,
            bytes: peak_bytes(config, model, elements),
        }
    }
}

impl Cost {
    /// Predicted peak memory of each of `size` processes that share every batch.
    pub fn bytes_of_part(config: &RunConfig, model: &ModelConfig, elements: Elements, size: usize) -> u64 {
        let mut part = config.clone();
        part.training.batch /= size.max(1);
        peak_bytes(&part, model, elements)
    }
}

/// Learned values of a model.
pub fn parameters(model: &ModelConfig) -> u64 {
    model.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
}

/// FLOPs of one pass, forward and backward, over all tokens of a step.
pub fn step_flops(config: &RunConfig, model: &ModelConfig, pattern: Pattern) -> f64 {
    let sequence = config.training.sequence;
    let weights: usize = model
        .parameters()
        .iter()
        .filter(|(name, shape)| shape.len() == 2 && !name.contains("embed_tokens"))
        .map(|(_, shape)| shape[0] * shape[1])
        .sum();
    let head = if model.tie_word_embeddings { model.vocab_size * model.hidden_size } else { 0 };
    let attention =
        4.0 * model.q_width() as f64 * mean_visible(pattern, sequence) * model.num_hidden_layers as f64;
    3.0 * (2.0 * (weights + head) as f64 + attention) * config.tokens_per_step() as f64
}

/// Mean number of keys that the queries of a row see.
pub fn mean_visible(pattern: Pattern, tokens: usize) -> f64 {
    let total: usize = (0..tokens)
        .map(|p| match pattern {
            Pattern::Causal => p + 1,
            Pattern::Dilated { dilation, window, initial } => {
                let near = p.min(window) + 1;
                let far = p + 1 - near;
                let sinks = initial.min(far);
                near + sinks + dilation.map_or(0, |d| far / d - sinks / d)
            }
        })
        .sum();
    total as f64 / tokens.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_keys_are_those_the_pattern_says() {
        for pattern in [
            Pattern::Causal,
            Pattern::Dilated { dilation: Some(4), window: 3, initial: 2 },
            Pattern::Dilated { dilation: Some(4), window: 0, initial: 0 },
            Pattern::Dilated { dilation: None, window: 5, initial: 9 },
        ] {
            let counted: usize = (0..37).map(|p| (0..=p).filter(|k| pattern.sees(p, *k)).count()).sum();
            assert_eq!(mean_visible(pattern, 37), counted as f64 / 37.0, "{pattern:?}");
        }
    }
}

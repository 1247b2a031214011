//! What a run costs, from its configuration alone: parameters, FLOPs, peak memory.
//!
//! FLOPs of a token, forward: 2 for each weight of a matrix product (the head included, the embedding's
//! look-up not), plus `4 * heads * head_dim` for each key that a query sees, averaged over the row; forward
//! and backward together are three times that. Recomputation is not counted: the utilization is that of the
//! model. Memory: weights, gradients, master weights and moments, what each block keeps for its backward
//! pass, and the largest temporary.

use wane_kernels::Device;
use wane_kernels::ops::attention::Pattern;
use wane_model::ModelConfig;
use wane_model::config::FfnActivation;

use crate::config::RunConfig;

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

/// Predicted peak memory of the device.
fn peak_bytes(config: &RunConfig, model: &ModelConfig, elements: Elements) -> u64 {
    let rows = (config.training.batch / config.training.accumulation * config.training.sequence) as u64;
    let element = elements.bytes();
    let (hidden, q, kv, ffn) = (
        model.hidden_size as u64,
        model.q_width() as u64,
        model.kv_width() as u64,
        model.intermediate_size as u64,
    );
    let has_memory = model.memory.is_some();
    let gates = if model.output_gate { q } else { 0 } + if has_memory { kv } else { 0 };
    let projected = q + 2 * kv + gates;
    let up = if model.ffn_activation == FfnActivation::SwiGlu { 2 * ffn } else { ffn };
    // Scanned keys stay beside the rotated ones; scanned values are the attended ones.
    let attention =
        projected + q + 2 * kv + if has_memory { kv } else { 0 } + q + if model.output_gate { q } else { 0 };
    let per_block = 4 * hidden + attention + up + ffn;
    let lse = 4 * model.num_attention_heads as u64;
    let block = rows * (per_block * element + lse);
    let blocks = if config.training.recompute {
        rows * hidden * element * model.num_hidden_layers as u64 + block
    } else {
        block * model.num_hidden_layers as u64
    };
    // The largest temporary of a backward pass: the gradients of the FFN, or those of the attention parts.
    let temporary = rows * element * (3 * hidden + (up + 2 * ffn).max(projected + 2 * (q + 2 * kv)));
    // Weights, gradients, master weights, two moments.
    parameters(model) * (element + 16) + blocks + temporary
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

//! Inverse frequencies of the rotary embedding and the table of cosines and sines.
//!
//! `frequency_i = theta^(-2i/d)` (arXiv 2104.09864), stretched linearly, by parts (Llama 3.1) or by
//! parts with a temperature (YaRN, arXiv 2309.00071, section 3). Everything is f64 on the host;
//! the table is rounded to f32 at the end. Scaling that changes with the sequence length
//! (`dynamic`, `longrope`) is not done: configurations that ask for it are refused.

#[cfg(test)]
mod tests;

use std::f64::consts::TAU;

use wane_kernels::ops::rope::RopeTable;
use wane_kernels::{Device, Tensor};

use crate::Result;
use crate::config::{ModelConfig, RopeConfig, RopeScaling};

/// Inverse frequencies, `head_dim / 2` of them.
pub fn inverse_frequencies(head_dim: usize, rope: &RopeConfig) -> Vec<f64> {
    let base = (0..head_dim / 2).map(|i| rope.theta.powf(-2.0 * i as f64 / head_dim as f64));
    match rope.scaling {
        RopeScaling::None => base.collect(),
        RopeScaling::Linear { factor } => base.map(|frequency| frequency / factor).collect(),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => base
            .map(|frequency| {
                let rotations = original_max_position_embeddings as f64 * frequency / TAU;
                let keep =
                    ((rotations - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                frequency * (keep + (1.0 - keep) / factor)
            })
            .collect(),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
            ..
        } => {
            // The (fractional) index whose frequency makes `rotations` turns over the original context.
            let index_of = |rotations: f64| {
                head_dim as f64 * (original_max_position_embeddings as f64 / (rotations * TAU)).ln()
                    / (2.0 * rope.theta.ln())
            };
            let (mut low, mut high) = (index_of(beta_fast), index_of(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, mut high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
            if low == high {
                high += 0.001;
            }
            base.enumerate()
                .map(|(i, frequency)| {
                    let divide = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * ((1.0 - divide) + divide / factor)
                })
                .collect()
        }
    }
}

/// What cosines and sines are multiplied by: 1 but for YaRN.
pub fn attention_factor(rope: &RopeConfig) -> f64 {
    match rope.scaling {
        RopeScaling::Yarn { attention_factor, .. } => attention_factor,
        _ => 1.0,
    }
}

/// The table of positions `0..positions`, f32 [positions, head_dim / 2] each, the attention factor
/// multiplied in.
///
/// # Errors
/// The device is out of memory.
pub fn rope_table(config: &ModelConfig, positions: usize, device: &Device) -> Result<RopeTable> {
    let frequencies = inverse_frequencies(config.head_dim, &config.rope);
    let factor = attention_factor(&config.rope);
    let count = positions * frequencies.len();
    let (mut cos, mut sin) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for position in 0..positions {
        for frequency in &frequencies {
            let (s, c) = (position as f64 * frequency).sin_cos();
            cos.push((c * factor) as f32);
            sin.push((s * factor) as f32);
        }
    }
    let shape = [positions, frequencies.len()];
    Ok(RopeTable {
        cos: Tensor::from_f32(&cos, &shape, device)?,
        sin: Tensor::from_f32(&sin, &shape, device)?,
    })
}

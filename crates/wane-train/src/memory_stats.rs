//! How far the memory reaches: statistics of its gates over one row of training data.
//!
//! A channel whose mean gate is `g` forgets half of a token in `ln(1/2) / ln(g)` tokens.

use serde::Serialize;
use wane_model::decoder::Decoder;

use crate::Result;
use crate::data::Mixture;

/// Half-lives of one layer's channels, in tokens.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerMemory {
    /// Mean gate over tokens and channels.
    pub mean_gate: f64,
    /// The half-lives below which 10, 50 and 90 of 100 channels lie.
    pub half_lives: [f64; 3],
    /// Share of channels that copy: mean gate below 0.1.
    pub copying: f64,
}

/// Statistics of every layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemoryStats {
    /// First layer first.
    pub layers: Vec<LayerMemory>,
}

/// Measures the gates on row 0 of step 0; `None` for a model without memory.
///
/// # Errors
/// The row cannot be made, or the device failed.
pub fn measure(decoder: &Decoder, mixture: &Mixture) -> Result<Option<MemoryStats>> {
    if decoder.config().memory.is_none() {
        return Ok(None);
    }
    let batch = mixture.batch(0, 0..1)?;
    let ids: Vec<u32> = batch.ids.iter().map(|id| *id as u32).collect();
    let width = decoder.config().kv_width();
    let layers = decoder.memory_gates(&ids)?.iter().map(|gates| layer(gates, width)).collect();
    Ok(Some(MemoryStats { layers }))
}

/// Statistics of one layer from its gates [tokens, width].
fn layer(gates: &[f32], width: usize) -> LayerMemory {
    let tokens = (gates.len() / width.max(1)).max(1) as f64;
    let mut means = vec![0.0f64; width];
    for row in gates.chunks_exact(width) {
        for (mean, gate) in means.iter_mut().zip(row) {
            *mean += f64::from(*gate) / tokens;
        }
    }
    let mean_gate = means.iter().sum::<f64>() / width as f64;
    let copying = means.iter().filter(|g| **g < 0.1).count() as f64 / width as f64;
    means.sort_by(f64::total_cmp);
    let at = |share: f64| half_life(means[((width - 1) as f64 * share).round() as usize]);
    LayerMemory { mean_gate, half_lives: [at(0.1), at(0.5), at(0.9)], copying }
}

fn half_life(gate: f64) -> f64 {
    0.5f64.ln() / gate.clamp(1e-9, 1.0 - 1e-9).ln()
}

impl std::fmt::Display for MemoryStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "memory half-lives (10/50/90 %) by layer:")?;
        self.layers.iter().try_for_each(|l| {
            let [low, middle, high] = l.half_lives;
            write!(f, " {low:.1}/{middle:.1}/{high:.1}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_lives_are_quantiles_over_channels() {
        // Two tokens, three channels: mean gates 0.05, 0.5 (half-life 1) and 0.5^(1/8) (half-life 8).
        let slow = 0.5f32.powf(0.125);
        let stats = layer(&[0.0, 0.4, slow, 0.1, 0.6, slow], 3);
        assert!((stats.half_lives[1] - 1.0).abs() < 1e-6 && (stats.half_lives[2] - 8.0).abs() < 1e-4);
        assert!((stats.copying - 1.0 / 3.0).abs() < 1e-12);
    }
}

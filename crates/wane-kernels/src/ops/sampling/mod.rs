//! The next token from logits: greedy, or temperature with top-k and top-p.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Tensor};

/// The index of the largest logit of each row (the lowest index on ties): I32 [rows].
///
/// # Errors
/// The device failed.
pub fn argmax(logits: &Tensor) -> Result<Tensor> {
    if logits.dtype() == DType::I32 || logits.width() == 0 {
        return Err(Error::shape("argmax", "float logits [rows, vocabulary]", format!("{logits:?}")));
    }
    match logits.device() {
        Device::Cpu => cpu::argmax(logits),
        Device::Cuda(_) => cuda::argmax(logits),
    }
}

/// How to draw a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Keep only the best `top_k`; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set with this mass; 1 keeps all.
    pub top_p: f32,
}

/// Draws from one row of logits with the uniform number `uniform` in [0, 1). Runs on the host.
///
/// Order: temperature, then top-k, then top-p within what is left (at least one token stays).
/// Tokens are ranked by logit, the lower index first on ties; NaN logits are never drawn.
pub fn sample(logits: &[f32], params: SamplingParams, uniform: f64) -> usize {
    if params.temperature <= 0.0 || params.top_k == 1 {
        return argmax_row(logits);
    }
    let mut ranked: Vec<usize> = (0..logits.len()).filter(|&i| !logits[i].is_nan()).collect();
    let by_rank = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if params.top_k > 0 && params.top_k < ranked.len() {
        ranked.select_nth_unstable_by(params.top_k - 1, by_rank);
        ranked.truncate(params.top_k);
    }
    ranked.sort_unstable_by(by_rank);
    let Some(&best) = ranked.first() else { return 0 };
    let temperature = f64::from(params.temperature);
    let mass = |i: usize| {
        let below = f64::from(logits[i]) - f64::from(logits[best]);
        // Infinite logits that are equal differ by NaN: they share the mass.
        if below.is_nan() { 1.0 } else { (below / temperature).exp() }
    };
    let masses: Vec<f64> = ranked.iter().map(|&i| mass(i)).collect();
    let total: f64 = masses.iter().sum();
    let kept = prefix_with_mass(&masses, total * f64::from(params.top_p));
    let target = uniform * masses[..kept].iter().sum::<f64>();
    let mut sum = 0.0;
    for (&i, mass) in ranked.iter().zip(&masses[..kept]) {
        sum += mass;
        if target < sum {
            return i;
        }
    }
    ranked[kept - 1]
}

/// Length of the shortest prefix whose sum reaches `wanted`; at least 1.
fn prefix_with_mass(masses: &[f64], wanted: f64) -> usize {
    let mut sum = 0.0;
    for (i, mass) in masses.iter().enumerate() {
        sum += mass;
        if sum >= wanted {
            return i + 1;
        }
    }
    masses.len()
}

/// The lowest index of the largest value; NaN counts as the smallest.
fn argmax_row(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, &x) in row.iter().enumerate() {
        if x > row[best] || (row[best].is_nan() && !x.is_nan()) {
            best = i;
        }
    }
    best
}

//! The next token from logits: greedy, or temperature with top-k and top-p.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use crate::{DType, Device, Error, Result, Tensor};

/// The index of the largest logit of each row (the lowest index on ties): I32 \[rows].
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
    let mut tokens: Vec<usize> = (0..logits.len()).filter(|&i| !logits[i].is_nan()).collect();
    let by_rank = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if params.top_k > 0 && params.top_k < tokens.len() {
        tokens.select_nth_unstable_by(params.top_k - 1, by_rank);
        tokens.truncate(params.top_k);
        tokens.sort_unstable();
    }
    let Some(&best) = tokens.iter().min_by(|a, b| by_rank(a, b)) else { return 0 };
    let temperature = f64::from(params.temperature);
    let mass = |i: usize| {
        let below = f64::from(logits[i]) - f64::from(logits[best]);
        // Infinite logits that are equal differ by NaN: they share the mass.
        if below.is_nan() { 1.0 } else { (below / temperature).exp() }
    };
    let total: f64 = tokens.iter().map(|&i| mass(i)).sum();

    // Ranks are made as far as they are needed: the mass is mostly in the first few.
    let mut ranks = Ranks { tokens, sorted: 0 };
    let wanted = total * f64::from(params.top_p);
    let (mut kept, mut kept_mass) = (0, 0.0);
    while kept == 0 || (kept_mass < wanted && kept < ranks.tokens.len()) {
        kept_mass += mass(ranks.get(kept, by_rank));
        kept += 1;
        if params.top_p >= 1.0 {
            (kept, kept_mass) = (ranks.tokens.len(), total);
        }
    }
    let (target, mut sum) = (uniform * kept_mass, 0.0);
    for rank in 0..kept {
        let token = ranks.get(rank, by_rank);
        sum += mass(token);
        if target < sum {
            return token;
        }
    }
    ranks.get(kept - 1, by_rank)
}

/// Tokens of which a growing prefix is sorted.
struct Ranks {
    tokens: Vec<usize>,
    sorted: usize,
}

impl Ranks {
    fn get(&mut self, rank: usize, order: impl Fn(&usize, &usize) -> Ordering + Copy) -> usize {
        while rank >= self.sorted {
            let next = (4 * self.sorted).max(64).min(self.tokens.len());
            let rest = &mut self.tokens[self.sorted..];
            let count = next - self.sorted;
            if count < rest.len() {
                rest.select_nth_unstable_by(count, order);
            }
            rest[..count].sort_unstable_by(order);
            self.sorted = next;
        }
        self.tokens[rank]
    }
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

//! Random draws that depend on coordinates alone: a stream is named by (seed, purpose, step, row),
//! its i-th word is Philox 4x32-10 of the counter `(purpose, step, row, i / 4)`. Whoever asks for
//! the same coordinates gets the same numbers, so nothing has to be saved for an exact resume.

use wane_kernels::ops::random::Words;

/// What a stream is for; streams of different purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Which source fills a row, and with what.
    Row = 1,
    /// Rows of the validation set.
    Validation = 2,
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Draws(Words);

impl Draws {
    /// The stream of (seed, purpose, step, row).
    pub fn new(seed: u64, purpose: Purpose, step: u64, row: u64) -> Self {
        // Steps and rows stay below 2^32 by far; the purpose takes a word of its own.
        Self(Words::new(seed, [purpose as u32, step as u32, row as u32, 0], 3))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        u64::from(self.0.draw()) << 32 | u64::from(self.0.draw())
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// An integer of `low..=high` whose logarithm is uniform.
    pub fn log_uniform(&mut self, low: usize, high: usize) -> usize {
        let (a, b) = ((low as f64).ln(), (high as f64 + 1.0).ln());
        ((a + (b - a) * self.uniform()).exp() as usize).clamp(low, high)
    }

    /// An index with probability proportional to its weight; the last if rounding leaves the range.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.uniform() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return index;
            }
        }
        weights.iter().rposition(|w| *w > 0.0).unwrap_or(0)
    }
}

//! Random draws that follow from (seed, index, attempt) alone: words of Philox 4x32-10.

use wane_kernels::ops::random::{Words, uniform};

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draws(Words);

impl Draws {
    /// The stream of a sample.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        Self::attempt(seed, index, 0)
    }

    /// The stream of one attempt at a sample.
    pub(super) fn attempt(seed: u64, index: u64, attempt: u32) -> Self {
        Self(Words::new(seed, [0, attempt, index as u32, (index >> 32) as u32], 0))
    }

    /// A number below `n`, which is at least 1 (multiply and shift: the bias is below n / 2^32).
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.draw()) * n as u64) >> 32) as usize
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        uniform(self.0.draw())
    }

    /// 128 random bits.
    pub(super) fn bits128(&mut self) -> u128 {
        (0..4).fold(0, |sum, word| sum | (u128::from(self.0.draw()) << (32 * word)))
    }

    /// Fisher and Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

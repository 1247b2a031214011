//! Random draws that follow from (seed, index, attempt) alone: words of Philox 4x32-10.

use wane_kernels::ops::random::philox;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draws {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    next: usize,
}

impl Draws {
    /// The stream of a sample.
    pub(super) fn new(seed: u64, index: u64) -> Self {
        Self::attempt(seed, index, 0)
    }

    /// The stream of one attempt at a sample.
    pub(super) fn attempt(seed: u64, index: u64, attempt: u32) -> Self {
        let counter = [0, attempt, index as u32, (index >> 32) as u32];
        Self { key: [seed as u32, (seed >> 32) as u32], counter, words: [0; 4], next: 4 }
    }

    fn word(&mut self) -> u32 {
        if self.next == 4 {
            self.words = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.next = 0;
        }
        self.next += 1;
        self.words[self.next - 1]
    }

    /// A number below `n`, which is at least 1 (multiply and shift: the bias is below n / 2^32).
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    /// A number in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        (self.word() >> 8) as f32 / 16_777_216.0
    }

    /// 128 random bits.
    pub(super) fn bits128(&mut self) -> u128 {
        (0..4).fold(0, |sum, word| sum | (u128::from(self.word()) << (32 * word)))
    }

    /// Fisher and Yates.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

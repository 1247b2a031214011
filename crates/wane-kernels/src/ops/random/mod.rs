//! Counter-based random numbers (Philox 4x32-10): a value depends on its coordinates alone, so
//! results do not depend on batch, threads or device.

mod cpu;
mod cuda;
#[cfg(test)]
mod tests;

use crate::{DType, Device, Error, Result, Tensor};

/// Philox 4x32-10 (Salmon et al. 2011): four 32-bit words from a counter and a key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let (mut c, mut k) = (counter, key);
    for _ in 0..10 {
        let low = u64::from(c[0]) * 0xD251_1F53;
        let high = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(high >> 32) as u32 ^ c[1] ^ k[0], high as u32, (low >> 32) as u32 ^ c[3] ^ k[1], low as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The words of consecutive counters, one by one: a stream named by its key and its first counter.
#[derive(Debug, Clone)]
pub struct Words {
    key: [u32; 2],
    counter: [u32; 4],
    // Which word of the counter counts.
    counting: usize,
    words: [u32; 4],
    used: usize,
}

impl Words {
    /// The stream of `seed` (low word first) from `counter` on, whose word `counting` (0 to 3) goes up by one
    /// after every four words.
    pub fn new(seed: u64, counter: [u32; 4], counting: usize) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32], counter, counting, words: [0; 4], used: 4 }
    }

    /// The next word.
    pub fn draw(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox(self.counter, self.key);
            self.counter[self.counting] = self.counter[self.counting].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }
}

/// The upper 24 bits of a word as a number in [0, 1), exact in f32.
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Uniform scores in [0, 1): `scores[r][c]` from the counter
/// `(rows[r][0], rows[r][1], rows[r][2], c)` and the key `seed` (low word first): [`uniform`] of
/// the first word. Replaces a selector's scores.
///
/// # Shapes
/// `rows` I32 [n, 3]; result f32 [n, columns].
///
/// # Errors
/// Shapes that do not fit.
pub fn scores(rows: &Tensor, columns: usize, seed: u64) -> Result<Tensor> {
    rows.expect("random scores", "rows", DType::I32, &[rows.rows(), 3])?;
    if u32::try_from(columns).is_err() {
        return Err(Error::shape("random scores", "at most 2^32 columns", columns));
    }
    match rows.device() {
        Device::Cpu => cpu::scores(rows, columns, seed),
        Device::Cuda(_) => cuda::scores(rows, columns, seed),
    }
}

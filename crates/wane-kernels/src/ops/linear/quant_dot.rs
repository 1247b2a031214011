//! Dot products of quantized weight rows with activations rounded to 8 bits, as llama.cpp does it
//! (`ggml_vec_dot_*`), so that greedy texts can be compared.
//!
//! Formats of 32 weights: activations in blocks of 32, `x ~ d q` with `d = max |x| / 127` stored
//! through f16, and for formats with a minimum `s = d sum(q)` through f16. Formats of 256 weights:
//! blocks of 256, `d` in f32 from the element of largest magnitude, which becomes -127, and
//! sums of 16 neighbours. Products within a block are exact integers.

use half::f16;

use crate::QuantKind;
use crate::cpu::quant::{half_at, q4_k_scale};
use crate::cpu::{Isa, Rows, multiversion};

/// Activations of one product, rounded to 8 bits.
pub(super) struct QuantRows {
    kind: QuantKind,
    rows: usize,
    // Blocks of one row; formats of 32 are padded by zeros to pairs of blocks.
    blocks: usize,
    quants: Vec<i8>,
    scales: Vec<[f32; 2]>,
    offsets: Vec<i32>,
    // Sums of 16 neighbours, for formats of 256 weights.
    sums: Vec<i16>,
}

/// One row of rounded activations.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuantRow<'a> {
    pub(super) quants: &'a [i8],
    /// Step `d` and `s` of each block.
    pub(super) scales: &'a [[f32; 2]],
    /// `-offset sum(q)` of each block, for weights stored with an offset.
    pub(super) offsets: &'a [i32],
    pub(super) sums: &'a [i16],
}

/// What is added to weights of 32-blocks to make them unsigned.
pub(super) const fn stored_offset(kind: QuantKind) -> i32 {
    match kind {
        QuantKind::Q8_0 => 128,
        QuantKind::Q4_0 => 8,
        QuantKind::Q4_1 | QuantKind::Q4K | QuantKind::Q6K => 0,
    }
}

impl QuantRows {
    /// Rounds rows of activations for weights of `kind`.
    pub(super) fn new(kind: QuantKind, x: Rows<'_>) -> Self {
        let (block, _) = kind.block();
        let blocks = if block == 32 { (x.width / 32).next_multiple_of(2) } else { x.width / block };
        let count = x.rows * blocks;
        let mut this = Self {
            kind,
            rows: x.rows,
            blocks,
            quants: vec![0; count * block],
            scales: vec![[0.0; 2]; count],
            offsets: vec![0; count],
            sums: vec![0; if block == 256 { count * 16 } else { 0 }],
        };
        for i in 0..x.rows {
            for (j, x) in x.row(i).chunks_exact(block).enumerate() {
                let j = i * blocks + j;
                let quants = &mut this.quants[j * block..][..block];
                this.scales[j] = if block == 256 { quantize_256(x, quants) } else { quantize_32(x, quants) };
                this.offsets[j] = -stored_offset(kind) * sum(quants);
            }
        }
        for (sum, quants) in this.sums.iter_mut().zip(this.quants.chunks_exact(16)) {
            *sum = quants.iter().map(|&q| i16::from(q)).sum();
        }
        this
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// `sums[i] = w . x_i` for one weight row.
    pub(super) fn dot(&self, isa: Isa, w: &[u8], sums: &mut [f32]) {
        let mut i = 0;
        while i < sums.len() {
            i += match sums.len() - i {
                4.. => self.part::<4>(isa, w, i, sums),
                2 | 3 => self.part::<2>(isa, w, i, sums),
                _ => self.part::<1>(isa, w, i, sums),
            };
        }
    }

    /// `sums[j] = w_j . x_0` for consecutive weight rows of `bytes` each: to the same bits as [`Self::dot`].
    pub(super) fn dot_rows(&self, isa: Isa, w: &[u8], bytes: usize, sums: &mut [f32]) {
        let x = self.row(0);
        for (w, sums) in w.chunks(4 * bytes).zip(sums.chunks_mut(4)) {
            #[cfg(target_arch = "x86_64")]
            if let (Isa::Avx512, Ok(sums)) = (isa, <&mut [f32; 4]>::try_from(&mut *sums)) {
                let rows = std::array::from_fn(|j| &w[j * bytes..][..bytes]);
                // SAFETY: `Isa::Avx512` says that the processor has these instructions.
                *sums = unsafe { super::quant_dot_avx512::dot_four(self.kind, rows, x) };
                continue;
            }
            for (w, sum) in w.chunks_exact(bytes).zip(sums) {
                self.dot(isa, w, std::slice::from_mut(sum));
            }
        }
    }

    /// `N` rows from `first` on. Returns `N`.
    fn part<const N: usize>(&self, isa: Isa, w: &[u8], first: usize, sums: &mut [f32]) -> usize {
        let x: [QuantRow<'_>; N] = std::array::from_fn(|i| self.row(first + i));
        let products = match isa {
            // SAFETY: `Isa::Avx512` says that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { super::quant_dot_avx512::dot(self.kind, w, x) },
            _ => x.map(|x| dot_plain(isa, self.kind, w, x)),
        };
        sums[first..first + N].copy_from_slice(&products);
        N
    }

    fn row(&self, i: usize) -> QuantRow<'_> {
        let ((block, _), blocks) = (self.kind.block(), self.blocks);
        let sums = if block == 256 { blocks * 16 } else { 0 };
        QuantRow {
            quants: &self.quants[i * blocks * block..][..blocks * block],
            scales: &self.scales[i * blocks..][..blocks],
            offsets: &self.offsets[i * blocks..][..blocks],
            sums: &self.sums[i * sums..][..sums],
        }
    }
}

fn sum(quants: &[i8]) -> i32 {
    quants.iter().map(|&q| i32::from(q)).sum()
}

fn quantize_32(x: &[f32], quants: &mut [i8]) -> [f32; 2] {
    let max = x.iter().fold(0.0f32, |a, x| a.max(x.abs()));
    let (d, inverse) = (max / 127.0, if max > 0.0 { 127.0 / max } else { 0.0 });
    for (q, x) in quants.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even() as i8;
    }
    [through_f16(d), through_f16(d * sum(quants) as f32)]
}

fn quantize_256(x: &[f32], quants: &mut [i8]) -> [f32; 2] {
    // The first element of the largest magnitude, with its sign.
    let extreme = x.iter().fold(0.0f32, |a, &x| if x.abs() > a.abs() { x } else { a });
    if extreme == 0.0 {
        quants.fill(0);
        return [0.0; 2];
    }
    let inverse = -127.0 / extreme;
    for (q, x) in quants.iter_mut().zip(x) {
        *q = (x * inverse).round_ties_even().min(127.0) as i8;
    }
    [1.0 / inverse, 0.0]
}

fn through_f16(x: f32) -> f32 {
    f16::from_f32(x).to_f32()
}

multiversion! {
    /// One dot product in plain code.
    fn dot_plain(kind: QuantKind, w: &[u8], x: QuantRow<'_>) -> f32 {
        let (block, bytes) = kind.block();
        let mut total = 0.0;
        for (i, w) in w.chunks_exact(bytes).enumerate() {
            let (q, [d, s]) = (&x.quants[i * block..][..block], x.scales[i]);
            total += match kind {
                QuantKind::Q8_0 => half_at(w, 0) * d * dot_q8(&w[2..], q) as f32,
                QuantKind::Q4_0 => half_at(w, 0) * d * (dot_q4(&w[2..], q) + x.offsets[i]) as f32,
                QuantKind::Q4_1 => half_at(w, 0) * d * dot_q4(&w[4..], q) as f32 + half_at(w, 2) * s,
                QuantKind::Q4K => dot_q4_k(w, q, &x.sums[i * 16..][..16], d),
                QuantKind::Q6K => half_at(w, 208) * d * dot_q6_k(w, q) as f32,
            };
        }
        total
    }
}

#[inline(always)]
fn dot_q8(w: &[u8], q: &[i8]) -> i32 {
    w.iter().zip(q).map(|(&w, &q)| i32::from(w as i8) * i32::from(q)).sum()
}

/// Low half bytes against the first half of `q`, high ones against the second.
#[inline(always)]
fn dot_q4(w: &[u8], q: &[i8]) -> i32 {
    let (low, high) = q.split_at(w.len());
    let pairs = w.iter().zip(low.iter().zip(high));
    pairs.map(|(&w, (&l, &h))| i32::from(w & 15) * i32::from(l) + i32::from(w >> 4) * i32::from(h)).sum()
}

#[inline(always)]
fn dot_q4_k(w: &[u8], q: &[i8], sums: &[i16], d: f32) -> f32 {
    let (mut total, mut minima) = (0, 0);
    for i in 0..8 {
        let (scale, minimum) = q4_k_scale(&w[4..16], i);
        let shift = i % 2 * 4;
        let bytes = &w[16 + i / 2 * 32..][..32];
        let products =
            bytes.iter().zip(&q[i * 32..]).map(|(&w, &q)| i32::from(w >> shift & 15) * i32::from(q));
        total += i32::from(scale) * products.sum::<i32>();
        minima += i32::from(minimum) * (i32::from(sums[2 * i]) + i32::from(sums[2 * i + 1]));
    }
    half_at(w, 0) * d * total as f32 - half_at(w, 2) * d * minima as f32
}

#[inline(always)]
fn dot_q6_k(w: &[u8], q: &[i8]) -> i32 {
    let mut total = 0;
    for (i, q) in q.chunks_exact(16).enumerate() {
        // Sub-block i lies in quarter i / 2 of its half.
        let (half, quarter, start) = (i / 8, i % 8 / 2, i % 2 * 16);
        let low = &w[half * 64 + quarter % 2 * 32 + start..][..16];
        let high = &w[128 + half * 32 + start..][..16];
        let sum: i32 = (0..16)
            .map(|j| {
                let bits = (low[j] >> (quarter / 2 * 4) & 15) | (high[j] >> (2 * quarter) & 3) << 4;
                (i32::from(bits) - 32) * i32::from(q[j])
            })
            .sum();
        total += i32::from(w[192 + i] as i8) * sum;
    }
    total
}

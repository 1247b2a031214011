//! Exact decoding of GGUF blocks to f32; the layouts are those of the GGUF specification.

use half::f16;

use crate::QuantKind;

/// Decodes a row of whole blocks.
pub(crate) fn dequantize_row(kind: QuantKind, row: &[u8], out: &mut [f32]) {
    let (weights, bytes) = kind.block();
    debug_assert_eq!(row.len() / bytes * weights, out.len(), "a row of whole blocks");
    for (block, out) in row.chunks_exact(bytes).zip(out.chunks_exact_mut(weights)) {
        match kind {
            QuantKind::Q8_0 => q8_0(block, out),
            QuantKind::Q4_0 => q4(half_at(block, 0), -8.0 * half_at(block, 0), &block[2..], out),
            QuantKind::Q4_1 => q4(half_at(block, 0), half_at(block, 2), &block[4..], out),
            QuantKind::Q4K => q4_k(block, out),
            QuantKind::Q6K => q6_k(block, out),
        }
    }
}

/// The f16 at byte `at`.
#[inline(always)]
pub(crate) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (x, &q) in out.iter_mut().zip(&block[2..]) {
        *x = scale * f32::from(q as i8);
    }
}

/// `scale q + offset`; the low halves of the bytes come before the high ones.
fn q4(scale: f32, offset: f32, bytes: &[u8], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(bytes.len());
    for ((&byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = scale * f32::from(byte & 15) + offset;
        *high = scale * f32::from(byte >> 4) + offset;
    }
}

/// The 6-bit scale and minimum of sub-block `i` of 8.
#[inline(always)]
pub(crate) fn q4_k_scale(scales: &[u8], i: usize) -> (u8, u8) {
    if i < 4 {
        (scales[i] & 63, scales[i + 4] & 63)
    } else {
        let (low, high) = (scales[i + 4] & 15, scales[i + 4] >> 4);
        (low | (scales[i - 4] >> 6) << 4, high | (scales[i] >> 6) << 4)
    }
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (factor, offset) = q4_k_scale(&block[4..16], i);
        let (d, m) = (scale * f32::from(factor), minimum * f32::from(offset));
        let bytes = &block[16 + i / 2 * 32..][..32];
        for (x, byte) in out.iter_mut().zip(bytes) {
            let q = if i % 2 == 0 { byte & 15 } else { byte >> 4 };
            *x = d * f32::from(q) - m;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 208);
    for (half, out) in out.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&block[half * 64..][..64], &block[128 + half * 32..][..32]);
        let factors = &block[192 + half * 8..][..8];
        for (i, x) in out.iter_mut().enumerate() {
            // Quarters of 32: the first two use the low half bytes, the last two the high ones.
            let (quarter, j) = (i / 32, i % 32);
            let nibble = (low[quarter % 2 * 32 + j] >> (quarter / 2 * 4)) & 15;
            let upper = (high[j] >> (2 * quarter)) & 3;
            let q = f32::from((nibble | upper << 4) as i8 - 32);
            *x = scale * f32::from(factors[i / 16] as i8) * q;
        }
    }
}

//! [`super::quant_dot`] with AVX-512 VNNI: 32 products of an unsigned and a signed byte at a time.
//!
//! Signed weights are stored with an offset (`q + 128`, `q + 8`, `q + 32`); the offset times the sum
//! of the activations is subtracted as an integer.

use std::arch::x86_64::*;

use super::quant_dot::{BlockScale, QuantRow};
use crate::QuantKind;
use crate::cpu::quant::q4_k_scale;

/// One dot product.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn dot(kind: QuantKind, w: &[u8], x: QuantRow<'_>) -> f32 {
    match kind {
        QuantKind::Q8_0 => dot_32::<34>(w, x, |block, scale| {
            let bytes = _mm256_xor_si256(load(&block[2..]), _mm256_set1_epi8(-128));
            (bytes, -128 * scale.sum, 0.0)
        }),
        QuantKind::Q4_0 => dot_32::<18>(w, x, |block, scale| (nibbles(&block[2..]), -8 * scale.sum, 0.0)),
        QuantKind::Q4_1 => {
            dot_32::<20>(w, x, |block, scale| (nibbles(&block[4..]), 0, half(&block[2..]) * scale.s))
        }
        QuantKind::Q4K => dot_q4_k(w, x),
        QuantKind::Q6K => dot_q6_k(w, x),
    }
}

/// Blocks of 32: `unpack` gives unsigned weights, what to add to the integer sum, and what to add
/// to the result.
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_32<const BYTES: usize>(
    w: &[u8],
    x: QuantRow<'_>,
    unpack: impl Fn(&[u8; BYTES], &BlockScale) -> (__m256i, i32, f32),
) -> f32 {
    let (mut total, mut minima) = (_mm256_setzero_ps(), 0.0);
    let (w, q) = (w.as_chunks::<BYTES>().0, x.quants.as_chunks::<32>().0);
    for ((block, q), scale) in w.iter().zip(q).zip(x.blocks) {
        let (weights, offset, minimum) = unpack(block, scale);
        let sum = _mm256_dpbusd_epi32(first_lane(offset), weights, load_signed(q));
        let step = _mm256_set1_ps(half(block) * scale.d);
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), step, total);
        minima += minimum;
    }
    sum_lanes(total) + minima
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_q4_k(w: &[u8], x: QuantRow<'_>) -> f32 {
    let (mut total, mut minima) = (_mm256_setzero_ps(), 0.0);
    let (w, q, sums) = (w.as_chunks::<144>().0, x.quants.as_chunks::<256>().0, x.sums.as_chunks::<16>().0);
    let low = _mm256_set1_epi8(15);
    for (((w, q), sums), scale) in w.iter().zip(q).zip(sums).zip(x.blocks) {
        let (mut sum, mut minimum) = (_mm256_setzero_si256(), 0);
        for pair in 0..4 {
            let bytes = load(&w[16 + 32 * pair..]);
            let halves = [_mm256_and_si256(bytes, low), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low)];
            for (part, weights) in halves.into_iter().enumerate() {
                let i = 2 * pair + part;
                let (factor, offset) = q4_k_scale(&w[4..16], i);
                let products =
                    _mm256_dpbusd_epi32(_mm256_setzero_si256(), weights, load_signed(&q[32 * i..]));
                let factor = _mm256_set1_epi32(i32::from(factor));
                sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(products, factor));
                minimum += i32::from(offset) * (i32::from(sums[2 * i]) + i32::from(sums[2 * i + 1]));
            }
        }
        let step = _mm256_set1_ps(half(w) * scale.d);
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), step, total);
        minima += half(&w[2..]) * scale.d * minimum as f32;
    }
    sum_lanes(total) - minima
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_q6_k(w: &[u8], x: QuantRow<'_>) -> f32 {
    let mut total = _mm256_setzero_ps();
    let (w, q, sums) = (w.as_chunks::<210>().0, x.quants.as_chunks::<256>().0, x.sums.as_chunks::<16>().0);
    let (low, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    for (((w, q), sums), scale) in w.iter().zip(q).zip(sums).zip(x.blocks) {
        let factors = &w[192..208];
        let offset: i32 = factors.iter().zip(sums).map(|(&f, &s)| i32::from(f as i8) * i32::from(s)).sum();
        let mut sum = first_lane(-32 * offset);
        for part in 0..2 {
            let (a, b) = (load(&w[64 * part..]), load(&w[64 * part + 32..]));
            let high = load(&w[128 + 32 * part..]);
            let join =
                |nibbles, bits| _mm256_or_si256(_mm256_and_si256(nibbles, low), _mm256_and_si256(bits, two));
            let quarters = [
                join(a, _mm256_slli_epi16::<4>(high)),
                join(b, _mm256_slli_epi16::<2>(high)),
                join(_mm256_srli_epi16::<4>(a), high),
                join(_mm256_srli_epi16::<4>(b), _mm256_srli_epi16::<2>(high)),
            ];
            for (quarter, weights) in quarters.into_iter().enumerate() {
                let i = 4 * part + quarter;
                let products =
                    _mm256_dpbusd_epi32(_mm256_setzero_si256(), weights, load_signed(&q[32 * i..]));
                // The lower four lanes belong to one sub-block of 16, the upper four to the next.
                let [first, second] = [2 * i, 2 * i + 1].map(|i| _mm_set1_epi32(i32::from(factors[i] as i8)));
                sum = _mm256_add_epi32(sum, _mm256_mullo_epi32(products, _mm256_set_m128i(second, first)));
            }
        }
        let step = _mm256_set1_ps(half(&w[208..]) * scale.d);
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), step, total);
    }
    sum_lanes(total)
}

/// The first 32 bytes.
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8]) -> __m256i {
    assert!(bytes.len() >= 32);
    // SAFETY: 32 bytes are there; the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The first 32 bytes.
#[target_feature(enable = "avx2")]
fn load_signed(bytes: &[i8]) -> __m256i {
    load(bytemuck::cast_slice(bytes))
}

/// The low half bytes of the first 16 bytes, then the high ones.
#[target_feature(enable = "avx2")]
fn nibbles(bytes: &[u8]) -> __m256i {
    assert!(bytes.len() >= 16);
    // SAFETY: 16 bytes are there; the load needs no alignment.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// The f16 at the start.
#[target_feature(enable = "f16c")]
fn half(bytes: &[u8]) -> f32 {
    let bits = i32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)))
}

/// `value` in lane 0, zero elsewhere.
#[target_feature(enable = "avx2")]
fn first_lane(value: i32) -> __m256i {
    _mm256_zextsi128_si256(_mm_cvtsi32_si128(value))
}

#[target_feature(enable = "avx2")]
fn sum_lanes(x: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

//! [`super::quant_dot`] with AVX-512 VNNI: 64 products of an unsigned and a signed byte at a time.
//!
//! Signed weights are stored with an offset (`q + 128`, `q + 8`, `q + 32`); the offset times the sum
//! of the activations is subtracted as an integer.

use std::arch::x86_64::*;

use super::quant_dot::QuantRow;
use crate::QuantKind;
use crate::cpu::quant::q4_k_scale;
use crate::ops::attention::cpu::lanes::x86::sum_four;

/// One weight row against `N` rows of activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn dot<const N: usize>(kind: QuantKind, w: &[u8], x: [QuantRow<'_>; N]) -> [f32; N] {
    match kind {
        QuantKind::Q8_0 => dot_pairs::<34, 2, 32, N>(w, x),
        QuantKind::Q4_0 => dot_pairs::<18, 2, 16, N>(w, x),
        QuantKind::Q4_1 => dot_pairs::<20, 4, 16, N>(w, x),
        // Closures take on the features of this function; function pointers would not.
        QuantKind::Q4K => x.map(|x| dot_q4_k(w, x)),
        QuantKind::Q6K => x.map(|x| dot_q6_k(w, x)),
    }
}

/// Four weight rows against one row of activations, each to the same bits as by [`dot`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) fn dot_four(kind: QuantKind, w: [&[u8]; 4], x: QuantRow<'_>) -> [f32; 4] {
    match kind {
        QuantKind::Q8_0 => four_pairs::<34, 2, 32>(w, x),
        QuantKind::Q4_0 => four_pairs::<18, 2, 16>(w, x),
        QuantKind::Q4_1 => four_pairs::<20, 4, 16>(w, x),
        QuantKind::Q4K => w.map(|w| dot_q4_k(w, x)),
        QuantKind::Q6K => w.map(|w| dot_q6_k(w, x)),
    }
}

/// As [`dot_pairs`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn four_pairs<const BYTES: usize, const HEADER: usize, const QUANTS: usize>(
    w: [&[u8]; 4],
    x: QuantRow<'_>,
) -> [f32; 4] {
    let mut totals = [_mm512_setzero_ps(); 4];
    let mut minima = [_mm_setzero_ps(); 4];
    let blocks = w.map(|w| w.as_chunks::<BYTES>().0);
    let count = blocks[0].len();
    for i in 0..count / 2 {
        for j in 0..4 {
            let pair = blocks[j][2 * i..].first_chunk::<2>().expect("rows of the same length");
            add_pair::<BYTES, HEADER, QUANTS, 1>(
                pair,
                [x],
                i,
                std::array::from_mut(&mut totals[j]),
                std::array::from_mut(&mut minima[j]),
            );
        }
    }
    if count % 2 == 1 {
        for j in 0..4 {
            add_pair::<BYTES, HEADER, QUANTS, 1>(
                &[blocks[j][count - 1], [0; BYTES]],
                [x],
                count / 2,
                std::array::from_mut(&mut totals[j]),
                std::array::from_mut(&mut minima[j]),
            );
        }
    }
    // Lanes 1 and 3 of the minima.
    let ab = _mm_shuffle_ps::<0b11_01_11_01>(minima[0], minima[1]);
    let cd = _mm_shuffle_ps::<0b11_01_11_01>(minima[2], minima[3]);
    let (first, second) = (_mm_shuffle_ps::<0b10_00_10_00>(ab, cd), _mm_shuffle_ps::<0b11_01_11_01>(ab, cd));
    let mut sums = [0.0; 4];
    let all = _mm_add_ps(_mm_add_ps(sum_four(totals), first), second);
    // SAFETY: four elements.
    unsafe { _mm_storeu_ps(sums.as_mut_ptr(), all) };
    sums
}

/// Blocks of 32 weights in pairs: `BYTES` each, of which `HEADER` are the scale (and minimum) and
/// `QUANTS` the weights, bytes or half bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot_pairs<const BYTES: usize, const HEADER: usize, const QUANTS: usize, const N: usize>(
    w: &[u8],
    x: [QuantRow<'_>; N],
) -> [f32; N] {
    let mut totals = [_mm512_setzero_ps(); N];
    // Lanes 1 and 3 sum the minima of the first and the second block.
    let mut minima = [_mm_setzero_ps(); N];
    let (blocks, _) = w.as_chunks::<BYTES>();
    let (pairs, last) = blocks.as_chunks::<2>();
    for (i, pair) in pairs.iter().enumerate() {
        add_pair::<BYTES, HEADER, QUANTS, N>(pair, x, i, &mut totals, &mut minima);
    }
    if let [last] = last {
        // The activations are padded by zeros.
        add_pair::<BYTES, HEADER, QUANTS, N>(&[*last, [0; BYTES]], x, pairs.len(), &mut totals, &mut minima);
    }
    std::array::from_fn(|i| {
        let odd = _mm_movehdup_ps(minima[i]);
        _mm512_reduce_add_ps(totals[i]) + _mm_cvtss_f32(odd) + _mm_cvtss_f32(_mm_movehl_ps(odd, odd))
    })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn add_pair<const BYTES: usize, const HEADER: usize, const QUANTS: usize, const N: usize>(
    pair: &[[u8; BYTES]; 2],
    x: [QuantRow<'_>; N],
    index: usize,
    totals: &mut [__m512; N],
    minima: &mut [__m128; N],
) {
    // Which block (its scale stands in lane 0 or 2) each lane of 4 weights belongs to.
    let owner = if QUANTS == 32 {
        _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2)
    } else {
        _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0, 2, 2, 2, 2)
    };
    let (first_lanes, weights) = if QUANTS == 32 {
        let [a, b] = [load(&pair[0][HEADER..]), load(&pair[1][HEADER..])];
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b);
        (0x0101, _mm512_xor_si512(both, _mm512_set1_epi8(-128)))
    } else {
        let both = _mm256_set_m128i(load_half(&pair[1][HEADER..]), load_half(&pair[0][HEADER..]));
        let high = _mm256_srli_epi16::<4>(both);
        let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(both), high);
        (0x0011, _mm512_and_si512(both, _mm512_set1_epi8(15)))
    };
    let headers = _mm_cvtph_ps(_mm_set_epi32(0, 0, header::<HEADER>(&pair[1]), header::<HEADER>(&pair[0])));
    for ((x, total), minima) in x.iter().zip(totals).zip(minima) {
        let quants = load_quants(&x.quants[64 * index..]);
        // Half bytes come as (first halves of both blocks, second halves of both).
        let quants =
            if QUANTS == 32 { quants } else { _mm512_shuffle_i64x2::<0b11_01_10_00>(quants, quants) };
        // Weights with a minimum are stored without an offset.
        let start = if HEADER == 4 {
            _mm512_setzero_si512()
        } else {
            let offsets = &x.offsets[2 * index..][..2];
            let offsets = _mm512_castsi128_si512(_mm_set_epi32(0, 0, offsets[1], offsets[0]));
            _mm512_maskz_expand_epi32(first_lanes, offsets)
        };
        let sums = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, weights, quants));
        let [[d0, s0], [d1, s1]] = [x.scales[2 * index], x.scales[2 * index + 1]];
        let steps = _mm_mul_ps(headers, _mm_setr_ps(d0, s0, d1, s1));
        *minima = _mm_add_ps(*minima, steps);
        let steps = _mm512_permutexvar_ps(owner, _mm512_castps128_ps512(steps));
        *total = _mm512_fmadd_ps(sums, steps, *total);
    }
}

/// The two or four bytes of f16 numbers at the start.
#[inline(always)]
fn header<const HEADER: usize>(block: &[u8]) -> i32 {
    let scale = i32::from(u16::from_le_bytes([block[0], block[1]]));
    if HEADER == 2 { scale } else { scale | i32::from(u16::from_le_bytes([block[2], block[3]])) << 16 }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot_q4_k(w: &[u8], x: QuantRow<'_>) -> f32 {
    let (mut total, mut minima) = (_mm256_setzero_ps(), 0.0);
    let (w, q, sums) = (w.as_chunks::<144>().0, x.quants.as_chunks::<256>().0, x.sums.as_chunks::<16>().0);
    let low = _mm256_set1_epi8(15);
    for (((w, q), sums), &[d, _]) in w.iter().zip(q).zip(sums).zip(x.scales) {
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
        let step = _mm256_set1_ps(half(w) * d);
        total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), step, total);
        minima += half(&w[2..]) * d * minimum as f32;
    }
    sum_lanes(total) - minima
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dot_q6_k(w: &[u8], x: QuantRow<'_>) -> f32 {
    let mut total = _mm256_setzero_ps();
    let (w, q, sums) = (w.as_chunks::<210>().0, x.quants.as_chunks::<256>().0, x.sums.as_chunks::<16>().0);
    let (low, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    for (((w, q), sums), &[d, _]) in w.iter().zip(q).zip(sums).zip(x.scales) {
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
        let step = _mm256_set1_ps(half(&w[208..]) * d);
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

/// The first 16 bytes.
#[target_feature(enable = "avx2")]
fn load_half(bytes: &[u8]) -> __m128i {
    assert!(bytes.len() >= 16);
    // SAFETY: 16 bytes are there; the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

/// The first 64 bytes.
#[target_feature(enable = "avx512f")]
fn load_quants(quants: &[i8]) -> __m512i {
    assert!(quants.len() >= 64);
    // SAFETY: 64 bytes are there; the load needs no alignment.
    unsafe { _mm512_loadu_si512(quants.as_ptr().cast()) }
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

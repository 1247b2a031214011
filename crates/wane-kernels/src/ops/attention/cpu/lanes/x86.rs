//! Lanes on AVX-512 (one register) and on AVX2 with FMA (two).

#![expect(clippy::undocumented_unsafe_blocks, reason = "every block passes on the contract of `Lanes`")]

use std::arch::x86_64::*;

use half::bf16;

use super::{EXP2, LANES, Lanes, PRODUCT_ROWS, Product, mask, tile};

/// AVX-512 F, BW, DQ, VL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512;

impl Lanes for Avx512 {
    type V = __m512;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> __m512 {
        unsafe { _mm512_broadcastss_ps(_mm_load_ss(from)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask(0, n as isize), from) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> __m512 {
        unsafe { widen(_mm256_loadu_si256(from.cast())) }
    }

    #[inline(always)]
    unsafe fn load_first_bf16(from: *const bf16, n: usize) -> __m512 {
        unsafe { widen(_mm256_maskz_loadu_epi16(mask(0, n as isize), from.cast())) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(from: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    unsafe fn exp2(x: __m512) -> __m512 {
        unsafe {
            let normal = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, _mm512_set1_ps(-126.0));
            let n = _mm512_roundscale_ps::<0>(x);
            let f = _mm512_sub_ps(x, n);
            let mut p = _mm512_set1_ps(EXP2[0]);
            for c in &EXP2[1..] {
                p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(*c));
            }
            _mm512_maskz_scalef_ps(normal, p, n)
        }
    }

    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(v) }
    }

    #[inline(always)]
    unsafe fn sum_four(v: [__m512; 4]) -> [f32; 4] {
        unsafe {
            let mut sums = [0.0; 4];
            _mm_storeu_ps(sums.as_mut_ptr(), sum_four(v));
            sums
        }
    }

    #[inline(always)]
    unsafe fn largest(v: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(v) }
    }

    #[inline(always)]
    unsafe fn keep(v: __m512, from: isize, to: isize, other: f32) -> __m512 {
        unsafe { _mm512_mask_mov_ps(_mm512_set1_ps(other), mask(from, to), v) }
    }

    #[inline(always)]
    unsafe fn product(product: &Product) {
        unsafe { avx512_product(product) }
    }
}

/// The sums of four vectors: halves, quarters and pairs are added as `_mm512_reduce_add_ps` does it, the last two
/// steps for two and for four vectors at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(crate) fn sum_four(v: [__m512; 4]) -> __m128 {
    let [a, b, c, d] = v.map(|v| {
        let v = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v));
        _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v))
    });
    let ab = _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
    let cd = _mm_add_ps(_mm_movelh_ps(c, d), _mm_movehl_ps(d, c));
    _mm_add_ps(_mm_shuffle_ps::<0b10_00_10_00>(ab, cd), _mm_shuffle_ps::<0b11_01_11_01>(ab, cd))
}

#[inline(always)]
unsafe fn widen(v: __m256i) -> __m512 {
    unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(v))) }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512_product(product: &Product) {
    unsafe {
        match product.vectors {
            4 => tile::<Avx512, 6, 4>(product, 0, 0),
            3 => tile::<Avx512, 6, 3>(product, 0, 0),
            2 => tile::<Avx512, 6, 2>(product, 0, 0),
            1 => tile::<Avx512, 6, 1>(product, 0, 0),
            _ => unreachable!("one to four vectors"),
        }
    }
}

/// AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

impl Lanes for Avx2 {
    type V = [__m256; 2];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self::V {
        unsafe { [_mm256_broadcastss_ps(_mm_load_ss(from)); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V {
        unsafe {
            let mut lanes = [0f32; LANES];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self::V {
        unsafe { [widen_eight(from), widen_eight(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn load_first_bf16(from: *const bf16, n: usize) -> Self::V {
        unsafe {
            let mut lanes = [bf16::ZERO; LANES];
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), n);
            Self::load_bf16(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe {
            _mm256_storeu_ps(to, v[0]);
            _mm256_storeu_ps(to.add(8), v[1]);
        }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(from: *const T) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    unsafe fn exp2(x: Self::V) -> Self::V {
        unsafe { [exp2_eight(x[0]), exp2_eight(x[1])] }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        unsafe {
            let v = _mm256_add_ps(v[0], v[1]);
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        unsafe {
            let v = _mm256_max_ps(v[0], v[1]);
            let v = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_max_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    unsafe fn keep(v: Self::V, from: isize, to: isize, other: f32) -> Self::V {
        unsafe {
            let mut lanes = [other; LANES];
            let mut all = [0f32; LANES];
            Self::store(all.as_mut_ptr(), v);
            let (from, to) = (from.clamp(0, 16) as usize, to.clamp(0, 16) as usize);
            if from < to {
                lanes[from..to].copy_from_slice(&all[from..to]);
            }
            Self::load(lanes.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn product(product: &Product) {
        unsafe { avx2_product(product) }
    }
}

#[inline(always)]
unsafe fn widen_eight(from: *const bf16) -> __m256 {
    unsafe {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
    }
}

#[inline(always)]
unsafe fn exp2_eight(x: __m256) -> __m256 {
    unsafe {
        let least = _mm256_set1_ps(-126.0);
        let normal = _mm256_cmp_ps::<_CMP_GE_OQ>(x, least);
        let x = _mm256_max_ps(x, least);
        let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
        let f = _mm256_sub_ps(x, n);
        let mut p = _mm256_set1_ps(EXP2[0]);
        for c in &EXP2[1..] {
            p = _mm256_fmadd_ps(p, f, _mm256_set1_ps(*c));
        }
        let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
        let scale = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent));
        _mm256_and_ps(normal, _mm256_mul_ps(p, scale))
    }
}

#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_product(product: &Product) {
    unsafe {
        for r in (0..PRODUCT_ROWS).step_by(2) {
            let mut v = 0;
            while v + 2 <= product.vectors {
                tile::<Avx2, 2, 2>(product, r, v);
                v += 2;
            }
            if v < product.vectors {
                tile::<Avx2, 2, 1>(product, r, v);
            }
        }
    }
}

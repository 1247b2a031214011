//! Dot products of f32 activations with f32 or bf16 weight rows, widened in registers.
//!
//! Weights come in tiles of four rows, so that an activation is loaded once for four of them, and
//! activations in tiles of up to four rows, so that a weight is widened once for four of them.
//! Every pair of rows has 16 interleaved partial sums of its own, whatever the tiles are.

use half::bf16;

use crate::cpu::{Isa, Rows, multiversion};

/// A weight element.
pub(super) trait Element: Copy + Sync {
    /// Whether this is bf16 (else f32).
    const IS_BF16: bool;
    /// As f32.
    fn widen(self) -> f32;
}

impl Element for f32 {
    const IS_BF16: bool = false;
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    const IS_BF16: bool = true;
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// Partial sums of a dot product.
const LANES: usize = 16;

/// Weight rows of a tile.
const TILE: usize = 4;

/// `sums[j][i] = w_j . x_i` for the consecutive weight rows in `w`.
pub(super) fn dense_rows<T: Element>(isa: Isa, x: Rows<'_>, w: &[T], sums: &mut [f32]) {
    let tiles = w.chunks(TILE * x.width).zip(sums.chunks_mut(TILE * x.rows));
    for (w, sums) in tiles {
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 {
            // The last tile repeats its last row.
            let rows = w.len() / x.width;
            let w = std::array::from_fn(|j| &w[j.min(rows - 1) * x.width..][..x.width]);
            // SAFETY: `Isa::Avx512` says that the processor has these instructions.
            unsafe { avx512::tile(x, w, sums) };
            continue;
        }
        for (w, sums) in w.chunks_exact(x.width).zip(sums.chunks_exact_mut(x.rows)) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = dot(isa, x.row(i), w);
            }
        }
    }
}

multiversion! {
    fn dot<T: Element>(x: &[f32], w: &[T]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        let ((x, x_rest), (w, w_rest)) = (x.as_chunks::<LANES>(), w.as_chunks::<LANES>());
        for (x, w) in x.iter().zip(w) {
            for (sum, (x, w)) in lanes.iter_mut().zip(x.iter().zip(w)) {
                *sum += x * w.widen();
            }
        }
        for (sum, (x, w)) in lanes.iter_mut().zip(x_rest.iter().zip(w_rest)) {
            *sum += x * w.widen();
        }
        lanes.iter().sum()
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Element, LANES, TILE};
    use crate::cpu::Rows;

    /// All rows of `x` against four weight rows; `sums` may hold fewer.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn tile<T: Element>(x: Rows<'_>, w: [&[T]; TILE], sums: &mut [f32]) {
        let mut i = 0;
        while i < x.rows {
            i += match x.rows - i {
                4.. => part::<T, 4>(x, i, w, sums),
                2 | 3 => part::<T, 2>(x, i, w, sums),
                _ => part::<T, 1>(x, i, w, sums),
            };
        }
    }

    /// `N` rows of `x` from `first` on. Returns `N`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn part<T: Element, const N: usize>(
        x: Rows<'_>,
        first: usize,
        w: [&[T]; TILE],
        sums: &mut [f32],
    ) -> usize {
        let xs: [&[f32]; N] = std::array::from_fn(|i| x.row(first + i));
        let mut totals = [[_mm512_setzero_ps(); N]; TILE];
        for start in (0..x.width).step_by(LANES) {
            let left = x.width - start;
            let mask = if left >= LANES { !0 } else { (1u16 << left) - 1 };
            // SAFETY: the mask covers only elements `start..x.width`, and every row has `x.width`.
            let x: [__m512; N] =
                std::array::from_fn(|i| unsafe { _mm512_maskz_loadu_ps(mask, xs[i].as_ptr().add(start)) });
            for (w, totals) in w.iter().zip(&mut totals) {
                // The next tile's rows: the processor's own prefetching ends with each page of memory.
                _mm_prefetch::<_MM_HINT_T0>(w.as_ptr().wrapping_add(start + TILE * w.len()).cast());
                // SAFETY: as above.
                let w = unsafe { load(w.as_ptr().add(start), mask) };
                for (x, total) in x.iter().zip(totals) {
                    *total = _mm512_fmadd_ps(w, *x, *total);
                }
            }
        }
        for (totals, sums) in totals.iter().zip(sums.chunks_exact_mut(x.rows)) {
            for (total, sum) in totals.iter().zip(&mut sums[first..]) {
                *sum = _mm512_reduce_add_ps(*total);
            }
        }
        N
    }

    /// Sixteen weights as f32; those not in the mask are 0 and not read.
    ///
    /// # Safety
    /// The elements in the mask must be readable.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load<T: Element>(from: *const T, mask: u16) -> __m512 {
        // SAFETY: `T` is f32 or bf16 as it says, and the caller vouches for the elements.
        unsafe {
            if T::IS_BF16 {
                let halves = _mm256_maskz_loadu_epi16(mask, from.cast());
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
            } else {
                _mm512_maskz_loadu_ps(mask, from.cast())
            }
        }
    }
}

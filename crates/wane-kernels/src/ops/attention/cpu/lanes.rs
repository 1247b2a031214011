//! Sixteen f32 lanes on every instruction set, so that a kernel is written once.
//!
//! A [`Kernel`] is a value whose `run` is generic over [`Lanes`]; [`launch`] runs it compiled for
//! one [`Isa`]. Everything that `run` calls must be `#[inline(always)]`, or the intrinsics would be
//! compiled as calls.

use half::bf16;

use crate::cpu::Isa;
use crate::kv::Element;

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// Vectors that a row of a [`Lanes::product`] may have, and rows that it has.
pub(crate) const PRODUCT_VECTORS: usize = 4;
pub(crate) const PRODUCT_ROWS: usize = 6;

/// Work that runs on some instruction set.
pub(crate) trait Kernel {
    /// The work.
    ///
    /// # Safety
    /// The processor has what `L` needs; each kernel states what else.
    unsafe fn run<L: Lanes>(self);
}

/// Operands of `c[r][0..16 n] = old c[r][..] + sum_k a[r][k step] b[k][0..16 n]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// Terms of the sum.
    pub(crate) depth: usize,
    /// First element of each row of `a`.
    pub(crate) a: [*const f32; PRODUCT_ROWS],
    /// Elements from one term to the next in `a`.
    pub(crate) a_step: usize,
    /// Elements from one row to the next in `b`.
    pub(crate) b_step: usize,
    /// First element of `b`.
    pub(crate) b: *const f32,
    /// First element of each row of `c`; rows that are not wanted may repeat scratch memory.
    pub(crate) c: [*mut f32; PRODUCT_ROWS],
    /// What becomes of the old `c`.
    pub(crate) old: Old,
    /// Vectors per row of `c`, at most [`PRODUCT_VECTORS`].
    pub(crate) vectors: usize,
}

/// How a product treats the former content of its output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Old {
    /// Overwrites it.
    Replaced,
    /// Starts from it, times a factor for each row.
    Scaled([f32; PRODUCT_ROWS]),
    /// Adds the finished sum to it: small terms are not rounded to the size of a large old value.
    AddedTo,
}

/// Sixteen lanes.
///
/// # Safety
/// Every method needs a processor with the implementor's instruction set and pointers to as many
/// elements as it reads or writes.
pub(crate) trait Lanes: Copy {
    /// The vector.
    type V: Copy;
    unsafe fn splat(x: f32) -> Self::V;
    /// All lanes from one element.
    unsafe fn broadcast(from: *const f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    /// The first `n <= 16` elements, then zeros.
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V;
    unsafe fn load_bf16(from: *const bf16) -> Self::V;
    /// The first `n <= 16` elements, then zeros.
    unsafe fn load_first_bf16(from: *const bf16, n: usize) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// Asks for the cache line at `from`, which need not be readable.
    unsafe fn prefetch<T>(_from: *const T) {}
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `2^x` for `x <= 127`, relative error 2e-7; 0 below -126.
    unsafe fn exp2(x: Self::V) -> Self::V;
    unsafe fn sum(v: Self::V) -> f32;
    /// [`Self::sum`] of four vectors, to the same bits.
    #[inline(always)]
    unsafe fn sum_four(v: [Self::V; 4]) -> [f32; 4] {
        // SAFETY: passed on from the caller.
        v.map(|v| unsafe { Self::sum(v) })
    }
    unsafe fn largest(v: Self::V) -> f32;
    /// Lanes `from..to` of `v`, `other` elsewhere (`from` and `to` may lie outside `0..16`).
    unsafe fn keep(v: Self::V, from: isize, to: isize, other: f32) -> Self::V;
    /// A small matrix product.
    unsafe fn product(product: &Product);
}

/// Elements that vectors can be loaded from.
pub(crate) trait LoadLanes: Element {
    /// # Safety
    /// Sixteen readable elements, and as [`Lanes`].
    unsafe fn load<L: Lanes>(from: *const Self) -> L::V;
    /// # Safety
    /// `n <= 16` readable elements, and as [`Lanes`].
    unsafe fn load_first<L: Lanes>(from: *const Self, n: usize) -> L::V;
}

impl LoadLanes for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::V {
        // SAFETY: passed on from the caller.
        unsafe { L::load(from) }
    }

    #[inline(always)]
    unsafe fn load_first<L: Lanes>(from: *const Self, n: usize) -> L::V {
        // SAFETY: passed on from the caller.
        unsafe { L::load_first(from, n) }
    }
}

impl LoadLanes for bf16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(from: *const Self) -> L::V {
        // SAFETY: passed on from the caller.
        unsafe { L::load_bf16(from) }
    }

    #[inline(always)]
    unsafe fn load_first<L: Lanes>(from: *const Self, n: usize) -> L::V {
        // SAFETY: passed on from the caller.
        unsafe { L::load_first_bf16(from, n) }
    }
}

/// Coefficients of `2^f` for `|f| <= 1/2`, highest degree first. The last is exactly 1, so that
/// an unchanged maximum leaves the running sums unchanged.
#[expect(clippy::approx_constant, reason = "a fitted coefficient near ln 2, not ln 2")]
const EXP2: [f32; 6] = [1.326_472_7e-3, 9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, 6.931_47e-1, 1.0];

/// Bits of the lanes `from..to`.
#[inline(always)]
fn mask(from: isize, to: isize) -> u16 {
    let below = |n: isize| ((1u32 << n.clamp(0, 16)) - 1) as u16;
    below(to) & !below(from)
}

/// One register tile of a product: rows `r..r + R`, vectors `v..v + N`.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "the indices of a register tile")]
unsafe fn tile<L: Lanes, const R: usize, const N: usize>(product: &Product, r: usize, v: usize) {
    let Product { depth, a, a_step, b_step, b, c, old, .. } = *product;
    // SAFETY: the caller of `Lanes::product` vouches for all rows and vectors of the product.
    unsafe {
        let mut sums = [[L::splat(0.0); N]; R];
        if let Old::Scaled(factor) = old {
            for i in 0..R {
                let factor = L::splat(factor[r + i]);
                for j in 0..N {
                    sums[i][j] = L::mul(factor, L::load(c[r + i].add((v + j) * LANES)));
                }
            }
        }
        let mut rows = [std::ptr::null(); R];
        rows.copy_from_slice(&a[r..r + R]);
        let mut b = b.add(v * LANES);
        let mut at = 0usize;
        for _ in 0..depth {
            let mut right = [L::splat(0.0); N];
            for j in 0..N {
                right[j] = L::load(b.wrapping_add(j * LANES));
            }
            for i in 0..R {
                let left = L::broadcast(rows[i].wrapping_add(at));
                for j in 0..N {
                    sums[i][j] = L::mul_add(left, right[j], sums[i][j]);
                }
            }
            b = b.wrapping_add(b_step);
            at = at.wrapping_add(a_step);
        }
        if let Old::AddedTo = old {
            for i in 0..R {
                for j in 0..N {
                    sums[i][j] = L::add(L::load(c[r + i].add((v + j) * LANES)), sums[i][j]);
                }
            }
        }
        for i in 0..R {
            for j in 0..N {
                L::store(c[r + i].add((v + j) * LANES), sums[i][j]);
            }
        }
    }
}

/// A product whose rows have any number of vectors.
///
/// # Safety
/// As [`Lanes::product`].
#[inline(always)]
pub(crate) unsafe fn wide_product<L: Lanes>(mut product: Product) {
    let mut left = product.vectors;
    while left > 0 {
        product.vectors = left.min(PRODUCT_VECTORS);
        // SAFETY: passed on from the caller.
        unsafe { L::product(&product) }
        left -= product.vectors;
        product.b = product.b.wrapping_add(PRODUCT_VECTORS * LANES);
        product.c = product.c.map(|c| c.wrapping_add(PRODUCT_VECTORS * LANES));
    }
}

/// Plain arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Lanes for Portable {
    type V = [f32; LANES];

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self::V {
        // SAFETY: the caller passes a readable element.
        [unsafe { *from }; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller passes sixteen readable elements.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self::V {
        // SAFETY: the caller passes `n` readable elements.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self::V {
        // SAFETY: the caller passes sixteen readable elements.
        std::array::from_fn(|i| unsafe { (*from.add(i)).to_f32() })
    }

    #[inline(always)]
    unsafe fn load_first_bf16(from: *const bf16, n: usize) -> Self::V {
        // SAFETY: the caller passes `n` readable elements.
        std::array::from_fn(|i| if i < n { unsafe { (*from.add(i)).to_f32() } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller passes sixteen writable elements.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn exp2(x: Self::V) -> Self::V {
        // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
        const ROUND: f32 = 12_582_912.0;
        std::array::from_fn(|i| {
            let clamped = if x[i] > -126.0 { x[i] } else { -126.0 };
            let shifted = clamped + ROUND;
            let f = clamped - (shifted - ROUND);
            let p = EXP2[1..].iter().fold(EXP2[0], |p, c| p * f + c);
            let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
            if x[i] >= -126.0 { p * scale } else { 0.0 }
        })
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        v.iter().sum()
    }

    #[inline(always)]
    unsafe fn largest(v: Self::V) -> f32 {
        v.iter().fold(f32::NEG_INFINITY, |a, &b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn keep(v: Self::V, from: isize, to: isize, other: f32) -> Self::V {
        let mask = mask(from, to);
        std::array::from_fn(|i| if mask >> i & 1 == 1 { v[i] } else { other })
    }

    #[inline(always)]
    unsafe fn product(product: &Product) {
        for r in (0..PRODUCT_ROWS).step_by(2) {
            for v in 0..product.vectors {
                // SAFETY: passed on from the caller.
                unsafe { tile::<Self, 2, 1>(product, r, v) }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

/// Runs `kernel` on `isa`.
///
/// # Safety
/// The processor has `isa`, and what the kernel asks for holds.
pub(crate) unsafe fn launch(isa: Isa, kernel: impl Kernel) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn avx512(kernel: impl Kernel) {
        // SAFETY: this function is only called where the processor has its features.
        unsafe { kernel.run::<x86::Avx512>() }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(kernel: impl Kernel) {
        // SAFETY: as above.
        unsafe { kernel.run::<x86::Avx2>() }
    }

    // SAFETY: passed on from the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(kernel),
            _ => kernel.run::<Portable>(),
        }
    }
}

//! What this machine reaches at most: the floors that timings are compared with.
//!
//! Two short probes on all threads of the current pool: independent fused multiply-adds in registers, and one
//! pass of reads over memory that no cache of one core holds. A fraction of a second each; the best of a few.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::cpu::Isa;
use crate::ops::attention::cpu::floats::Floats;
use crate::ops::attention::cpu::lanes::{Kernel, LANES, Lanes, launch};

/// Vectors that are computed (or summed) side by side: more than the latency times the throughput
/// of an addition, few enough for the registers of every instruction set.
const CHAINS: usize = 6;

/// Floating point operations per second of f32 multiply-adds (two operations each), all threads together.
pub fn multiply_adds_per_second() -> f64 {
    const STEPS: usize = 1 << 21;
    // AVX-512 has twice the registers, and two chains of six keep both units busy.
    let halves = if Isa::current() == Isa::Avx512 { 2 } else { 1 };
    let work = (halves * CHAINS * LANES * 2 * STEPS * rayon::current_num_threads()) as f64;
    let spin = || {
        rayon::broadcast(|_| {
            // SAFETY: `Isa::current` is what the processor has.
            unsafe {
                match halves {
                    2 => launch(Isa::current(), Spin::<{ 2 * CHAINS }> { steps: STEPS }),
                    _ => launch(Isa::current(), Spin::<CHAINS> { steps: STEPS }),
                }
            }
        });
    };
    work / best_of(8, spin)
}

/// Bytes per second that all threads together read from memory, in one pass over `bytes` bytes.
pub fn bytes_read_per_second(bytes: usize) -> f64 {
    const PIECE: usize = 1 << 18;
    let mut data = Floats::new((bytes / size_of::<f32>()).next_multiple_of(PIECE).max(PIECE));
    // Untouched pages would all be the same page of zeros.
    data.par_chunks_mut(PIECE).for_each(|piece| piece.fill(1.0));
    let read = || {
        data.par_chunks(PIECE).for_each(|piece| {
            // SAFETY: `Isa::current` is what the processor has.
            unsafe { launch(Isa::current(), Sum { piece }) }
        });
    };
    (data.len() * size_of::<f32>()) as f64 / best_of(5, read)
}

/// The instruction set in use, by name.
pub fn instruction_set() -> &'static str {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if crate::cpu::amx::available() {
        return "avx512 + amx";
    }
    match Isa::current() {
        Isa::Portable => "portable",
        Isa::Avx2 => "avx2",
        Isa::Avx512 => "avx512",
    }
}

fn best_of(repeats: usize, run: impl Fn()) -> f64 {
    let seconds = (0..repeats).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// `N` chains of multiply-adds.
struct Spin<const N: usize> {
    steps: usize,
}

impl<const N: usize> Kernel for Spin<N> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the result is stored to an array of its size.
        unsafe {
            let (factor, term) = (L::splat(black_box(0.999)), L::splat(black_box(1e-3)));
            let mut chains = [L::splat(0.0); N];
            for _ in 0..self.steps {
                for chain in &mut chains {
                    *chain = L::mul_add(*chain, factor, term);
                }
            }
            let mut result = [0.0; LANES];
            let total = chains.into_iter().fold(L::splat(0.0), |total, chain| L::add(total, chain));
            L::store(result.as_mut_ptr(), total);
            black_box(result);
        }
    }
}

/// Reads a piece once.
struct Sum<'a> {
    piece: &'a [f32],
}

impl Kernel for Sum<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: every vector lies within its chunk; the result is stored to an array of its size.
        unsafe {
            let mut sums = [L::splat(0.0); CHAINS];
            for chunk in self.piece.chunks_exact(CHAINS * LANES) {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = L::add(*sum, L::load(chunk.as_ptr().add(i * LANES)));
                }
            }
            let mut result = [0.0; LANES];
            let total = sums.into_iter().fold(L::splat(0.0), |total, sum| L::add(total, sum));
            L::store(result.as_mut_ptr(), total);
            black_box(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_measure_something_plausible() {
        // Between a slow core without vector units and a large server; NaN fails both.
        let (flops, bytes) = (multiply_adds_per_second(), bytes_read_per_second(16 << 20));
        assert!((1e8..1e15).contains(&flops), "{flops} FLOP/s");
        assert!((1e8..1e14).contains(&bytes), "{bytes} bytes/s");
    }
}

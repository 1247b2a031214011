//! The matrix unit (AMX) of recent Intel processors: whether it can be used, and one product of blocks.
//!
//! The unit multiplies bf16 and adds in f32. An f32 number is exactly `h + m + l` of three bf16 numbers,
//! `|m| <= 2^-8 |h|` and `|l| <= 2^-16 |h|`, so that `x w ~ hh + hm + mh + hl + lh + mm`, off by about
//! `2^-24 |x w|`: as a rounding in f32. Six products on the unit still take less time than one outside it.
//! Numbers below about 2^-110 lose their last bits (the unit knows no subnormal numbers). Linux on x86-64 only.

use std::sync::OnceLock;

use super::Isa;

/// Rows and columns of a block's result, and terms of one step of its sum.
pub(crate) const BLOCK: usize = 32;
pub(crate) const STEP: usize = 32;

/// bf16 elements of one operand of a step: three parts, two tiles of 16 rows each, 32 elements a row.
pub(crate) const STEP_LEN: usize = PARTS * TILES * TILE_LEN;
/// bf16 numbers that an f32 number is split into.
pub(crate) const PARTS: usize = 3;
/// Tiles of an operand: 16 rows or columns each.
pub(crate) const TILES: usize = 2;
/// bf16 elements of a tile.
pub(crate) const TILE_LEN: usize = 16 * STEP;

/// Whether this process may use the unit. `WANE_ISA=avx512` (or lower) says no.
pub(crate) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        let wanted = std::env::var("WANE_ISA").is_err() && Isa::current() == Isa::Avx512;
        wanted && system::processor_has_it() && system::ask()
    })
}

/// Three bf16 numbers, as bits, whose sum is `x`. Not-a-numbers and infinities stay what they are.
#[inline(always)]
pub(crate) fn split(x: f32) -> [u16; PARTS] {
    let high = round(x);
    let rest = x - widen(high);
    let middle = round(rest);
    let low = round(rest - widen(middle));
    // Of an infinity the rest is not a number: it would spread.
    if x.is_finite() { [high, middle, low] } else { [high, 0, 0] }
}

#[inline(always)]
fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To the nearest bf16 number, ties away from zero.
#[inline(always)]
fn round(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x8000) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

/// Runs `work` with this thread's tiles configured for [`multiply`].
///
/// # Safety
/// [`available`] has said yes.
pub(crate) unsafe fn with_tiles<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: passed on from the caller.
    unsafe { system::configure() };
    let result = work();
    // SAFETY: as above.
    unsafe { system::release() };
    result
}

/// Where a block goes: its first element, and elements from one row to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    pub(crate) start: *mut f32,
    pub(crate) stride: usize,
}

/// `to` [32, 32] `= sum over steps of a b`, from packed operands. Meanwhile memory from `next` on is asked for, a
/// quarter as much as `b` has; it need not be readable.
///
/// # Shapes
/// `a` [steps, 3 parts, 2 tiles, 16 rows, 32 terms]; `b` [steps, 3 parts, 2 tiles, 16 pairs of terms,
/// 16 columns, 2].
///
/// # Safety
/// Within [`with_tiles`]; the block may be written and nobody else uses it.
#[inline(always)]
pub(crate) unsafe fn multiply(a: &[u16], b: &[u16], next: *const u16, to: Target) {
    assert!(a.len() == b.len() && a.len().is_multiple_of(STEP_LEN) && !a.is_empty(), "whole steps");
    // SAFETY: the operands hold whole steps; the rest is the caller's promise.
    unsafe { system::multiply(a, b, next, to) }
}

mod system {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;

    use super::{STEP_LEN, Target};

    pub(super) fn processor_has_it() -> bool {
        let features = __cpuid_count(7, 0).edx;
        let (tile, bf16) = (features >> 24 & 1, features >> 22 & 1);
        // SAFETY: `Isa::Avx512` implies that the operating system saves registers by `xsave`.
        tile == 1 && bf16 == 1 && unsafe { saved_registers() } & 0x6_0000 == 0x6_0000
    }

    unsafe fn saved_registers() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: `xgetbv` reads a register.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
        u64::from(high) << 32 | u64::from(low)
    }

    /// Other systems are not asked: their calls have other numbers.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn ask() -> bool {
        false
    }

    /// Linux gives a process the tiles' 8 KiB of state when it asks for them.
    #[cfg(target_os = "linux")]
    pub(super) fn ask() -> bool {
        const ARCH_PRCTL: i64 = 158;
        const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let result: i64;
        // SAFETY: the call changes nothing but what this process may use.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM,
                in("rsi") TILE_DATA, lateout("rcx") _, lateout("r11") _, options(nostack));
        }
        result == 0
    }

    /// Eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Configuration {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIGURATION: Configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    pub(super) unsafe fn configure() {
        // SAFETY: the configuration is 64 bytes; the processor has the instruction by the caller's promise.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, readonly)) }
    }

    pub(super) unsafe fn release() {
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    #[inline(always)]
    pub(super) unsafe fn multiply(a: &[u16], b: &[u16], next: *const u16, to: Target) {
        // Tiles 0 to 3 sum the result; 4 and 5 hold rows of `a`, 6 and 7 columns of `b`. From one of the six
        // products to the next only one operand changes; the largest comes last. In a step's operand the parts
        // h, m, l stand at 0, 2048 and 4096 bytes.
        // SAFETY: reads within the steps of `a` and `b`, writes 32 rows of 128 bytes.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{a} + {row}]",
                "tileloadd tmm6, [{b} + {row} + 4096]",
                "tileloadd tmm5, [{a} + {row} + 1024]",
                "tileloadd tmm7, [{b} + {row} + 5120]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 0]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 64]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 128]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 192]",
                "tileloadd tmm6, [{b} + {row} + 2048]",
                "tileloadd tmm7, [{b} + {row} + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 256]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 320]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 384]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 448]",
                "tileloadd tmm4, [{a} + {row} + 2048]",
                "tileloadd tmm5, [{a} + {row} + 3072]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 512]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 576]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 640]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 704]",
                "tileloadd tmm6, [{b} + {row}]",
                "tileloadd tmm7, [{b} + {row} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 768]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 832]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 896]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 960]",
                "tileloadd tmm4, [{a} + {row} + 4096]",
                "tileloadd tmm5, [{a} + {row} + 5120]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 1088]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 1152]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 1216]",
                "tileloadd tmm4, [{a} + {row}]",
                "tileloadd tmm5, [{a} + {row} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{next} + 1280]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{next} + 1344]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "prefetcht1 [{next} + 1408]",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next} + 1472]",
                "add {a}, 6144",
                "add {b}, 6144",
                "add {next}, 1536",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{to} + {stride}], tmm0",
                "tilestored [{to} + {stride} + 64], tmm1",
                "tilestored [{half} + {stride}], tmm2",
                "tilestored [{half} + {stride} + 64], tmm3",
                a = inout(reg) a.as_ptr() => _,
                b = inout(reg) b.as_ptr() => _,
                to = in(reg) to.start,
                half = in(reg) to.start.wrapping_add(16 * to.stride),
                stride = in(reg) to.stride * size_of::<f32>(),
                next = inout(reg) next => _,
                steps = inout(reg) a.len() / STEP_LEN => _,
                // Bytes from one row of a tile to the next.
                row = in(reg) 64usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests;

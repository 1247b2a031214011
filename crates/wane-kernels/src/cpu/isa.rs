//! Which instructions are used, decided once at run time.
//!
//! Most operators are plain loops compiled several times by [`multiversion!`] and vectorized by the
//! compiler; only the matrix kernels name instructions. `WANE_ISA=portable` or `avx2` forces a
//! lower level, `avx512` the highest without the matrix unit ([`super::amx`], used by products alone); a
//! level the processor lacks is lowered.

use std::sync::OnceLock;

/// Instruction sets, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Isa {
    /// What every processor of the target has.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI (and F16C).
    Avx512,
}

impl Isa {
    /// The level that operators use.
    pub(crate) fn current() -> Self {
        static CURRENT: OnceLock<Isa> = OnceLock::new();
        *CURRENT.get_or_init(|| {
            let wanted = match std::env::var("WANE_ISA").as_deref() {
                Ok("portable") => Self::Portable,
                Ok("avx2") => Self::Avx2,
                _ => Self::Avx512,
            };
            wanted.min(Self::best())
        })
    }

    /// The highest level of this processor.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("f16c");
            if avx2 && avx512 {
                return Self::Avx512;
            }
            if avx2 {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every level that this processor can run, for tests.
    #[cfg(test)]
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        [Self::Portable, Self::Avx2, Self::Avx512].into_iter().filter(|&isa| isa <= Self::best())
    }
}

/// Compiles a function for each [`Isa`]; the first argument chooses. Its body must be plain code
/// whose callees are `#[inline(always)]`. Multiplications and additions are not fused, so that
/// every level computes the same bits.
macro_rules! multiversion {
    ($(#[$meta:meta])* $visibility:vis fn $name:ident $(<$generic:ident: $bound:path>)? ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        $visibility fn $name $(<$generic: $bound>)? (isa: $crate::cpu::Isa, $($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn portable $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? { portable $(::<$generic>)? ($($argument),*) }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512 $(<$generic: $bound>)? ($($argument: $type),*) $(-> $result)? { portable $(::<$generic>)? ($($argument),*) }

            match isa {
                $crate::cpu::Isa::Portable => portable $(::<$generic>)? ($($argument),*),
                // SAFETY: `Isa::current` and `Isa::available` return only what the processor has.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::Isa::Avx2 => unsafe { avx2 $(::<$generic>)? ($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::cpu::Isa::Avx512 => unsafe { avx512 $(::<$generic>)? ($($argument),*) },
                #[cfg(not(target_arch = "x86_64"))]
                _ => portable $(::<$generic>)? ($($argument),*),
            }
        }
    };
}
pub(crate) use multiversion;

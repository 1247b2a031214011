//! Host memory, the choice of instruction set, and how work is spread over threads.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) mod amx;
mod buffer;
pub(crate) mod isa;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod quant;
pub(crate) mod rows;

pub use buffer::CpuBuffer;

pub(crate) use isa::{Isa, multiversion};
pub(crate) use rows::{Rows, RowsMut, float_values, for_chunks, rows_per_chunk};

/// Runs `work` on a thread of the current pool, where operators share their work with the other
/// threads at once instead of handing it over and waiting to be woken. On such a thread already, it
/// is a plain call.
pub fn on_worker<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

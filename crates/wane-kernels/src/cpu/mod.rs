//! Host memory, the choice of instruction set, and how work is spread over threads.

mod buffer;
pub(crate) mod isa;
pub(crate) mod math;
pub(crate) mod matmul;
pub(crate) mod quant;
pub(crate) mod rows;

pub use buffer::CpuBuffer;

pub(crate) use isa::{Isa, multiversion};
pub(crate) use rows::{Rows, RowsMut, float_values, for_chunks, rows_per_chunk};

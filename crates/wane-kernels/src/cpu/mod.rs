//! Host memory and the choice of instruction set.

mod buffer;

pub use buffer::CpuBuffer;

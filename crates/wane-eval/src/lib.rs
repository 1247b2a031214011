//! Benchmarks: RULER's tasks (generation to the byte, training samples, scoring), the runner that
//! measures models under sparse methods, and the records that it writes.
//!
//! - [`ruler`]: NVIDIA's RULER (arXiv:2404.06654): tasks, samples, scorers.
//!
//! This crate knows no checkpoint format and no command line.

mod error;
pub mod ruler;

pub use error::{Error, Result};

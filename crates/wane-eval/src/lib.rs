//! Benchmarks: RULER's tasks (generation to the byte, training samples, scoring), the runner that
//! measures models under sparse methods, and the records that it writes.
//!
//! - [`ruler`]: NVIDIA's RULER (arXiv:2404.06654): tasks, samples, scorers.
//! - [`runner`]: models under methods on samples, records, resuming.
//! - [`hits`]: how often what a head selects holds the answer's place in the prompt.
//! - [`memory`]: what the memory keeps, and for how long.
//! - [`statistics`], [`table`], [`report`]: intervals, tables in a terminal, a page with figures, from records.
//!
//! This crate knows no checkpoint format and no command line.

mod error;
pub mod hits;
pub mod memory;
mod nearest;
pub mod report;
pub mod ruler;
pub mod runner;
pub mod statistics;
pub mod table;

pub use error::{Error, Result};
pub(crate) use nearest::nearest;

//! What a query reads: the paged K/V cache of a sequence, batches of sequences being decoded, and
//! the sparse methods (Quest, MoBA, SnapKV, ...) behind one registry and one textual form.
//!
//! Read in this order: [`Plan`] (what `moba:block=64,k=16+snapkv:k=1024` means), [`METHODS`] (one
//! file per method), [`SequenceCache`] (prefill, eviction, fork), [`DecodeBatch`] (decode steps).
//! This crate knows no model, no weights and no file; all arithmetic is in `wane-kernels`.

pub mod batch;
pub mod cache;
pub mod error;
pub mod grammar;
pub mod methods;
pub mod phases;
pub mod probe;

mod selector;
#[cfg(test)]
mod testing;

pub use batch::{DecodeBatch, StepBytes};
pub use cache::{CacheConfig, Chunk, Outputs, Qkv, SequenceCache};
pub use error::{Error, Result};
pub use grammar::{Plan, SparseFrom};
pub use methods::{METHODS, MethodEntry};
pub use phases::{Pairs, Phase};
pub use probe::{Choice, Observation, Probe, PromptQueries, SharedProbe, StepVectors, Unit};

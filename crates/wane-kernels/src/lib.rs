//! Numeric operators of wane: one folder per operator, each with its formula, its
//! reference definition, its CPU and CUDA implementations and its tests.
//!
//! Read [`Tensor`] and [`Device`] first, then any folder of [`ops`]. Operators are plain
//! functions: they check shapes, match on the device once, and return a [`Result`].
//! This crate knows no model, no file format and no sparse method.

pub mod cuda;
pub mod device;
pub mod documents;
pub mod error;
pub mod kv;
pub mod ops;
pub mod probe;
pub mod tensor;
pub mod transfers;
pub mod weight;

mod cpu;

#[doc(hidden)]
pub mod testing;

pub use cpu::{CpuBuffer, on_worker};
pub use device::Device;
pub use documents::Documents;
pub use error::{Error, Result};
pub use kv::{KvView, Page, PagePool, Selection};
pub use tensor::{Cols, ColsMut, DType, Storage, Tensor};
pub use weight::{QuantKind, QuantMatrix, Weight};

//! The positions that an eviction kept. They stay on the device: decoding needs their number alone.

use std::sync::OnceLock;

use wane_kernels::Tensor;

use crate::Result;

/// Kept positions of every lane of a layer.
#[derive(Debug)]
pub(crate) struct Retained {
    // I32 [lanes, kept]
    indices: Tensor,
    rows: OnceLock<Vec<Vec<i32>>>,
}

impl Retained {
    /// `indices` I32 [lanes, kept], ascending.
    pub(crate) fn new(indices: Tensor) -> Self {
        Self { indices, rows: OnceLock::new() }
    }

    /// How many each lane keeps.
    pub(crate) fn count(&self) -> usize {
        self.indices.width()
    }

    /// The positions on the host; the first call waits for the device.
    pub(crate) fn rows(&self) -> Result<&[Vec<i32>]> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let indices = self.indices.to_i32_vec()?;
        Ok(self.rows.get_or_init(|| indices.chunks(self.count().max(1)).map(<[_]>::to_vec).collect()))
    }
}

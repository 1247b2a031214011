//! Sums over the rows of a matrix, added to an f32 vector: gradients of biases and norm weights.
//! Two passes with a fixed order of additions; no atomics.

use super::{CudaDevice, Launch, Module, address, args, cols_address, typed};
use crate::{Cols, DType, Result, Tensor};

static MODULE: Module<'static> = Module::new("column_sum", include_str!("column_sum.cu"));

impl CudaDevice {
    /// `out` (f32 [width]) += the sum of the rows of `x`.
    pub(crate) fn add_column_sums(&self, x: Cols<'_>, out: &Tensor) -> Result<()> {
        let (rows, cols) = (x.rows(), x.width);
        let splits = rows.div_ceil(64).clamp(1, 512);
        let partial = Tensor::uninit(&[splits, cols], DType::F32, x.tensor.device())?;
        self.launch(
            &MODULE,
            &typed("split_sums", x.tensor.dtype())?,
            Launch::new(0, 256).grid(cols.div_ceil(256), splits, 1),
            args![cols_address(&x)?, address(&partial)?, rows as i32, cols as i32, x.stride() as i32],
        )?;
        self.add_partial_sums(&partial, out)
    }

    /// `out` (f32 [width]) += the sum of the rows of `partial` (f32 [rows, width]).
    pub(crate) fn add_partial_sums(&self, partial: &Tensor, out: &Tensor) -> Result<()> {
        let (rows, cols) = (partial.rows(), partial.width());
        self.launch(
            &MODULE,
            "add_sums",
            Launch::cover(cols, 32).threads(1024),
            args![address(partial)?, address(out)?, rows as i32, cols as i32],
        )
    }
}

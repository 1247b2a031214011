//! f32 matrix products on all threads, through the `gemm` crate.
//!
//! Sums over the inner dimension are split by its length and the caches alone, so results do not
//! depend on the number of threads.

use gemm::Parallelism;

use super::{Rows, RowsMut};

/// A strided f32 matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major and contiguous.
    pub(crate) fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "elements of a matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Transposed.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    fn check(&self) {
        if self.rows > 0 && self.columns > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride;
            assert!(last < self.data.len(), "a matrix within its data");
        }
    }
}

impl<'a> From<Rows<'a>> for Matrix<'a> {
    fn from(rows: Rows<'a>) -> Self {
        let data = rows.data();
        Self { data, rows: rows.rows, columns: rows.width, row_stride: rows.stride(), column_stride: 1 }
    }
}

/// What a product does with the former content of its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Into {
    /// Overwrites it without reading.
    Replace,
    /// Adds to it.
    Add,
}

/// `out = a b` or `out += a b`.
pub(crate) fn matmul(mut out: RowsMut<'_>, a: Matrix<'_>, b: Matrix<'_>, into: Into) {
    assert_eq!([a.rows, a.columns, b.columns], [out.rows, b.rows, out.width], "sizes of a product");
    a.check();
    b.check();
    if out.rows == 0 || out.width == 0 {
        return;
    }
    // SAFETY: `check` has shown that all reads are within `a.data` and `b.data`, and `RowsMut`
    // guarantees rows 0..rows of `width` elements at `stride`; the borrow of `out` is exclusive.
    unsafe {
        gemm::gemm(
            out.rows,
            out.width,
            a.columns,
            out.as_mut_ptr(),
            1,
            out.stride() as isize,
            into == Into::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::Rayon(0),
        );
    }
}

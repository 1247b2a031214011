//! Host views of matrices and column ranges, and loops over their rows on all threads.
//!
//! Work is cut into pieces whose size does not depend on the number of threads; a loop with a
//! single piece runs on the calling thread, since waking another costs microseconds.

use std::borrow::Cow;
use std::marker::PhantomData;

use rayon::prelude::*;

use crate::{Cols, ColsMut, DType, Error, Result, Tensor};

/// Elements that one piece of an elementwise loop should hold: about ten microseconds.
const PIECE: usize = 16 << 10;

/// f32 rows of a column range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    // From the first row's first column on.
    data: &'a [f32],
    stride: usize,
    pub(crate) width: usize,
    pub(crate) rows: usize,
}

impl<'a> Rows<'a> {
    /// # Errors
    /// Activations of another dtype than f32.
    pub(crate) fn new(op: &'static str, cols: impl Into<Cols<'a>>) -> Result<Self> {
        let cols = cols.into();
        expect_f32(op, cols.tensor)?;
        let data = cols.tensor.f32s();
        Ok(Self {
            data: &data[cols.start.min(data.len())..],
            stride: cols.stride(),
            width: cols.width,
            rows: cols.rows(),
        })
    }

    /// Row `i`.
    #[inline(always)]
    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..][..self.width]
    }

    /// Columns `first..first + width` of this range.
    pub(crate) fn columns(&self, first: usize, width: usize) -> Self {
        assert!(first + width <= self.width, "columns of a column range");
        Self { data: &self.data[first.min(self.data.len())..], width, ..*self }
    }

    /// Rows `first..first + rows`.
    pub(crate) fn range(&self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows, "rows of a column range");
        Self { data: &self.data[(first * self.stride).min(self.data.len())..], rows, ..*self }
    }

    /// Elements from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The elements from the first one on.
    pub(crate) fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// Writable f32 rows of a column range.
#[derive(Debug)]
pub(crate) struct RowsMut<'a> {
    // Whole rows of the matrix, other columns included.
    data: &'a mut [f32],
    start: usize,
    stride: usize,
    pub(crate) width: usize,
    pub(crate) rows: usize,
}

impl<'a> RowsMut<'a> {
    /// A contiguous matrix.
    pub(crate) fn contiguous(data: &'a mut [f32], width: usize) -> Self {
        let rows = data.len() / width.max(1);
        Self { data, start: 0, stride: width, width, rows }
    }

    /// Columns `first..first + width` of this range.
    pub(crate) fn columns(&mut self, first: usize, width: usize) -> RowsMut<'_> {
        assert!(first + width <= self.width, "columns of a column range");
        let (start, stride, rows) = (self.start + first, self.stride, self.rows);
        RowsMut { data: self.data, start, stride, width, rows }
    }

    /// # Errors
    /// Activations of another dtype than f32.
    pub(crate) fn new(op: &'static str, cols: ColsMut<'a>) -> Result<Self> {
        expect_f32(op, cols.tensor)?;
        let (start, stride, width, rows) = (cols.start, cols.stride(), cols.width, cols.rows());
        Ok(Self { data: cols.tensor.f32s_mut(), start, stride, width, rows })
    }

    /// Row `i`.
    #[inline(always)]
    pub(crate) fn row(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.stride + self.start..][..self.width]
    }

    /// Elements from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The first element of the range.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        let start = self.start.min(self.data.len());
        self.data[start..].as_mut_ptr()
    }

    /// Calls `f(first row, rows)` for pieces of `piece` rows, on all threads.
    pub(crate) fn for_pieces(self, piece: usize, f: impl Fn(usize, RowsMut<'_>) + Sync + Send) {
        let (start, stride, width) = (self.start, self.stride, self.width);
        for_chunks(self.data, piece * stride, |i, data| {
            let rows = data.len() / stride;
            f(i * piece, RowsMut { data, start, stride, width, rows });
        });
    }

    /// Like [`Self::for_pieces`], together with the same rows of a contiguous matrix `other`.
    pub(crate) fn for_pieces_with(
        self,
        other: &mut [f32],
        other_width: usize,
        piece: usize,
        f: impl Fn(usize, RowsMut<'_>, &mut [f32]) + Sync + Send,
    ) {
        let (start, stride, width) = (self.start, self.stride, self.width);
        for_chunks2((self.data, piece * stride), (other, piece * other_width), |i, data, other| {
            let rows = data.len() / stride;
            f(i * piece, RowsMut { data, start, stride, width, rows }, other);
        });
    }
}

/// A matrix whose column ranges are written by different threads.
#[derive(Debug)]
pub(crate) struct SharedColumns<'a> {
    start: *mut f32,
    stride: usize,
    width: usize,
    rows: usize,
    exclusive: PhantomData<&'a mut [f32]>,
}

// SAFETY: `row`, the only access, is unsafe and asks for ranges that do not overlap.
unsafe impl Sync for SharedColumns<'_> {}
// SAFETY: it stands for an exclusive borrow, which may move between threads.
unsafe impl Send for SharedColumns<'_> {}

impl<'a> SharedColumns<'a> {
    pub(crate) fn new(mut rows: RowsMut<'a>) -> Self {
        let (stride, width, count) = (rows.stride, rows.width, rows.rows);
        Self { start: rows.as_mut_ptr(), stride, width, rows: count, exclusive: PhantomData }
    }

    /// Rows of the range.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the range.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Elements from one row to the next.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Columns `first..first + n` of row `i`.
    ///
    /// # Safety
    /// No other reference to any of these elements exists while this one does.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "the caller guarantees that ranges do not overlap")]
    pub(crate) unsafe fn row(&self, i: usize, first: usize, n: usize) -> &mut [f32] {
        assert!(i < self.rows && first + n <= self.width, "range of shared columns");
        // SAFETY: within the matrix by the assertion; exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(i * self.stride + first), n) }
    }
}

/// Rows of `width` elements that make a piece.
pub(crate) fn rows_per_chunk(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// Calls `f(piece number, piece)` for pieces of `len` elements, on all threads.
pub(crate) fn for_chunks<T: Send>(data: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync + Send) {
    if data.len() > len {
        data.par_chunks_mut(len).enumerate().for_each(|(i, piece)| f(i, piece));
    } else if !data.is_empty() {
        f(0, data);
    }
}

/// Like [`for_chunks`], with pieces of a second slice.
pub(crate) fn for_chunks2<T: Send, U: Send>(
    (a, a_len): (&mut [T], usize),
    (b, b_len): (&mut [U], usize),
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    if a.len() > a_len {
        a.par_chunks_mut(a_len).zip(b.par_chunks_mut(b_len)).enumerate().for_each(|(i, (a, b))| f(i, a, b));
    } else if !a.is_empty() {
        f(0, a, b);
    }
}

/// The elements of a small float tensor (a bias, a norm's weight) as f32.
///
/// # Errors
/// Integers.
pub(crate) fn float_values<'a>(op: &'static str, tensor: &'a Tensor) -> Result<Cow<'a, [f32]>> {
    match tensor.dtype() {
        DType::F32 => Ok(Cow::Borrowed(tensor.f32s())),
        DType::BF16 => Ok(Cow::Owned(tensor.bf16s().iter().map(|x| x.to_f32()).collect())),
        DType::I32 => Err(Error::unsupported(op, "i32 weights")),
    }
}

fn expect_f32(op: &'static str, tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::F32 => Ok(()),
        other => Err(Error::unsupported(op, format!("{other:?} activations on the CPU (use F32)"))),
    }
}

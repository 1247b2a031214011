//! Products with few rows of activations (decoding): every weight is read once, in its own
//! format, and weight rows are spread over the threads.
//!
//! A result's sum has the same order for any number of rows, so a sequence decodes to the same
//! bits alone and in a batch (of up to [`FEW_ROWS`] rows).

use rayon::prelude::*;

use super::dense_dot::{Element, dense_rows};
use super::quant_dot::QuantRows;
use crate::cpu::matmul::Into;
use crate::cpu::rows::SharedColumns;
use crate::cpu::{Isa, Rows, RowsMut};
use crate::{DType, QuantMatrix, Weight};

/// Up to this many rows a product is bound by reading the weights.
pub(super) const FEW_ROWS: usize = 8;

/// Below this many bytes of weights the calling thread does all the work.
const SERIAL_BYTES: usize = 48 << 10;

/// `out (+)= x W^T` for up to [`FEW_ROWS`] rows.
pub(super) fn few_rows(x: Rows<'_>, weight: &Weight, out: RowsMut<'_>, into: Into) {
    let isa = Isa::current();
    match weight {
        Weight::Dense(tensor) if tensor.dtype() == DType::BF16 => {
            dense(isa, x, tensor.bf16s(), weight, out, into)
        }
        Weight::Dense(tensor) => dense(isa, x, tensor.f32s(), weight, out, into),
        Weight::Quantized(matrix) => quantized(isa, x, matrix, weight, out, into),
    }
}

fn dense<T: Element>(isa: Isa, x: Rows<'_>, w: &[T], weight: &Weight, out: RowsMut<'_>, into: Into) {
    let columns = weight.columns();
    for_weight_rows(weight, out, into, |first, rows, sums| {
        let w = &w[first * columns..(first + rows) * columns];
        dense_rows(isa, x, w, sums);
    });
}

fn quantized(isa: Isa, x: Rows<'_>, matrix: &QuantMatrix, weight: &Weight, out: RowsMut<'_>, into: Into) {
    let x = QuantRows::new(matrix.kind, x);
    for_weight_rows(weight, out, into, |first, rows, sums| {
        if x.rows() == 1 {
            let w = matrix.rows_from(first, rows);
            x.dot_rows(isa, w, w.len() / rows, sums);
            return;
        }
        for (i, sums) in sums.chunks_exact_mut(x.rows()).take(rows).enumerate() {
            x.dot(isa, matrix.row(first + i), sums);
        }
    });
}

/// Weight rows computed at once; a multiple of the register tile.
const GROUP: usize = 16;

/// Calls `f(first weight row, weight rows, sums [weight rows, rows])` and stores the sums.
fn for_weight_rows(
    weight: &Weight,
    out: RowsMut<'_>,
    into: Into,
    f: impl Fn(usize, usize, &mut [f32]) + Sync + Send,
) {
    let (n, m) = (out.rows, out.width);
    let out = SharedColumns::new(out);
    let group = |i: usize| {
        let first = i * GROUP;
        let rows = GROUP.min(m - first);
        let mut sums = [0.0f32; GROUP * FEW_ROWS];
        f(first, rows, &mut sums[..rows * n]);
        for r in 0..n {
            // SAFETY: groups of weight rows are disjoint columns of the output.
            let out = unsafe { out.row(r, first, rows) };
            for (j, y) in out.iter_mut().enumerate() {
                let sum = sums[j * n + r];
                *y = if into == Into::Add { *y + sum } else { sum };
            }
        }
    };
    let groups = m.div_ceil(GROUP);
    if weight.num_bytes() <= SERIAL_BYTES {
        (0..groups).for_each(group);
    } else {
        // Pieces of a size that lets threads help each other without waking for crumbs.
        let least = (groups * (SERIAL_BYTES / 2)).div_ceil(weight.num_bytes()).max(1);
        (0..groups).into_par_iter().with_min_len(least).for_each(group);
    }
}

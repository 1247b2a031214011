//! The memory reset at every document's start: each document of a packed batch begins with a state of zeros.

use super::{ScanDims, ScanSaved, backward, check, scan};
use crate::documents::Group;
use crate::ops::columns;
use crate::{Cols, ColsMut, Documents, Result, Tensor};

/// Keys and values with memory, [rows, width] in the dtype of the inputs, of documents that cover all rows.
///
/// # Shapes
/// `keys`, `values`, `gate_logits` [rows, width].
///
/// # Errors
/// Shapes that do not fit.
pub fn scan_documents(
    keys: Cols<'_>,
    values: Cols<'_>,
    gate_logits: Cols<'_>,
    documents: &Documents,
) -> Result<(Tensor, Tensor)> {
    let (op, rows, width) = ("decay_scan::scan_documents", keys.rows(), keys.width);
    documents.expect(op, rows)?;
    check(op, [keys, values, gate_logits], ScanDims { batch: 1, tokens: rows }, None)?;
    let like = || Tensor::uninit(&[rows, width], keys.tensor.dtype(), keys.tensor.device());
    let (mut scanned_keys, mut scanned_values) = (like()?, like()?);
    for group in documents.groups() {
        let [keys, values, gates] = parts([keys, values, gate_logits], group)?;
        let scanned = scan(keys.cols(), values.cols(), gates.cols(), dims(group), None)?;
        scanned_keys.copy_rows_from(group.rows(), &scanned.keys)?;
        scanned_values.copy_rows_from(group.rows(), &scanned.values)?;
    }
    Ok((scanned_keys, scanned_values))
}

/// [`backward`] of [`scan_documents`]; `saved.initial` must be absent.
///
/// # Errors
/// Shapes that do not fit.
pub fn backward_documents(
    dkeys: &Tensor,
    dvalues: &Tensor,
    saved: ScanSaved<'_>,
    documents: &Documents,
    out: ColsMut<'_>,
) -> Result<()> {
    let op = "decay_scan::backward_documents";
    let (rows, width) = (saved.keys.rows(), saved.keys.width);
    documents.expect(op, rows)?;
    check(op, [saved.keys, saved.values, saved.gate_logits], ScanDims { batch: 1, tokens: rows }, None)?;
    out.expect(op, "out", [rows, 3 * width])?;
    let mut grads = Tensor::uninit(&[rows, 3 * width], dkeys.dtype(), dkeys.device())?;
    for group in documents.groups() {
        let [keys, values, gates] = parts([saved.keys, saved.values, saved.gate_logits], group)?;
        let part = |x: &Tensor| x.slice(group.start, group.rows().end);
        let (scanned_keys, scanned_values) = (part(saved.scanned_keys)?, part(saved.scanned_values)?);
        let saved = ScanSaved {
            keys: keys.cols(),
            values: values.cols(),
            gate_logits: gates.cols(),
            scanned_keys: &scanned_keys,
            scanned_values: &scanned_values,
            initial: None,
        };
        let mut piece = Tensor::uninit(&[group.rows().len(), 3 * width], dkeys.dtype(), dkeys.device())?;
        backward(&part(dkeys)?, &part(dvalues)?, saved, dims(group), piece.cols_mut(0, 3 * width))?;
        grads.copy_rows_from(group.rows(), &piece)?;
    }
    columns::copy((&grads).into(), out)
}

/// Columns of a range of rows.
struct Part {
    tensor: Tensor,
    start: usize,
    width: usize,
}

impl Part {
    fn cols(&self) -> Cols<'_> {
        self.tensor.cols(self.start, self.width)
    }
}

fn parts(columns: [Cols<'_>; 3], group: &Group) -> Result<[Part; 3]> {
    let part = |x: Cols<'_>| -> Result<Part> {
        let tensor = x.tensor.slice(group.start, group.rows().end)?;
        Ok(Part { tensor, start: x.start, width: x.width })
    };
    let [a, b, c] = columns;
    Ok([part(a)?, part(b)?, part(c)?])
}

fn dims(group: &Group) -> ScanDims {
    ScanDims { batch: group.count, tokens: group.length }
}

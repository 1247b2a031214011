//! decay_scan on the CPU.

use super::{ScanDims, ScanSaved, Scanned};
use crate::{Cols, ColsMut, Error, Result, Tensor};

pub(super) fn scan(
    _keys: Cols<'_>,
    _values: Cols<'_>,
    _gate_logits: Cols<'_>,
    _dims: ScanDims,
    _initial: Option<&Tensor>,
) -> Result<Scanned> {
    Err(Error::unsupported("decay_scan::scan", "cpu"))
}

pub(super) fn backward(
    _dkeys: &Tensor,
    _dvalues: &Tensor,
    _saved: ScanSaved<'_>,
    _dims: ScanDims,
    _out: ColsMut<'_>,
) -> Result<Option<Tensor>> {
    Err(Error::unsupported("decay_scan::backward", "cpu"))
}

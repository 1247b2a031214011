//! rope on the CPU.

use super::RopeTable;
use crate::{Cols, ColsMut, Error, Result, Tensor};

pub(super) fn rope(
    _x: Cols<'_>,
    _head_dim: usize,
    _positions: &Tensor,
    _table: &RopeTable,
) -> Result<Tensor> {
    Err(Error::unsupported("rope::rope", "cpu"))
}

pub(super) fn backward(
    _dy: &Tensor,
    _head_dim: usize,
    _positions: &Tensor,
    _table: &RopeTable,
    _dx: ColsMut<'_>,
) -> Result<()> {
    Err(Error::unsupported("rope::backward", "cpu"))
}

//! embedding on the CPU.

use crate::{DType, Error, Result, Tensor, Weight};

pub(super) fn embedding(_ids: &Tensor, _table: &Weight, _dtype: DType) -> Result<Tensor> {
    Err(Error::unsupported("embedding::embedding", "cpu"))
}

pub(super) fn backward(_ids: &Tensor, _dy: &Tensor, _dtable: &mut Tensor) -> Result<()> {
    Err(Error::unsupported("embedding::backward", "cpu"))
}

//! columns on NVIDIA GPUs.

use crate::{Cols, ColsMut, Error, Result};

pub(super) fn copy(_from: Cols<'_>, _to: ColsMut<'_>) -> Result<()> {
    Err(Error::unsupported("columns::copy", "cuda"))
}

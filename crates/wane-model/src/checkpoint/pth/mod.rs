//! Official RAT+ `.pth` files (under way).

use std::path::Path;

use super::Checkpoint;
use crate::{Error, Result};

pub(super) fn open(path: &Path, _sizes: Option<&Path>) -> Result<Checkpoint> {
    Err(Error::unsupported(path, "pth files are not read yet"))
}

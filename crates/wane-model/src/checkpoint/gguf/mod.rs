//! GGUF files (under way).

use std::path::Path;

use super::Checkpoint;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    Err(Error::unsupported(path, "GGUF files are not read yet"))
}

pub(crate) fn open_tokenizer(path: &Path) -> Result<Tokenizer> {
    Err(Error::unsupported(path, "GGUF files are not read yet"))
}

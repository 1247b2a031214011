//! Entry points for the fuzzers in `fuzz/`: each reads one file's content and drops the result.

use std::path::Path;
use std::sync::Arc;

use super::{directory, gguf, pth};

#[cfg(test)]
mod tests;

/// A whole GGUF file.
pub fn gguf(content: &[u8]) {
    let _ = gguf::open_bytes(Arc::new(content.to_vec()), Path::new("fuzz.gguf"));
}

/// A whole `.pth` file, and its bytes as a bare pickle.
pub fn pth(content: &[u8]) {
    let _ = pth::check(content);
}

/// A safetensors file.
pub fn safetensors(content: &[u8]) {
    let _ = directory::parse_safetensors(Arc::new(content.to_vec()), Path::new("fuzz.safetensors"));
}

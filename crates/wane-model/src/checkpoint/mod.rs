//! Model files: one [`Checkpoint`] whatever the format.
//!
//! | source | reader |
//! |---|---|
//! | Hugging Face directory, or hub id (cached, or fetched by `hf`) | `directory.rs`, `hub.rs` |
//! | `.gguf` | `gguf/` |
//! | official RAT+ `.pth` | `pth/` |
//!
//! Weights come under the canonical names of [`ModelConfig::parameters`], with exactly its shapes,
//! memory-mapped where the file's type is one we compute with, and free of NaN. A tensor that the
//! configuration does not explain is an error: dropping a bias would change the results silently.

mod add_memory;
mod directory;
#[doc(hidden)]
pub mod fuzz;
pub(crate) mod gguf;
mod hub;
mod pth;
mod save;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use wane_kernels::Weight;

pub(crate) use hub::find_directory;
pub use save::{SaveDtype, remove_unfinished, save, write_atomically};

use crate::chat::ChatTemplate;
use crate::config::ModelConfig;
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Everything a model's files hold.
#[derive(Debug)]
pub struct Checkpoint {
    /// Sizes and choices.
    pub config: ModelConfig,
    /// Parameters by canonical name; on the host.
    pub weights: BTreeMap<String, Weight>,
    /// The tokenizer, if the files have one.
    pub tokenizer: Option<Tokenizer>,
    /// The chat template, if the files have one.
    pub chat_template: Option<ChatTemplate>,
    /// File or directory it was read from.
    pub path: PathBuf,
}

/// Opens a model: a directory, a `.gguf` or `.pth` file, or a hub id whose files are in the
/// Hugging Face cache or can be brought there by the user's `hf`.
///
/// # Errors
/// Nothing is there; the files are damaged, incomplete or of an unknown kind; a weight is not finite.
pub fn open(path: &Path) -> Result<Checkpoint> {
    open_with(path, None)
}

/// Like [`open`]; `sizes` is a JSON file with what a `.pth` file lacks (`d_model`, `num_heads`,
/// `num_layers`, `vocab_size`, `ffn_activation`, `memory`).
///
/// # Errors
/// As [`open`]; `sizes` cannot be read or contradicts the weights.
pub fn open_with(path: &Path, sizes: Option<&Path>) -> Result<Checkpoint> {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("gguf") => gguf::open(path),
        Some("pth" | "pt") => pth::open(path, sizes),
        Some("safetensors") if path.is_file() => Err(Error::unsupported(
            path,
            "a single safetensors file lacks the model's sizes (give the directory with its config.json)",
        )),
        _ => directory::open(&find_directory(path)?),
    }
}

/// Only the chat template of a model: a directory, a `.gguf` file, or a hub id in the local cache.
///
/// # Errors
/// Nothing is there, or its files cannot be read.
pub fn open_chat_template(path: &Path) -> Result<Option<ChatTemplate>> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
        return gguf::open_chat_template(path);
    }
    directory::chat_template(&find_directory(path)?)
}

impl Checkpoint {
    /// The weight under a canonical name.
    ///
    /// # Errors
    /// There is none.
    pub fn weight(&self, name: &str) -> Result<&Weight> {
        self.weights.get(name).ok_or_else(|| Error::tensor(name, &self.path, "it is missing"))
    }

    /// SHA-256 over configuration and weights in hexadecimal: names the model in records. Reads
    /// every byte.
    ///
    /// # Errors
    /// A weight could not be copied from its device.
    pub fn hash(&self) -> Result<String> {
        hash(&self.config, &self.weights)
    }
}

/// SHA-256 over a configuration and weights, see [`Checkpoint::hash`].
///
/// # Errors
/// A weight could not be copied from its device.
pub fn hash(config: &ModelConfig, weights: &BTreeMap<String, Weight>) -> Result<String> {
    let digests: Vec<_> = weights
        .par_iter()
        .map(|(name, weight)| {
            let mut hasher = Sha256::new();
            match weight {
                Weight::Dense(tensor) => {
                    hasher.update(format!("{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()));
                    hasher.update(tensor.to_bytes()?);
                }
                Weight::Quantized(matrix) => {
                    hasher.update(format!("{name} {:?} {:?}\n", matrix.kind, [matrix.rows, matrix.columns]));
                    for row in 0..matrix.rows {
                        hasher.update(matrix.row(row));
                    }
                }
            }
            Ok(hasher.finalize())
        })
        .collect::<Result<_>>()?;
    let mut hasher = Sha256::new();
    hasher.update(config.to_json("float32").to_string());
    digests.iter().for_each(|digest| hasher.update(digest));
    Ok(crate::tokenizer::hex(&hasher.finalize()))
}

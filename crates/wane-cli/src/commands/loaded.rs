//! Models opened to be measured, and their names in records: what `eval`, `compare`, `hits` and `memory` share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use wane_eval::runner::Subject;
use wane_model::decoder::Decoder;
use wane_model::{ChatTemplate, Checkpoint, Tokenizer};

use super::shared::PlaceArgs;

/// One model to measure.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    hash: String,
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) chat_template: Option<ChatTemplate>,
}

impl Loaded {
    /// The model as the measurements see it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            name: self.name.clone(),
            hash: self.hash.clone(),
            decoder: &self.decoder,
            tokenizer: self.tokenizer.clone(),
        }
    }
}

/// Reads a model.
pub(crate) fn load(place: &PlaceArgs, path: &Path, name: String) -> Result<Loaded> {
    let (checkpoint, decoder) = place.load(path)?;
    let hash = checkpoint.hash()?;
    let Checkpoint { tokenizer, chat_template, .. } = checkpoint;
    let tokenizer = Arc::new(tokenizer.with_context(|| format!("{} has no tokenizer", path.display()))?);
    Ok(Loaded { name, hash, decoder, tokenizer, chat_template })
}

/// Names for paths: the last part, or the whole path where last parts are equal.
pub(crate) fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| {
            let name = last(path);
            let unique = paths.iter().filter(|p| last(p) == name).count() == 1;
            if unique { name } else { path.display().to_string() }
        })
        .collect()
}

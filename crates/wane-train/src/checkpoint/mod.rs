//! Checkpoints: folders `step-00000500` under `OUTPUT/checkpoints`, each complete or absent.
//!
//! A folder is filled under a temporary name, every file and the folder are synced, then it is renamed:
//! kill -9 or a full disk at any moment leaves at worst a `.partial-*` folder, which the next run removes.
//! Inside: the model in the Hugging Face layout (loadable by `wane` and `transformers` as it is),
//! `optimizer.safetensors`, and `training.json` (step, configuration, tokenizer). Random numbers and the
//! data position follow from seed and step, so they need no state of their own.

pub mod state;
pub mod weights;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

pub use state::{Changes, TrainingState};

const PARTIAL: &str = ".partial-";

/// The checkpoints of one run.
#[derive(Debug, Clone)]
pub struct CheckpointFolder {
    folder: PathBuf,
    keep: usize,
}

impl CheckpointFolder {
    /// The checkpoints under `output`; the newest `keep` are kept, all if 0. Removes what an interrupted
    /// save has left behind.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(output: &Path, keep: usize) -> Result<Self> {
        let Self { folder, keep } = Self::of(output, keep);
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(Self { folder, keep })
    }

    /// The same without touching anything: for processes that only read.
    pub fn of(output: &Path, keep: usize) -> Self {
        Self { folder: output.join("checkpoints"), keep }
    }

    /// Complete checkpoints, oldest first: (completed steps, folder).
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(Error::io(&self.folder))?.flatten() {
            let name = entry.file_name();
            if let Some(step) = name.to_string_lossy().strip_prefix("step-").and_then(|n| n.parse().ok()) {
                found.push((step, entry.path()));
            }
        }
        found.sort();
        Ok(found)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn newest(&self) -> Result<Option<PathBuf>> {
        Ok(self.list()?.pop().map(|(_, path)| path))
    }

    /// Writes the checkpoint of `step` completed steps: `fill` writes the files into an empty folder.
    /// Older ones beyond `keep` are removed afterwards.
    ///
    /// # Errors
    /// `fill` failed or the disk is full: the new checkpoint does not exist, the older ones are untouched.
    pub fn save(&self, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let path = self.folder.join(format!("step-{step:08}"));
        if path.exists() {
            return Ok(path);
        }
        write_folder(&path, fill)?;
        if self.keep > 0 {
            let all = self.list()?;
            for (_, old) in &all[..all.len().saturating_sub(self.keep)] {
                // Renamed first: a kill while removing must not leave half a checkpoint under its name.
                let doomed = self.folder.join(format!("{PARTIAL}{}", file_name(old)));
                fs::rename(old, &doomed).map_err(Error::io(old))?;
                fs::remove_dir_all(&doomed).map_err(Error::io(&doomed))?;
            }
        }
        Ok(path)
    }
}

/// Fills a folder under a temporary name beside `path`, syncs it, and renames it to `path`, replacing an
/// existing folder of that name.
///
/// # Errors
/// `fill` failed or the disk is full: `path` is untouched.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let partial = parent.join(format!("{PARTIAL}{}-{}", file_name(path), std::process::id()));
    let written = fs::create_dir_all(&partial)
        .map_err(Error::io(&partial))
        .and_then(|()| fill(&partial))
        .and_then(|()| sync_folder(&partial));
    if let Err(error) = written {
        // The first error matters; what cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&partial);
        return Err(error);
    }
    if path.exists() {
        let old = parent.join(format!("{PARTIAL}old-{}", file_name(path)));
        fs::rename(path, &old).map_err(Error::io(path))?;
        fs::rename(&partial, path).map_err(Error::io(path))?;
        fs::remove_dir_all(&old).map_err(Error::io(&old))?;
    } else {
        fs::rename(&partial, path).map_err(Error::io(path))?;
    }
    sync(parent)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn sync_folder(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))?.flatten() {
        sync(&entry.path())?;
    }
    sync(folder)
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}

#[cfg(test)]
mod tests;

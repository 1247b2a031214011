//! `training.json` and `run.toml` of a checkpoint: where the run stands and with which settings. The
//! configuration is TOML as the user wrote it, whose numbers survive reading and writing to the bit.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::RunConfig;
use crate::config::differences::differences;
use crate::{Error, Result};

const FILE: &str = "training.json";
const CONFIG: &str = "run.toml";

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Completed steps: the next batch is that of this step.
    pub step: u64,
    /// Completed optimizer steps; more than `step` if there were second passes.
    pub optimizer_step: u64,
    /// Seconds of training so far, over all resumed parts.
    pub seconds: f64,
    /// Optimizer steps skipped by the guard.
    pub skipped: u64,
    /// Hash of the tokenizer.
    pub tokenizer: String,
}

/// Whether `--resume` accepts a changed configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Any change that affects the weights is an error.
    Refuse,
    /// The user asked for it.
    Allow,
}

impl TrainingState {
    /// Writes the files.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path, config: &RunConfig) -> Result<()> {
        let path = folder.join(CONFIG);
        let text = toml::to_string_pretty(config).map_err(Error::setting)?;
        std::fs::write(&path, text).map_err(Error::io(&path))?;
        let path = folder.join(FILE);
        let json = serde_json::to_string_pretty(self).expect("the state is plain data");
        std::fs::write(&path, json + "\n").map_err(Error::io(&path))
    }

    /// Reads `training.json`.
    ///
    /// # Errors
    /// The file is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let json = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        serde_json::from_str(&json).map_err(|e| {
            Error::checkpoint(folder, format!("{FILE} does not belong to this version of wane ({e})"))
        })
    }

    /// Checks that a run may go on from here with `config`.
    ///
    /// # Errors
    /// The configuration changed (every change is named), or the tokenizer did.
    pub fn check(&self, folder: &Path, config: &RunConfig, tokenizer: &str, changes: Changes) -> Result<()> {
        if self.tokenizer != tokenizer {
            return Err(Error::checkpoint(
                folder,
                format!("was trained with tokenizer {}, the configuration names {tokenizer}", self.tokenizer),
            ));
        }
        let path = folder.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let saved = toml::from_str(&text).map_err(|e| {
            Error::checkpoint(folder, format!("{CONFIG} does not belong to this version of wane ({e})"))
        })?;
        let changed = differences(&saved, config);
        if changed.is_empty() || changes == Changes::Allow {
            return Ok(());
        }
        Err(Error::checkpoint(
            folder,
            format!(
                "the configuration changed since it was saved ({}); pass --allow-changes to go on with the new one",
                changed.join("; ")
            ),
        ))
    }
}

//! What identifies a line of records, whether it is a finished example (`record`) or a sum of hit rates (`hits`):
//! the cell that it belongs to, and what its samples are made of and where they ran. Both are flattened into
//! their line, so a line's fields stand side by side; so is the recipe of the prompts, which a folder's `run.json`
//! and the report's setups hold too.

use serde::{Deserialize, Serialize};
use wane_attention::Plan;

use super::{Job, Subject};
use crate::ruler::TaskEntry;
use crate::ruler::prompt::PromptForm;

/// A model under a method on a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The version of the line's format.
    pub version: u32,
    /// The model as it was named.
    pub model: String,
    /// SHA-256 of the model's configuration and weights.
    pub model_hash: String,
    /// Whether the model has a memory.
    pub memory: bool,
    /// The method, canonical and fully expanded.
    pub method: String,
    /// The task.
    pub task: String,
    /// The seed of the samples.
    pub seed: u64,
}

/// What prompts are made of and in which form, beside context, tokenizer and seed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipe {
    /// Haystack and sentence splitter.
    pub haystack: String,
    /// The version of the word lists.
    pub wordlist: String,
    /// SHA-256 of the data set, if the samples were made elsewhere (seed 0, no word list).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Which form the prompts have.
    pub prompt_form: PromptForm,
    /// The model template of the form `chat`: NVIDIA's name, or `own@` and the beginning of its hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// What samples are made of, and where they ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Prompt and answer budget, in tokens.
    pub context: usize,
    /// The tokenizer's hash.
    pub tokenizer: String,
    /// What prompts are made of.
    #[serde(flatten)]
    pub recipe: Recipe,
    /// Where it ran.
    pub device: String,
}

/// The identity of a line of `version` about a subject under a plan on a task.
pub(crate) fn identity(
    version: u32,
    subject: &Subject<'_>,
    job: &Job<'_>,
    plan: &Plan,
    task: &TaskEntry,
) -> (Cell, Origin) {
    let settings = job.settings();
    let cell = Cell {
        version,
        model: subject.name.clone(),
        model_hash: subject.hash.clone(),
        memory: subject.decoder.config().memory.is_some(),
        method: plan.canonical(),
        task: task.name.to_owned(),
        seed: settings.seed,
    };
    let origin = Origin {
        context: settings.context,
        tokenizer: subject.tokenizer.hash().to_owned(),
        recipe: settings.recipe,
        device: subject.decoder.device().to_string(),
    };
    (cell, origin)
}

#[cfg(test)]
mod tests;

//! How a sample becomes a prompt, and a training pair.
//!
//! - `input` (the paper's): the prompt alone; the answers follow the question mark at once, joined by `,`.
//! - `prefix` (RULER's): the prompt and the beginning of the answer; the answers follow after a space.
//! - `chat` (RULER's for tuned models): as `prefix`, inside a model template, so that the beginning of
//!   the answer comes behind the assistant's header.
//!
//! Does not do: the template's text; see [`template`](super::template).

use serde::{Deserialize, Serialize};
use wane_model::Tokenizer;

use super::template::ModelTemplate;
use super::{Request, Sample, TaskEntry};
use crate::{Error, Result};

/// Which form a prompt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptForm {
    /// The prompt alone.
    Input,
    /// With the beginning of the answer.
    #[default]
    Prefix,
    /// In a model template, with the beginning of the answer behind the assistant's header.
    Chat,
}

/// One example of supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The task.
    pub task: String,
    /// The pair's number among those of its task.
    pub index: usize,
    /// The prompt.
    pub prompt: String,
    /// The answers joined by `,`; in the forms that begin the answer, with the space before them.
    pub answer: String,
    /// Tokens of the prompt, as the generator counts them (none added at the beginning).
    pub prompt_tokens: usize,
}

impl PromptForm {
    /// Every form.
    pub const LIST: [Self; 3] = [Self::Input, Self::Prefix, Self::Chat];

    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Prefix => "prefix",
            Self::Chat => "chat",
        }
    }

    /// The form of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::LIST.into_iter().find(|f| f.name() == name)
    }

    /// The prompt of a sample, which has the template in it already if the form is `chat`.
    pub fn prompt(self, sample: &Sample) -> String {
        match self {
            Self::Input => sample.input.clone(),
            Self::Prefix | Self::Chat => [sample.input.as_str(), &sample.answer_prefix].concat(),
        }
    }

    /// The answer that follows the prompt.
    pub fn answer<S: AsRef<str>>(self, outputs: &[S]) -> String {
        let joined = outputs.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        match self {
            Self::Input => joined,
            Self::Prefix | Self::Chat => [" ", &joined].concat(),
        }
    }
}

/// The ids of a prompt as the model reads it. Without a chat template of its own, the tokenizer adds what it
/// adds to any text (often one token at the beginning); a template that spells that token out does not get
/// it twice.
///
/// # Errors
/// The tokenizer's own.
pub fn encode(tokenizer: &Tokenizer, template: &ModelTemplate, prompt: &str) -> Result<Vec<u32>> {
    let failed = |e: wane_model::Error| Error::Tokenizer(e.to_string());
    if template.is_own() {
        return tokenizer.encode(prompt).map_err(failed);
    }
    let mut ids = tokenizer.encode_with_special(prompt).map_err(failed)?;
    let doubled = ids.len() > 1 && ids[0] == ids[1] && {
        let plain = tokenizer.encode(prompt).map_err(failed)?;
        ids.len() > plain.len() && plain.first() == Some(&ids[0])
    };
    if doubled {
        ids.remove(0);
    }
    Ok(ids)
}

/// The fine-tuning pairs of one task: RULER's own samples (take another seed than for measuring), in the
/// order of the generator, so pair `i` of a seed is the same however many are asked for.
///
/// # Errors
/// The generator's and the tokenizer's; a prompt that leaves less than the answer's budget of the context.
pub fn pairs(
    task: &TaskEntry,
    request: &mut Request<'_>,
    form: PromptForm,
    take: &mut dyn FnMut(Pair) -> Result<()>,
) -> Result<()> {
    let room = request.room().saturating_sub(task.max_new_tokens);
    let samples = request.collect(task)?;
    for (index, sample) in samples.iter().enumerate() {
        let prompt = form.prompt(sample);
        let prompt_tokens = request.pieces.count(&prompt)?;
        if prompt_tokens > room {
            let message = format!(
                "pair {index}: a prompt of {prompt_tokens} tokens, {room} are free: raise the context"
            );
            return Err(Error::Task { task: task.name, message });
        }
        let mut answer = form.answer(&sample.outputs);
        if prompt.ends_with(' ') {
            // `vt` ends its answer's beginning with the space already.
            answer = answer.trim_start().to_owned();
        }
        take(Pair { task: task.name.to_owned(), index, prompt, answer, prompt_tokens })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! How a sample becomes a prompt, and a training pair.
//!
//! - `input` (the paper's): the prompt alone; the answers follow the question mark at once, joined by `,`.
//! - `prefix` (RULER's): the prompt and the beginning of the answer; the answers follow after a space.
//!
//! Does not do: chat templates.

use serde::{Deserialize, Serialize};

use super::{Request, Sample, TaskEntry};
use crate::Result;

/// Which form a prompt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptForm {
    /// The prompt alone.
    Input,
    /// With the beginning of the answer.
    #[default]
    Prefix,
}

/// A prompt and its answer, as ids: one example of supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The prompt; begins with the token that begins a document, if there is one.
    pub prompt: Vec<u32>,
    /// The answers joined by `,`, tokenized apart from the prompt, and the end token.
    pub answer: Vec<u32>,
}

impl PromptForm {
    /// The name on the command line and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Prefix => "prefix",
        }
    }

    /// The form of a name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Input, Self::Prefix].into_iter().find(|f| f.name() == name)
    }

    /// The prompt of a sample.
    pub fn prompt(self, sample: &Sample) -> String {
        match self {
            Self::Input => sample.input.clone(),
            Self::Prefix => [sample.input.as_str(), &sample.answer_prefix].concat(),
        }
    }

    /// The answer that follows the prompt.
    pub fn answer<S: AsRef<str>>(self, outputs: &[S]) -> String {
        let joined = outputs.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        match self {
            Self::Input => joined,
            Self::Prefix => [" ", &joined].concat(),
        }
    }
}

/// The fine-tuning pairs of one task: RULER's own samples (take another seed than for measuring).
///
/// # Errors
/// The generator's and the tokenizer's.
pub fn pairs(
    task: &TaskEntry,
    request: &mut Request<'_>,
    form: PromptForm,
    bos: Option<u32>,
    eos: u32,
) -> Result<Vec<Pair>> {
    let mut samples = Vec::new();
    (task.generate)(request, &mut |sample| {
        samples.push(sample);
        Ok(())
    })?;
    samples
        .iter()
        .map(|sample| {
            let mut pair = Pair { prompt: bos.into_iter().collect(), answer: Vec::new() };
            request.pieces.encode(&form.prompt(sample), &mut pair.prompt)?;
            request.pieces.encode(&form.answer(&sample.outputs), &mut pair.answer)?;
            pair.answer.push(eos);
            Ok(pair)
        })
        .collect()
}

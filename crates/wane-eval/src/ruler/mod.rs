//! RULER (Hsieh et al. 2024, arXiv:2404.06654): synthetic tasks of any length, generated exactly as
//! NVIDIA's scripts do (commit c3f5e3b), same random stream, same bytes.
//!
//! - [`tasks`]: the registry; [`needle`]: the eight needle tasks; [`qa`]: the two of questions; [`training`]: endless training samples of them.
//! - [`score`]: the metrics; [`jsonl`]: NVIDIA's files; [`data`], [`predictions`]: folders of them; [`check`]: two compared.
//! - [`mt19937`], [`words`], [`haystack`], [`sentences`], [`punkt`], [`files`]: what samples are made of; [`size`]: how much.
//! - [`template`], [`prompt`]: chat templates, forms of prompts, pairs for fine-tuning.
//! - [`tokens`], `pieces`: tokenizers as seen from here.

pub mod check;
pub mod data;
pub mod files;
pub mod haystack;
pub mod jsonl;
pub mod mt19937;
pub mod needle;
pub mod pieces;
pub mod predictions;
pub mod prompt;
pub mod punkt;
mod python;
pub mod qa;
pub mod score;
pub mod sentences;
pub mod size;
pub mod tasks;
pub mod template;
pub mod tokens;
pub mod training;
pub mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Result;
use files::Files;
use haystack::Haystack;
use pieces::Pieces;
use size::Search;
use template::ModelTemplate;
use tokens::Encode;
use words::WordList;

pub use score::Metric;
pub use tasks::TASKS;

/// One task of the registry.
#[derive(Debug)]
pub struct TaskEntry {
    /// The name, as NVIDIA's.
    pub name: &'static str,
    /// One line for `wane tasks`.
    pub summary: &'static str,
    /// NVIDIA's metric for it.
    pub metric: Metric,
    /// New tokens that a prediction may have.
    pub max_new_tokens: usize,
    /// The parameters, if it is a needle task.
    pub needle: Option<needle::Shape>,
    /// Generates all samples, handing over one by one.
    pub generate: Generate,
}

/// Generates the samples of one request.
pub type Generate = fn(&mut Request<'_>, &mut dyn FnMut(Sample) -> Result<()>) -> Result<()>;

/// What to generate.
#[derive(Debug)]
pub struct Request<'a> {
    /// Prompt and answer budget together, in tokens.
    pub context: usize,
    /// The number of samples.
    pub samples: usize,
    /// The seed; NVIDIA's runs use 42.
    pub seed: u64,
    /// Where words come from.
    pub words: WordList,
    /// How the haystack's size is found.
    pub search: Search,
    /// The text for essay tasks.
    pub haystack: &'a Haystack,
    /// What the user has of files that are not shipped.
    pub files: &'a Files,
    /// What stands around the task's text.
    pub template: &'a ModelTemplate,
    /// The tokenizer.
    pub pieces: &'a mut Pieces,
}

impl Request<'_> {
    /// Tokens that a prompt and its answer may have here: the context without a reserved template.
    pub fn room(&self) -> usize {
        self.context.saturating_sub(self.template.reserved_tokens())
    }

    /// Generates all samples of a task, handing over one by one.
    ///
    /// # Errors
    /// A context too small for the task, the tokenizer's errors, and those of `take`.
    pub fn run(&mut self, task: &TaskEntry, take: &mut dyn FnMut(Sample) -> Result<()>) -> Result<()> {
        let reserved = self.template.reserved_tokens();
        (task.generate)(self, &mut |mut sample| {
            sample.length_w_model_temp += reserved;
            take(sample)
        })
    }

    /// All samples of a task.
    ///
    /// # Errors
    /// As [`Request::run`].
    pub fn collect(&mut self, task: &TaskEntry) -> Result<Vec<Sample>> {
        let mut samples = Vec::with_capacity(self.samples);
        self.run(task, &mut |sample| {
            samples.push(sample);
            Ok(())
        })?;
        Ok(samples)
    }
}

/// One line of NVIDIA's `validation.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// For needle tasks the character offset of the first answer (the original's quirk), else the sample's number.
    pub index: i64,
    /// The prompt without the answer's beginning.
    pub input: String,
    /// The answers.
    pub outputs: Vec<String>,
    /// Tokens of input and answer prefix, and the answer budget.
    pub length: usize,
    /// As `length`, chat template included.
    pub length_w_model_temp: usize,
    /// The beginning of the answer.
    pub answer_prefix: String,
    /// Tokens before the first answer (needle tasks).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_position_answer: Option<usize>,
}

impl Sample {
    /// A sample whose index is its number.
    pub(crate) fn numbered(
        index: usize,
        input: String,
        answer_prefix: String,
        outputs: Vec<String>,
        length: usize,
    ) -> Self {
        Self {
            index: index as i64,
            input,
            outputs,
            length,
            length_w_model_temp: length,
            answer_prefix,
            token_position_answer: None,
        }
    }
}

/// Prepares a tokenizer for benchmark text.
///
/// # Errors
/// The tokenizer's own.
pub fn pieces(tokenizer: Arc<dyn Encode>, haystack: &Haystack) -> Result<Pieces> {
    pieces_for(tokenizer, haystack, &ModelTemplate::base())
}

/// Prepares a tokenizer for benchmark text in a model template.
///
/// # Errors
/// The tokenizer's own.
pub fn pieces_for(
    tokenizer: Arc<dyn Encode>,
    haystack: &Haystack,
    template: &ModelTemplate,
) -> Result<Pieces> {
    let mut battery = template.wrap(&battery());
    battery.extend(haystack.text().chars().take(30_000));
    Pieces::new(tokenizer, &battery)
}

/// Text with everything that needles are made of.
fn battery() -> String {
    use std::fmt::Write as _;
    let (lists, mut random) = (WordList::V2_2_0.lists(), mt19937::PythonRandom::new(7));
    let mut text = format!("{}\n{}\n", needle::NOISE, needle::NOISE);
    let longer = lists.adjectives.len().max(lists.nouns.len());
    for i in 0..longer {
        let key = format!(
            "{}-{}",
            lists.adjectives[i % lists.adjectives.len()],
            lists.nouns[i % lists.nouns.len()]
        );
        let line = match i % 64 {
            0 => {
                needle::needle(needle::Kind::Numbers, &key, &random.integer(1_000_000, 9_999_999).to_string())
            }
            1 => needle::needle(
                needle::Kind::Uuids,
                &needle::uuid(random.bits128()),
                &needle::uuid(random.bits128()),
            ),
            2 => tasks::TASKS
                .iter()
                .filter_map(|t| t.needle)
                .map(|s| s.head() + &s.question(&key) + &s.answer_prefix(&key))
                .collect(),
            _ => key + if i % 2 == 0 { " is: " } else { ", and " },
        };
        let _ = write!(text, "{line}{}", if i % 64 < 3 { "\n" } else { "" });
    }
    text
}

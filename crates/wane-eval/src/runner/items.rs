//! The prompts of a job, sample-major.

use std::sync::Arc;

use rayon::prelude::*;

use super::record::Key;
use super::{Job, Subject};
use crate::ruler::data::DataSet;
use crate::ruler::prompt::{self, PromptForm};
use crate::ruler::size::Search;
use crate::ruler::tokens::Encode;
use crate::ruler::{self, Request, Sample, TaskEntry};
use crate::{Error, Result};

/// One prompt.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) task: &'static TaskEntry,
    pub(super) sample: usize,
    /// Numbers the example for random selectors, whatever batch it runs in.
    pub(super) sequence: u32,
    pub(super) ids: Vec<u32>,
    pub(super) references: Vec<String>,
    pub(super) max_new_tokens: usize,
}

impl Item {
    /// Under a method, canonical, of the model of that hash.
    pub(super) fn key(&self, hash: &str, method: &str) -> Key {
        (hash.to_owned(), method.to_owned(), self.task.name.to_owned(), self.sample)
    }
}

/// Numbers an example for random selectors.
pub(crate) fn sequence(task: &TaskEntry, sample: usize) -> u32 {
    let place = ruler::TASKS.iter().position(|t| t.name == task.name).unwrap_or(0);
    (place as u32) << 20 | sample as u32
}

/// The samples of every task, generated or taken over.
pub(crate) fn samples(subject: &Subject<'_>, job: &Job<'_>) -> Result<Vec<Vec<Sample>>> {
    match job.data {
        Some(data) => job.tasks.iter().map(|task| given(data, task, job)).collect(),
        None => generate(subject, job),
    }
}

/// Generates or takes over the samples of every task and encodes their prompts.
pub(super) fn make(subject: &Subject<'_>, job: &Job<'_>) -> Result<Vec<Item>> {
    let by_task = samples(subject, job)?;
    let Job { template, form, data, context, max_new_tokens, .. } = job;
    let (tokenizer, limit) = (&subject.tokenizer, subject.decoder.config().max_position_embeddings);
    let item = |(task, sample, made): (&'static TaskEntry, usize, &Sample)| {
        let ids = prompt::encode(tokenizer, template, &form.prompt(made))?;
        let most = max_new_tokens.unwrap_or(task.max_new_tokens).min(task.max_new_tokens);
        if let Some(data) = data {
            fits(data, task, sample, made, ids.len(), most, *context)?;
        }
        Ok(Item {
            task,
            sample,
            sequence: sequence(task, sample),
            max_new_tokens: most.min(limit.saturating_sub(ids.len())),
            references: made.outputs.clone(),
            ids,
        })
    };
    let tasks = || job.tasks.iter().zip(&by_task);
    let of_number =
        |sample: usize| tasks().filter_map(move |(task, of)| Some((*task, sample, of.get(sample)?)));
    let all: Vec<_> = (0..job.samples).flat_map(of_number).collect();
    // Encoding takes milliseconds a prompt: thousands of prompts would keep a GPU waiting.
    all.into_par_iter().map(item).collect()
}

fn generate(subject: &Subject<'_>, job: &Job<'_>) -> Result<Vec<Vec<Sample>>> {
    let tokenizer: Arc<dyn Encode> = subject.tokenizer.clone();
    let mut pieces = ruler::pieces_for(tokenizer, job.haystack, &job.template)?;
    let mut request = Request {
        context: job.context,
        samples: job.samples,
        seed: job.seed,
        words: job.words,
        search: Search::Binary,
        haystack: job.haystack,
        files: job.files,
        template: &job.template,
        pieces: &mut pieces,
    };
    job.tasks.iter().map(|task| request.collect(task)).collect()
}

/// The samples of a data set, put into the template where the form asks for one.
fn given(data: &DataSet, task: &TaskEntry, job: &Job<'_>) -> Result<Vec<Sample>> {
    let mut samples = data.samples(task.name)?.to_vec();
    samples.truncate(job.samples);
    if job.form == PromptForm::Chat {
        for sample in &mut samples {
            sample.input = job.template.wrap(&sample.input);
        }
    }
    Ok(samples)
}

/// An error for a sample that does not fit the context.
fn fits(
    data: &DataSet,
    task: &TaskEntry,
    number: usize,
    sample: &Sample,
    tokens: usize,
    answer: usize,
    context: usize,
) -> Result<()> {
    if tokens + answer <= context {
        return Ok(());
    }
    let made_for = match sample.length {
        0 => String::new(),
        length => format!(
            " (its file says {length}: was it made with another tokenizer, or without a chat template?)"
        ),
    };
    Err(Error::Invalid(format!(
        "{}, task {}, sample {number}: {tokens} tokens of prompt and {answer} of answer are more than the context of {context}{made_for}: raise --context, or make the samples again",
        data.name(),
        task.name
    )))
}

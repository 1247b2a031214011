//! The prompts of a job, sample-major.

use std::sync::Arc;

use wane_attention::Plan;

use super::record::Key;
use super::{Job, Subject, model};
use crate::Result;
use crate::ruler::size::Search;
use crate::ruler::tokens::Encode;
use crate::ruler::{self, Request, Sample, TaskEntry};

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
    pub(super) fn key(&self, hash: &str, plan: &Plan) -> Key {
        (hash.to_owned(), plan.canonical(), self.task.name.to_owned(), self.sample)
    }
}

/// Generates the samples of every task and encodes their prompts.
pub(super) fn make(subject: &Subject<'_>, job: &Job<'_>) -> Result<Vec<Item>> {
    let tokenizer: Arc<dyn Encode> = subject.tokenizer.clone();
    let mut pieces = ruler::pieces(tokenizer, job.haystack)?;
    let limit = subject.decoder.config().max_position_embeddings;
    let mut by_task: Vec<Vec<Sample>> = Vec::new();
    for task in &job.tasks {
        let mut request = Request {
            context: job.context,
            samples: job.samples,
            seed: job.seed,
            words: job.words,
            search: Search::Binary,
            haystack: job.haystack,
            files: job.files,
            pieces: &mut pieces,
        };
        let mut samples = Vec::with_capacity(job.samples);
        (task.generate)(&mut request, &mut |sample| {
            samples.push(sample);
            Ok(())
        })?;
        by_task.push(samples);
    }
    let mut items = Vec::with_capacity(job.tasks.len() * job.samples);
    for sample in 0..job.samples {
        for (task, samples) in job.tasks.iter().zip(&by_task) {
            let ids =
                subject.tokenizer.encode_with_special(&job.form.prompt(&samples[sample])).map_err(model)?;
            let place = ruler::TASKS.iter().position(|t| t.name == task.name).unwrap_or(0);
            let most = job.max_new_tokens.unwrap_or(task.max_new_tokens).min(task.max_new_tokens);
            items.push(Item {
                task,
                sample,
                sequence: (place as u32) << 20 | sample as u32,
                max_new_tokens: most.min(limit.saturating_sub(ids.len())),
                references: samples[sample].outputs.clone(),
                ids,
            });
        }
    }
    Ok(items)
}

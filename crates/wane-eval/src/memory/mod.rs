//! What a model's memory does (arXiv 2605.28640, section 2): how its gates are distributed, how long channels
//! remember, and how far a needle's tokens reach into the keys and values after them.
//!
//! [`record`] says what is measured; [`measure`] measures one model on needle samples or on a text.
//!
//! Does not do: models without memory; decoding (the memory of a whole sequence is the same in both).

pub mod record;
pub mod table;

mod heads;

use std::ops::Range;

use wane_model::decoder::Decoder;

use crate::hits::align::align;
use crate::ruler::prompt;
use crate::runner::{Job, Subject, items};
use crate::{Error, Result};
use heads::Sums;
use record::{DISTANCES, ModelMemory};

/// In a text, every so-manieth token is looked at as if it were a needle.
const STRIDE: usize = 97;

/// A sequence, and the tokens of its needles.
#[derive(Debug)]
struct Sequence {
    ids: Vec<u32>,
    needles: Vec<Range<usize>>,
}

/// The memory of `subject` on the samples of `job` (its methods, batch and cache type don't matter): the needles are
/// the values asked for.
///
/// # Errors
/// A model without memory, tasks without needles, a context that the model cannot have.
pub fn measure(subject: &Subject<'_>, job: &Job<'_>) -> Result<ModelMemory> {
    has_memory(subject)?;
    if job.samples == 0 || job.tasks.is_empty() {
        return Err(Error::Invalid("nothing to read: expected at least one sample and one task".into()));
    }
    let limit = subject.decoder.config().max_position_embeddings;
    if job.context > limit {
        let (context, name) = (job.context, &subject.name);
        return Err(Error::Invalid(format!(
            "--context {context} is more than {name} was made for: at most {limit}"
        )));
    }
    let (mut sequences, mut unaligned) = (Vec::new(), 0);
    for (task, samples) in job.tasks.iter().zip(items::samples(subject, job)?) {
        let shape = crate::hits::shape(task)?;
        for sample in &samples {
            let ids = prompt::encode(&subject.tokenizer, &job.template, &job.form.prompt(sample))?;
            match align(&subject.tokenizer, (shape, job.form), sample, &ids)? {
                Ok(answer) => sequences.push(Sequence { needles: values(&answer.steps), ids }),
                Err(_) => unaligned += 1,
            }
        }
    }
    let tasks: Vec<&str> = job.tasks.iter().map(|task| task.name).collect();
    let recipe = job.settings().recipe;
    let source = format!(
        "{} x {} samples, context {}, seed {}, haystack {}, words {}, prompt form {}",
        tasks.join(","),
        job.samples,
        job.context,
        job.seed,
        recipe.haystack,
        recipe.wordlist,
        recipe.prompt_form.name()
    );
    Ok(ModelMemory { unaligned, ..run(subject, &sequences, source, "values".into())? })
}

/// The memory of `subject` on windows of `context` tokens of a text.
///
/// # Errors
/// A model without memory, a text shorter than one window, a context that the model cannot have.
pub fn measure_text(
    subject: &Subject<'_>,
    (name, text): (&str, &str),
    context: usize,
    windows: usize,
) -> Result<ModelMemory> {
    has_memory(subject)?;
    let ids = subject.tokenizer.encode(text).map_err(|e| Error::Tokenizer(e.to_string()))?;
    let needles: Vec<Range<usize>> = (0..context).step_by(STRIDE).map(|i| i..i + 1).collect();
    let sequences: Vec<Sequence> = ids
        .chunks_exact(context.max(1))
        .take(windows)
        .map(|ids| Sequence { ids: ids.to_vec(), needles: needles.clone() })
        .collect();
    if sequences.is_empty() {
        let tokens = ids.len();
        let message =
            format!("{name} has {tokens} tokens, fewer than one window of {context}: lower --context");
        return Err(Error::Invalid(message));
    }
    let source = format!("{name}, {} windows of {context} tokens", sequences.len());
    run(subject, &sequences, source, format!("every {STRIDE}th token"))
}

fn has_memory(subject: &Subject<'_>) -> Result<()> {
    match subject.decoder.config().memory {
        Some(_) => Ok(()),
        None => Err(Error::Invalid(format!(
            "{} has no memory to measure: expected a model with gates (`wane convert --add-memory` gives it some)",
            subject.name
        ))),
    }
}

/// The runs of neighbouring tokens that hold the values.
fn values(steps: &[crate::hits::align::Step]) -> Vec<Range<usize>> {
    let mut tokens: Vec<usize> = steps.iter().flat_map(|step| step.sources[0].clone()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for token in tokens {
        match runs.last_mut() {
            Some(run) if run.end == token => run.end += 1,
            _ => runs.push(token..token + 1),
        }
    }
    runs
}

fn run(
    subject: &Subject<'_>,
    sequences: &[Sequence],
    source: String,
    needles_are: String,
) -> Result<ModelMemory> {
    let decoder: &Decoder = subject.decoder;
    let config = decoder.config();
    let mut sums: Vec<Sums> = (0..config.num_hidden_layers)
        .map(|layer| Sums::new(layer, config.num_key_value_heads, config.head_dim))
        .collect();
    for sequence in sequences {
        let added = decoder.memory_trace(&sequence.ids, &mut |layer, trace| {
            sums[layer].add(&trace, &sequence.needles);
            Ok(())
        });
        added.map_err(|e| Error::Invalid(e.to_string()))?;
    }
    let needles_at = DISTANCES.map(|distance| {
        let has = |s: &Sequence| s.needles.iter().filter(|n| n.end - 1 + distance < s.ids.len()).count();
        sequences.iter().map(has).sum::<usize>()
    });
    Ok(ModelMemory {
        model: subject.name.clone(),
        model_hash: subject.hash.clone(),
        tokenizer: subject.tokenizer.hash().to_owned(),
        device: decoder.device().to_string(),
        source,
        needles_are,
        sequences: sequences.len(),
        tokens: sequences.iter().map(|s| s.ids.len()).sum(),
        needles: sequences.iter().map(|s| s.needles.len()).sum(),
        needles_at: needles_at.to_vec(),
        unaligned: 0,
        heads: sums.iter().flat_map(Sums::finish).collect(),
    })
}

#[cfg(test)]
mod tests;

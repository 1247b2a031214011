//! The measurement of one model: samples in shards of [`SHARD`], a line per method, task and shard.

use std::ops::Range;

use rayon::prelude::*;
use wane_attention::{Phase, Plan, SequenceCache, SparseFrom};
use wane_kernels::ops::sampling::argmax;
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK};

use super::align::{Answer, Step, align};
use super::attention::{Heads, weights};
use super::collect::{Shared, Told};
use super::force::feed;
use super::record::{HeadUnit, Hits, Measured, VERSION};
use super::store::HitStore;
use super::tally::{Layer, count};
use crate::ruler::needle::Shape;
use crate::ruler::{Sample, TaskEntry, prompt};
use crate::runner::identity::identity;
use crate::runner::{End, Job, Subject, items};
use crate::{Error, Result};

/// Samples of a line: what a killed run loses at most, for each task.
const SHARD: usize = 25;

/// How far a measurement is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Examples (sample and method) done, those of earlier runs left out.
    pub done: usize,
    /// Examples to do.
    pub total: usize,
    /// The task at work.
    pub task: &'a str,
}

/// Measures what `store` lacks; `progress` answers whether to go on.
///
/// # Errors
/// Methods without a selection to measure, tasks without needles, a context that the model cannot
/// have, failures of the device or the disk.
pub fn measure(
    subject: &Subject<'_>,
    job: &Job<'_>,
    store: &mut HitStore,
    progress: &mut dyn FnMut(Progress<'_>) -> bool,
) -> Result<End> {
    let limit = subject.decoder.config().max_position_embeddings;
    if job.context > limit {
        let (context, name) = (job.context, &subject.name);
        return Err(Error::Invalid(format!(
            "--context {context} is more than {name} was made for: at most {limit}"
        )));
    }
    if job.samples == 0 || job.tasks.is_empty() || job.methods.is_empty() {
        let what = "nothing to run: expected at least one sample, one task and one method";
        return Err(Error::Invalid(what.into()));
    }
    let mut methods: Vec<Method> = Vec::new();
    for plan in &job.methods {
        let method = Method::new(plan.resolve(job.context).map_err(invalid)?, subject)?;
        if methods.iter().all(|other| other.plan != method.plan) {
            methods.push(method);
        }
    }
    for task in &job.tasks {
        shape(task)?;
    }
    let all = items::samples(subject, job)?;
    let mut run = Run { subject, job, store, methods };
    let (mut done, total) = (0, run.total());
    for shard in (0..job.samples).step_by(SHARD) {
        let shard = shard..(shard + SHARD).min(job.samples);
        for (task, samples) in job.tasks.iter().zip(&all) {
            let end = run.shard(task, samples, shard.clone(), &mut |finished| {
                done += finished;
                progress(Progress { done, total, task: task.name })
            })?;
            if end == End::Stopped {
                return Ok(End::Stopped);
            }
        }
    }
    Ok(End::Complete)
}

fn invalid(error: impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

/// The parameters of a needle task.
pub(crate) fn shape(task: &TaskEntry) -> Result<&Shape> {
    task.needle.as_ref().ok_or_else(|| {
        let name = task.name;
        Error::Invalid(format!("task {name} has no needles: choose needle tasks (`--tasks niah` are all)"))
    })
}

/// A method, and what of it is measured.
#[derive(Debug)]
struct Method {
    plan: Plan,
    measured: Measured,
    unit: HeadUnit,
}

impl Method {
    fn new(plan: Plan, subject: &Subject<'_>) -> Result<Self> {
        let names = plan.method_names();
        let refuse = |why: &str| {
            Err(Error::Invalid(format!(
                "{plan}: {why}; hit rates exist for quest, snapkv, moba, moba+quest and moba+snapkv"
            )))
        };
        if let Some(other) = names.iter().find(|name| !["quest", "snapkv", "moba"].contains(name)) {
            return refuse(&format!("{other} does not select by score"));
        }
        let (name, measured) = match (names.contains(&"quest"), names.contains(&"snapkv")) {
            (true, true) => return refuse("quest would select among the rows that snapkv left"),
            (true, false) => ("quest", Measured::DecodeSteps),
            (false, true) => ("snapkv", Measured::Retained),
            (false, false) if names.contains(&"moba") => ("moba", Measured::LastPromptToken),
            (false, false) => return refuse("dense attention selects nothing"),
        };
        if plan.sparse_from() == SparseFrom::Question {
            return refuse("sparse_from=question is not supported yet");
        }
        let config = subject.decoder.config();
        let alone = config.num_attention_heads == config.num_key_value_heads;
        let unit = match alone || plan.setting(name, "share") == Some("q_head") {
            true => HeadUnit::QueryHead,
            false => HeadUnit::KvHead,
        };
        Ok(Self { plan, measured, unit })
    }
}

/// One sample's prompt and answer.
struct Example {
    sample: usize,
    sequence: u32,
    ids: Vec<u32>,
    answer: std::result::Result<Answer, String>,
}

/// A prompt that has been read.
struct Read<'a> {
    example: &'a Example,
    answer: &'a Answer,
    cache: SequenceCache,
    first: u32,
}

struct Run<'a> {
    subject: &'a Subject<'a>,
    job: &'a Job<'a>,
    store: &'a mut HitStore,
    methods: Vec<Method>,
}

impl Run<'_> {
    fn total(&self) -> usize {
        let tasks = self.job.tasks.iter();
        let lacking = |task: &&&TaskEntry| -> usize {
            let missing = |m: &Method| self.store.missing(&self.blank(m, task, 0..0), 0..self.job.samples);
            self.methods.iter().flat_map(missing).map(|run| run.len()).sum()
        };
        tasks.map(|task| lacking(&task)).sum()
    }

    /// A line without examples.
    fn blank(&self, method: &Method, task: &TaskEntry, samples: Range<usize>) -> Hits {
        let (cell, origin) = identity(VERSION, self.subject, self.job, &method.plan, task);
        Hits {
            cell,
            origin,
            first_sample: samples.start,
            samples: samples.len(),
            measured: method.measured,
            unit: method.unit,
            examples: 0,
            free_examples: 0,
            unaligned: 0,
            without_steps: 0,
            whole: 0,
            steps: 0,
            steps_range: [0; 2],
            chance: 0.0,
            free_chance: 0.0,
            chance_recall: 0.0,
            candidates: 0.0,
            first_correct: 0,
            correct: 0,
            heads: Vec::new(),
        }
    }

    /// One task's samples of a shard under every method that lacks them.
    fn shard(
        &mut self,
        task: &TaskEntry,
        samples: &[Sample],
        shard: Range<usize>,
        finished: &mut dyn FnMut(usize) -> bool,
    ) -> Result<End> {
        // Lines to write: method and sums.
        let mut lines: Vec<(usize, Hits)> = Vec::new();
        for (number, method) in self.methods.iter().enumerate() {
            for run in self.store.missing(&self.blank(method, task, 0..0), shard.clone()) {
                lines.push((number, self.blank(method, task, run)));
            }
        }
        let wanted = |sample: usize, line: &Hits| {
            (line.first_sample..line.first_sample + line.samples).contains(&sample)
        };
        let Job { template, form, .. } = self.job;
        let (tokenizer, shape) = (&self.subject.tokenizer, shape(task)?);
        let example = |sample: usize| {
            let ids = prompt::encode(tokenizer, template, &form.prompt(&samples[sample]))?;
            let answer = align(tokenizer, (shape, *form), &samples[sample], &ids)?;
            Ok(Example { sample, sequence: items::sequence(task, sample), ids, answer })
        };
        let chosen: Vec<usize> = shard.filter(|&s| lines.iter().any(|(_, line)| wanted(s, line))).collect();
        let examples = chosen.into_par_iter().map(example).collect::<Result<Vec<Example>>>()?;
        let mut groups: Vec<(Plan, Vec<usize>)> = Vec::new();
        for (number, method) in self.methods.iter().enumerate() {
            let prefill = method.plan.prefill_plan();
            match groups.iter_mut().find(|(plan, _)| *plan == prefill) {
                Some((_, numbers)) => numbers.push(number),
                None => groups.push((prefill, vec![number])),
            }
        }
        for batch in examples.chunks(self.job.batch.max(1)) {
            for (prefill, numbers) in &groups {
                let mine = |(number, _): &&mut (usize, Hits)| numbers.contains(number);
                let asked: Vec<&mut (usize, Hits)> = lines.iter_mut().filter(mine).collect();
                let done = self.group(batch, prefill, asked)?;
                if !finished(done) {
                    return Ok(End::Stopped);
                }
            }
        }
        for (_, line) in lines {
            self.store.append(line)?;
        }
        Ok(End::Complete)
    }

    /// Reads a batch's prompts in one way and measures the methods that start so; the examples done.
    fn group(&self, batch: &[Example], prefill: &Plan, lines: Vec<&mut (usize, Hits)>) -> Result<usize> {
        let wanted = |example: &Example, line: &Hits| {
            (line.first_sample..line.first_sample + line.samples).contains(&example.sample)
        };
        let needed = |e: &&Example| lines.iter().any(|(_, line)| wanted(e, line));
        let needed: Vec<&Example> = batch.iter().filter(needed).collect();
        let mut keep_queries = 1;
        for (number, _) in &lines {
            keep_queries = keep_queries.max(self.methods[*number].plan.query_window().map_err(invalid)?);
        }
        let decoder = self.subject.decoder;
        let context = Some(self.job.context);
        let config = decoder.cache_config(CacheOptions { dtype: self.job.kv_dtype, context, keep_queries });
        let prompts = Shared::default();
        let mut reads = Vec::new();
        for &example in &needed {
            let Ok(answer) = &example.answer else { continue };
            let mut cache = SequenceCache::new(prefill, &config, example.sequence).map_err(invalid)?;
            if !prefill.is_dense() {
                cache.set_probe(Some(prompts.probe()));
            }
            let logits = decoder.prefill(&mut cache, &example.ids, DEFAULT_CHUNK).map_err(invalid)?;
            let first = argmax(&logits).and_then(|best| best.to_i32_vec()).map_err(invalid)?[0] as u32;
            reads.push(Read { example, answer, cache, first });
        }
        let told: Vec<Told> = reads.iter().map(|read| prompts.take(read.example.sequence)).collect();
        let mut done = 0;
        for (number, line) in lines {
            let method = &self.methods[*number];
            let mine: Vec<(&Read<'_>, &Told)> =
                reads.iter().zip(&told).filter(|(read, _)| wanted(read.example, line)).collect();
            line.unaligned += needed.iter().filter(|e| wanted(e, line) && e.answer.is_err()).count();
            done += needed.iter().filter(|e| wanted(e, line)).count();
            self.method(method, &mine, line)?;
        }
        Ok(done)
    }

    /// Feeds a batch its answers under one method, and counts.
    fn method(&self, method: &Method, reads: &[(&Read<'_>, &Told)], line: &mut Hits) -> Result<()> {
        let shared = Shared::default();
        let mut forks = Vec::with_capacity(reads.len());
        for (read, _) in reads {
            let mut cache = read.cache.clone();
            let last = method.measured == Measured::LastPromptToken;
            cache.set_probe((!last).then(|| shared.probe()));
            forks.push(cache.fork(&method.plan).map_err(invalid)?);
        }
        let last = |read: &Read<'_>| read.answer.steps.last().map_or(0, |step| step.token);
        let tokens: Vec<&[u32]> = reads.iter().map(|(read, _)| &read.answer.ids[..last(read)]).collect();
        let likeliest = feed(self.subject.decoder, forks, &tokens)?;
        for ((read, prompt), likeliest) in reads.iter().zip(&likeliest) {
            let decoded = shared.take(read.example.sequence);
            let told = if method.measured == Measured::LastPromptToken { prompt } else { &decoded };
            if self.example(method, read, told, line)? {
                let right = |step: &Step| {
                    let best = if step.token == 0 { read.first } else { likeliest[step.token - 1] };
                    best == read.answer.ids[step.token]
                };
                line.first_correct += usize::from(right(&read.answer.steps[0]));
                line.correct += usize::from(read.answer.steps.iter().all(right));
            }
        }
        Ok(())
    }

    /// Counts one sample; whether it is an example.
    fn example(&self, method: &Method, read: &Read<'_>, told: &Told, line: &mut Hits) -> Result<bool> {
        let steps: Vec<Step> = match method.measured {
            Measured::DecodeSteps => read.answer.steps.iter().filter(|s| s.token > 0).cloned().collect(),
            Measured::Retained => read.answer.steps.clone(),
            Measured::LastPromptToken => read.answer.steps.iter().take(1).cloned().collect(),
        };
        if steps.is_empty() {
            line.without_steps += 1;
            return Ok(false);
        }
        let config = self.subject.decoder.config();
        let prompt = read.example.ids.len();
        let sizes = Heads {
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: (config.head_dim as f32).powf(-0.5),
        };
        let mut seen = Vec::new();
        for layer in 0..config.num_hidden_layers {
            let at = |step: &Step| match method.measured {
                Measured::DecodeSteps => told.selection(Phase::Decode, layer, prompt + step.token - 1),
                Measured::Retained => told.selection(Phase::AfterPrefill, layer, prompt),
                Measured::LastPromptToken => told.selection(Phase::Prefill, layer, prompt - 1),
            };
            // A layer that the method leaves dense selects nothing.
            if let Some(observations) = steps.iter().map(at).collect::<Option<Vec<_>>>() {
                let attention = self.attention(method, read, told, layer, &steps, sizes)?;
                seen.push((layer, observations, attention));
            }
        }
        if seen.is_empty() {
            line.whole += 1;
            return Ok(false);
        }
        let selectors = match method.unit {
            HeadUnit::QueryHead => sizes.heads,
            HeadUnit::KvHead => sizes.kv_heads,
        };
        let layers: Vec<Layer<'_>> = seen
            .iter()
            .map(|(layer, seen, attention)| Layer { layer: *layer, seen: seen.clone(), attention })
            .collect();
        Ok(count(line, &steps, &layers, selectors))
    }

    /// `[step][head][position]`: full attention of the query that emits each step's token.
    fn attention(
        &self,
        method: &Method,
        read: &Read<'_>,
        told: &Told,
        layer: usize,
        steps: &[Step],
        sizes: Heads,
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        let prompt = read.example.ids.len();
        let keys = read.cache.keys(layer).and_then(|keys| Ok(keys.to_f32_vec()?)).map_err(invalid)?;
        let queries = read.cache.last_queries(layer);
        let queries = queries.ok_or_else(|| invalid("the prompt's last query was not kept"))?;
        let queries = queries.to_f32_vec().map_err(invalid)?;
        let last = &queries[queries.len() - sizes.heads * sizes.head_dim..];
        let vectors = told.vectors(layer);
        let after: Vec<f32> = vectors.iter().flat_map(|v| v.key.iter().copied()).collect();
        let mut all: Vec<(&[f32], usize)> = Vec::with_capacity(steps.len());
        for step in steps {
            let token = if method.measured == Measured::LastPromptToken { 0 } else { step.token };
            all.push(match token {
                0 => (last, prompt),
                token => (&vectors[token - 1].query, prompt + token),
            });
        }
        Ok(weights(sizes, &all, (&keys[..], &after[..])))
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! Measures one model under many methods on many samples.
//!
//! Samples come sample-major (the first of every task, then the second, ...), so that a run that is
//! stopped early covers every task. A batch of them is read once for each way of reading the prompt
//! (dense; MoBA's, ...); the caches are forked to every method that starts so, and each method
//! decodes the batch together. Records are appended as soon as a method has finished a batch.
//!
//! Decoding is greedy. Does not do: `sparse_from=question`.

pub mod identity;
pub mod record;
pub mod store;

mod decode;
mod flops;
pub(crate) mod items;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wane_attention::{CacheConfig, Plan, SequenceCache, SparseFrom};
use wane_kernels::DType;
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK, Decoder};
use wane_model::{SpecialTokens, Tokenizer};

use crate::ruler::data::DataSet;
use crate::ruler::files::Files;
use crate::ruler::haystack::Haystack;
use crate::ruler::prompt::PromptForm;
use crate::ruler::template::ModelTemplate;
use crate::ruler::words::WordList;
use crate::ruler::{Metric, TaskEntry};
use crate::{Error, Result};
use flops::Weights;
use identity::{Recipe, identity};
use items::Item;
use record::{Bytes, Record, Seconds};
use store::{Settings, Store};

/// A model to measure.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its name in tables.
    pub name: String,
    /// SHA-256 of configuration and weights.
    pub hash: String,
    /// The model.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
}

/// What to measure.
#[derive(Debug)]
pub struct Job<'a> {
    /// The methods.
    pub methods: Vec<Plan>,
    /// The tasks.
    pub tasks: Vec<&'static TaskEntry>,
    /// Prompt and answer budget, in tokens.
    pub context: usize,
    /// Samples of each task.
    pub samples: usize,
    /// The seed of the samples.
    pub seed: u64,
    /// Where words come from.
    pub words: WordList,
    /// The text for essay tasks.
    pub haystack: &'a Haystack,
    /// Files that single tasks need.
    pub files: &'a Files,
    /// Samples made elsewhere, instead of generated ones.
    pub data: Option<&'a DataSet>,
    /// Which form the prompts have.
    pub form: PromptForm,
    /// What stands around the task's text; `base` unless the form is `chat`.
    pub template: ModelTemplate,
    /// A limit below the tasks' own, if any.
    pub max_new_tokens: Option<usize>,
    /// Samples decoded together.
    pub batch: usize,
    /// Type of cached keys and values; the model's own if `None`.
    pub kv_dtype: Option<DType>,
}

impl Job<'_> {
    /// What the records of this job share.
    pub fn settings(&self) -> Settings {
        let (seed, haystack, wordlist) = match self.data {
            Some(data) => (0, data.name().to_owned(), "-".to_owned()),
            None => (self.seed, self.haystack.name().to_owned(), self.words.name().to_owned()),
        };
        let recipe = Recipe {
            haystack,
            wordlist,
            data: self.data.map(|data| data.hash().to_owned()),
            prompt_form: self.form,
            template: (self.form == PromptForm::Chat).then(|| self.template.name().to_owned()),
        };
        Settings { context: self.context, seed, recipe, max_new_tokens: self.max_new_tokens }
    }
}

/// Hears how a run goes on.
pub trait Observer {
    /// A model starts; `examples` are to be run.
    fn start(&mut self, subject: &Subject<'_>, examples: usize);
    /// An example is finished.
    fn finished(&mut self, record: &Record);
    /// Whether to stop now (Ctrl-C); finished examples are kept.
    fn stop(&self) -> bool {
        false
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything is done.
    Complete,
    /// The observer stopped it.
    Stopped,
}

/// One prompt that has been read.
struct Read {
    cache: SequenceCache,
    first: u32,
    seconds: f64,
    peak: usize,
}

/// Runs what `store` does not hold yet.
///
/// # Errors
/// A context that the model or a task cannot have, a method that does not fit, failures of the device or the disk.
pub fn evaluate(
    subject: &Subject<'_>,
    job: &Job<'_>,
    store: &mut Store,
    observer: &mut dyn Observer,
) -> Result<End> {
    let limit = subject.decoder.config().max_position_embeddings;
    if job.context > limit {
        let context = job.context;
        return Err(Error::Invalid(format!(
            "--context {context} is more than {} was made for: at most {limit}",
            subject.name
        )));
    }
    if job.samples == 0 || job.tasks.is_empty() || job.methods.is_empty() {
        return Err(Error::Invalid(
            "nothing to run: expected at least one sample, one task and one method".into(),
        ));
    }
    store.check_model(&subject.name, &subject.hash)?;
    let mut methods: Vec<Plan> = Vec::new();
    for method in &job.methods {
        let plan = method.resolve(job.context).map_err(model)?;
        if plan.sparse_from() == SparseFrom::Question {
            return Err(Error::Invalid(format!(
                "{plan}: the runner does not support sparse_from=question yet"
            )));
        }
        if !methods.contains(&plan) {
            methods.push(plan);
        }
    }
    let items = items::make(subject, job)?;
    let missing =
        |method: &str| items.iter().filter(|item| !store.contains(&item.key(&subject.hash, method))).count();
    observer.start(subject, methods.iter().map(|plan| missing(&plan.canonical())).sum());
    let weights = Weights::of(subject.decoder.config());
    let mut runner = Runner { subject, job, store, observer, weights };
    for batch in items.chunks(job.batch.max(1)) {
        let mut groups: Vec<(Plan, Vec<&Plan>)> = Vec::new();
        for plan in &methods {
            let prefill = plan.prefill_plan();
            match groups.iter_mut().find(|(p, _)| *p == prefill) {
                Some((_, plans)) => plans.push(plan),
                None => groups.push((prefill, vec![plan])),
            }
        }
        for (prefill, plans) in groups {
            if runner.group(batch, &prefill, &plans)? == End::Stopped {
                return Ok(End::Stopped);
            }
        }
    }
    Ok(End::Complete)
}

fn model(error: impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

struct Runner<'a> {
    subject: &'a Subject<'a>,
    job: &'a Job<'a>,
    store: &'a mut Store,
    observer: &'a mut dyn Observer,
    weights: Weights,
}

impl Runner<'_> {
    /// Reads the batch's prompts in one way, and runs every method that starts so.
    fn group(&mut self, batch: &[Item], prefill: &Plan, plans: &[&Plan]) -> Result<End> {
        let hash = &self.subject.hash;
        let names: Vec<String> = plans.iter().map(|plan| plan.canonical()).collect();
        let batch: Vec<&Item> = batch
            .iter()
            .filter(|item| names.iter().any(|name| !self.store.contains(&item.key(hash, name))))
            .collect();
        if batch.is_empty() {
            return Ok(End::Complete);
        }
        let keep_queries = plans
            .iter()
            .map(|p| p.query_window().map_err(model))
            .max_by_key(|w| *w.as_ref().unwrap_or(&usize::MAX));
        let options = CacheOptions {
            dtype: self.job.kv_dtype,
            context: Some(self.job.context),
            keep_queries: keep_queries.transpose()?.unwrap_or(0),
        };
        let config = self.subject.decoder.cache_config(options);
        let Some(read) = self.read(&batch, prefill, &config)? else { return Ok(End::Stopped) };
        for (plan, name) in plans.iter().zip(&names) {
            let wanted: Vec<(&Item, &Read)> = batch
                .iter()
                .zip(&read)
                .filter(|(item, _)| !self.store.contains(&item.key(hash, name)))
                .map(|(item, read)| (*item, read))
                .collect();
            if !wanted.is_empty() {
                self.method(plan, &wanted)?;
            }
            if self.observer.stop() {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Complete)
    }

    /// Reads the batch's prompts. The device is given all of them before the first tokens are asked for, so it
    /// reads one while the next is prepared. `None` if the observer stopped it.
    fn read(&self, batch: &[&Item], prefill: &Plan, config: &Arc<CacheConfig>) -> Result<Option<Vec<Read>>> {
        let start = Instant::now();
        let (mut caches, mut logits) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for item in batch {
            config.pool.reset_peak();
            let before = config.pool.bytes_in_use();
            let mut cache = SequenceCache::new(prefill, config, item.sequence).map_err(model)?;
            logits.push(self.subject.decoder.prefill(&mut cache, &item.ids, DEFAULT_CHUNK).map_err(model)?);
            caches.push((cache, config.pool.peak_bytes() - before));
            if self.observer.stop() {
                return Ok(None);
            }
        }
        let sequences: Vec<u32> = batch.iter().map(|item| item.sequence).collect();
        let first = decode::first_tokens(&logits, &sequences)?;
        let seconds = start.elapsed().as_secs_f64() / batch.len() as f64;
        let read = |((cache, peak), first)| Read { cache, first, seconds, peak };
        Ok(Some(caches.into_iter().zip(first).map(read).collect()))
    }

    /// Decodes the batch under one method; nothing is recorded of a batch that is stopped within.
    fn method(&mut self, plan: &Plan, wanted: &[(&Item, &Read)]) -> Result<()> {
        let start = Instant::now();
        let (mut forks, mut bytes) = (Vec::with_capacity(wanted.len()), Vec::with_capacity(wanted.len()));
        for (_, read) in wanted {
            let pool = &read.cache.config().pool;
            pool.reset_peak();
            let before = pool.bytes_in_use();
            let fork = read.cache.fork(plan).map_err(model)?;
            let peak = read.peak.max(read.cache.resident_bytes() + pool.peak_bytes() - before);
            bytes.push(Bytes {
                resident: fork.resident_bytes() as u64,
                peak: peak as u64,
                ..Bytes::default()
            });
            forks.push(fork);
        }
        let examples: Vec<(u32, usize, u32)> =
            wanted.iter().map(|(item, read)| (item.sequence, item.max_new_tokens, read.first)).collect();
        let observer = &*self.observer;
        let Some((generated, touched)) =
            decode::greedy_batch(self.subject.decoder, forks, &examples, &|| observer.stop())?
        else {
            return Ok(());
        };
        for (bytes, touched) in bytes.iter_mut().zip(touched) {
            (bytes.read_per_step, bytes.summaries_per_step) = (touched.keys_values, touched.summaries);
        }
        let seconds = start.elapsed().as_secs_f64() / wanted.len() as f64;
        for (((item, read), ids), bytes) in wanted.iter().zip(generated).zip(bytes) {
            let seconds = Seconds { prefill: read.seconds, decode: seconds, batch: wanted.len() };
            let element = read.cache.config().pool.dtype().size();
            let record = self.record(plan, item, &ids, seconds, (bytes, element))?;
            self.observer.finished(&record);
            self.store.append(&record)?;
        }
        Ok(())
    }

    fn record(
        &self,
        plan: &Plan,
        item: &Item,
        ids: &[u32],
        seconds: Seconds,
        (bytes, element): (Bytes, usize),
    ) -> Result<Record> {
        let prediction = self.subject.tokenizer.decode(ids, SpecialTokens::Skip).map_err(model)?;
        let scores: BTreeMap<String, f64> = [item.task.metric, Metric::CommaSet]
            .into_iter()
            .map(|metric| (metric.name().to_owned(), metric.score(&prediction, &item.references)))
            .collect();
        let (cell, origin) = identity(record::VERSION, self.subject, self.job, plan, item.task);
        Ok(Record {
            cell,
            sample: item.sample,
            origin,
            prediction,
            references: item.references.clone(),
            scores,
            prompt_tokens: item.ids.len(),
            new_tokens: ids.len(),
            max_new_tokens: item.max_new_tokens,
            seconds,
            bytes,
            flops: Some(self.weights.of_example(
                self.subject.decoder.config(),
                plan,
                item.ids.len(),
                bytes,
                element,
            )?),
        })
    }
}

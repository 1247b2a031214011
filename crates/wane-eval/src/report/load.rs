//! Records of finished examples, read line by line into what the report needs of each. Names are interned and
//! texts are skipped, so a full protocol (some 300 000 records) stays far below 500 MB.
//!
//! A half-written last line is left out and said, and so are records of a newer format that this
//! program cannot read. A wanted score that a record lacks is computed from its prediction and answers. Of two
//! records of the same example the first counts. Any other line that is no record is an error.
//!
//! Files are read side by side, as many at a time as there are threads, and joined in their order.
//!
//! Does not do: repairing files; resuming a run does.

mod file;
mod names;

use std::collections::hash_map::Entry;
use std::path::PathBuf;

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::runner::identity::Recipe;
use crate::runner::record::VERSION;
use crate::{Error, Result};
use file::Part;
use names::Names;

/// What a setup says about one thing.
type Fact<'a> = &'a dyn Fn(&Setup) -> String;

/// What records must share to stand in one table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Setup {
    pub(super) version: u32,
    pub(super) context: usize,
    pub(super) tokenizer: String,
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
}

impl Setup {
    /// The setup in one line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{}, record version {}",
            samples_in_words(self.context, &self.tokenizer, self.seed, &self.recipe),
            self.version
        )
    }
}

/// What samples are made of, in words.
pub(super) fn samples_in_words(context: usize, tokenizer: &str, seed: u64, recipe: &Recipe) -> String {
    let template = recipe.template.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    format!(
        "context {context} tokens, tokenizer {}, sample seed {seed}, haystack {}, words {}, prompt form {}{template}",
        short_hash(tokenizer),
        recipe.haystack,
        recipe.wordlist,
        recipe.prompt_form.name(),
    )
}

/// The first characters of a hash.
pub(super) fn short_hash(hash: &str) -> String {
    hash.chars().take(12).collect()
}

/// A model as the records name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) hash: String,
    pub(super) memory: bool,
}

/// What the report needs of a record. Indices point into [`Loaded`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) setup: usize,
    pub(super) model: usize,
    pub(super) method: usize,
    pub(super) task: usize,
    pub(super) scorer: usize,
    pub(super) device: usize,
    pub(super) file: usize,
    pub(super) number: usize,
    pub(super) score: f64,
    /// Bytes of K, V and summaries read in the first decode step.
    pub(super) read: f64,
    pub(super) resident: f64,
    pub(super) peak: f64,
    /// Seconds.
    pub(super) prefill: f64,
    /// Seconds per generated token.
    pub(super) decode: f64,
    /// Seconds of the whole answer.
    pub(super) answer: f64,
    /// Examples decoded together.
    pub(super) batch: usize,
    /// Tokens that were generated, and that could have been.
    pub(super) new_tokens: usize,
    pub(super) limit: usize,
    /// Floating point operations of the prompt and of the first decode step, where the record has them.
    pub(super) flops: Option<[f64; 2]>,
}

/// All samples and the names in them, each in the order of first occurrence.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) samples: Vec<Sample>,
    pub(super) setups: Vec<Setup>,
    pub(super) models: Vec<Model>,
    pub(super) methods: Vec<String>,
    pub(super) tasks: Vec<String>,
    pub(super) scorers: Vec<String>,
    pub(super) devices: Vec<String>,
    pub(super) files: Vec<PathBuf>,
    pub(super) notes: Vec<String>,
}

/// The files that were read so far, joined.
#[derive(Debug, Default)]
struct Loader {
    samples: Vec<Sample>,
    // Examples, and where they stand in `samples`.
    seen: FxHashMap<[u32; 5], u32>,
    names: Names,
    duplicates: usize,
    contradictions: usize,
    newer: usize,
    unscored: usize,
}

/// Reads files of records.
///
/// # Errors
/// See [`super::write`].
pub(super) fn load(files: Vec<PathBuf>, metric: &str) -> Result<Loaded> {
    let (mut loader, mut notes) = (Loader::default(), Vec::new());
    let mut number = 0;
    for some in files.chunks(rayon::current_num_threads()) {
        let parts: Vec<Result<Part>> = some.par_iter().map(|path| file::read(path, metric)).collect();
        for part in parts {
            notes.extend(loader.add(part?, number));
            number += 1;
        }
    }
    if loader.samples.is_empty() && !files.is_empty() {
        let what = match (loader.newer, loader.unscored) {
            (0, 0) => "no records".to_owned(),
            (0, n) => format!("none of {n} records has a score `{metric}`: choose another --scorer"),
            (n, _) => format!("{n} records are of a newer version than {VERSION}: use a newer wane"),
        };
        let names: Vec<String> = files.iter().map(|i| i.display().to_string()).collect();
        return Err(Error::Invalid(format!("nothing to report, {what} in {}", names.join(", "))));
    }
    loader.describe(metric, &mut notes);
    Ok(Loaded {
        samples: loader.samples,
        setups: loader.names.setups.list,
        models: loader.names.models.list,
        methods: loader.names.methods.list,
        tasks: loader.names.tasks.list,
        scorers: loader.names.scorers.list,
        devices: loader.names.devices.list,
        files,
        notes,
    })
}

impl Loader {
    /// Joins the samples of file number `file`; the answer is what a reader should know of it.
    fn add(&mut self, part: Part, file: usize) -> Vec<String> {
        self.newer += part.newer;
        self.unscored += part.unscored;
        let among_all = self.names.join(part.names);
        for sample in part.samples {
            let sample = Sample { file, ..among_all(sample) };
            let key = [sample.setup, sample.model, sample.method, sample.task, sample.number];
            match self.seen.entry(key.map(|number| number as u32)) {
                Entry::Occupied(earlier) => {
                    let earlier = &self.samples[*earlier.get() as usize];
                    self.duplicates += 1;
                    self.contradictions += usize::from(earlier.score != sample.score);
                }
                Entry::Vacant(free) => {
                    free.insert(self.samples.len() as u32);
                    self.samples.push(sample);
                }
            }
        }
        part.notes
    }

    /// What a reader should know.
    fn describe(&self, metric: &str, notes: &mut Vec<String>) {
        let setups = self.names.setups.list.len();
        if setups > 1 {
            notes.push(format!(
                "the records are of {setups} kinds ({}), which are kept apart: each kind has its own section",
                self.differences()
            ));
        }
        if self.duplicates > 0 {
            notes.push(format!(
                "{} records repeat an example that came before and were left out; {} of them have another score",
                self.duplicates, self.contradictions
            ));
        }
        if self.newer > 0 {
            notes.push(format!("{} records of a newer version than {VERSION} were left out", self.newer));
        }
        if self.unscored > 0 {
            notes.push(format!("{} records have no score `{metric}` and were left out", self.unscored));
        }
        let mut hashes = FxHashSet::default();
        for model in self.names.models.list.iter().filter(|m| !hashes.insert(&m.hash)) {
            notes.push(format!("model {} has the same weights as another model of the report", model.name));
        }
        for method in &self.names.methods.list {
            if let Some(name) = super::method::Method::parse(method).unknown() {
                notes.push(format!(
                    "method `{name}` is unknown to this version: {method} is in the tables, not in the figures"
                ));
            }
        }
    }

    /// In what the setups differ.
    fn differences(&self) -> String {
        let setups = &self.names.setups.list;
        let facts: [(&str, Fact<'_>); 9] = [
            ("versions", &|s| s.version.to_string()),
            ("contexts", &|s| s.context.to_string()),
            ("tokenizers", &|s| s.tokenizer.clone()),
            ("sample seeds", &|s| s.seed.to_string()),
            ("haystacks", &|s| s.recipe.haystack.clone()),
            ("word lists", &|s| s.recipe.wordlist.clone()),
            ("prompt forms", &|s| s.recipe.prompt_form.name().to_owned()),
            ("model templates", &|s| s.recipe.template.clone().unwrap_or_default()),
            ("data sets", &|s| s.recipe.data.clone().unwrap_or_default()),
        ];
        let differ = facts.iter().filter(|(_, fact)| setups.iter().any(|s| fact(s) != fact(&setups[0])));
        let names: Vec<&str> = differ.map(|(name, _)| *name).collect();
        format!("different {}", names.join(", "))
    }
}

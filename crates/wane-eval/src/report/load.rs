//! Records of finished examples, read line by line into what the report needs of each. Names are interned and
//! texts are skipped, so a full protocol (some 300 000 records) stays far below 500 MB.
//!
//! A half-written last line is left out and said, and so are records of a newer format that this
//! program cannot read. A wanted score that a record lacks is computed from its prediction and answers. Of two
//! records of the same example the first counts. Any other line that is no record is an error.
//!
//! Does not do: repairing files; resuming a run does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::PathBuf;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use super::input;
use crate::ruler::Metric;
use crate::ruler::prompt::PromptForm;
use crate::runner::identity::Recipe;
use crate::runner::record::{Bytes, Flops, Seconds, VERSION};
use crate::{Error, Result};

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

#[derive(Debug)]
struct Names<T>(Vec<T>, FxHashMap<T, usize>);

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(Vec::new(), FxHashMap::default())
    }
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn index(&mut self, value: T) -> usize {
        *self.1.entry(value).or_insert_with_key(|value| {
            self.0.push(value.clone());
            self.0.len() - 1
        })
    }
}

impl Names<String> {
    /// Like [`Self::index`], without a copy of a known text.
    fn text(&mut self, value: &str) -> usize {
        match self.1.get(value) {
            Some(index) => *index,
            None => self.index(value.to_owned()),
        }
    }
}

#[derive(Debug, Default)]
struct Loader {
    samples: Vec<Sample>,
    seen: FxHashMap<[usize; 5], f64>,
    setups: Names<Setup>,
    models: Names<Model>,
    methods: Names<String>,
    tasks: Names<String>,
    scorers: Names<String>,
    devices: Names<String>,
    duplicates: usize,
    contradictions: usize,
    newer: usize,
    unscored: usize,
}

/// A record without its texts.
#[derive(Deserialize)]
struct Slim<'a> {
    version: u32,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    model_hash: Cow<'a, str>,
    memory: bool,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    task: Cow<'a, str>,
    seed: u64,
    sample: usize,
    context: usize,
    #[serde(borrow)]
    tokenizer: Cow<'a, str>,
    #[serde(borrow)]
    haystack: Cow<'a, str>,
    #[serde(borrow)]
    wordlist: Cow<'a, str>,
    prompt_form: PromptForm,
    #[serde(borrow, default)]
    template: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Cow<'a, str>,
    #[serde(borrow)]
    scores: BTreeMap<Cow<'a, str>, f64>,
    new_tokens: usize,
    max_new_tokens: usize,
    seconds: Seconds,
    bytes: Bytes,
    #[serde(default)]
    flops: Option<Flops>,
}

/// Reads files of records.
///
/// # Errors
/// See [`super::write`].
pub(super) fn load(files: Vec<PathBuf>, metric: &str) -> Result<Loaded> {
    let (mut loader, mut notes) = (Loader::default(), Vec::new());
    for (file, path) in files.iter().enumerate() {
        let mut last = 0;
        let cut = input::lines(path, |number, line, whole| {
            last = number;
            match loader.line(line, file, metric) {
                Ok(()) => Ok(()),
                Err(_) if !whole => {
                    notes.push(format!(
                        "{}: the last line (line {number}) is cut off and was left out",
                        path.display()
                    ));
                    Ok(())
                }
                Err(message) => Err(Error::Line { path: path.clone(), line: number, message }),
            }
        })?;
        if cut {
            notes.push(format!(
                "{}: the packed file ends too early, after line {last}: whatever came later is missing",
                path.display()
            ));
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
        setups: loader.setups.0,
        models: loader.models.0,
        methods: loader.methods.0,
        tasks: loader.tasks.0,
        scorers: loader.scorers.0,
        devices: loader.devices.0,
        files,
        notes,
    })
}

/// The scorer that `metric` means for a record: a score's name; `task` for the task's own (RULER's); and
/// `protocol` for the one that belongs to the prompt form: the paper's comma scoring for `input`,
/// RULER's for `prefix`.
fn scorer<'r>(record: &'r Slim<'_>, metric: &str) -> Option<&'r str> {
    let own = || record.scores.keys().find(|name| *name != "comma_set").or(record.scores.keys().next());
    let named = |wanted: &str| record.scores.keys().find(|name| *name == wanted);
    let found = match (metric, record.prompt_form) {
        ("protocol", PromptForm::Input) => named("comma_set").or_else(own),
        ("protocol" | "task", _) => own(),
        (name, _) => named(name),
    };
    found.map(|name| &**name)
}

/// The score of a metric that a record has not: from its texts, which are read for this alone.
fn computed(line: &[u8], metric: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Texts {
        prediction: String,
        references: Vec<String>,
    }
    let metric = Metric::parse(metric)?;
    let texts: Texts = serde_json::from_slice(line).ok()?;
    Some(metric.score(&texts.prediction, &texts.references))
}

impl Loader {
    /// Takes one line; the message says what is wrong with it.
    fn line(&mut self, line: &[u8], file: usize, metric: &str) -> std::result::Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Probe {
            version: u32,
        }
        let record: Slim<'_> = match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(error) => {
                let newer = serde_json::from_slice::<Probe>(line).is_ok_and(|probe| probe.version > VERSION);
                self.newer += usize::from(newer);
                return if newer { Ok(()) } else { Err(format!("expected a record: {error}")) };
            }
        };
        let recorded = scorer(&record, metric).map(|name| (name.to_owned(), record.scores[name]));
        let Some((scorer, score)) = recorded.or_else(|| Some((metric.to_owned(), computed(line, metric)?)))
        else {
            self.unscored += 1;
            return Ok(());
        };
        if !(0.0..=1.0).contains(&score) {
            return Err(format!("expected a score between 0 and 1, not {score} ({scorer})"));
        }
        let setup = Setup {
            version: record.version,
            context: record.context,
            tokenizer: record.tokenizer.into_owned(),
            seed: record.seed,
            recipe: Recipe {
                haystack: record.haystack.into_owned(),
                wordlist: record.wordlist.into_owned(),
                data: record.data.map(Cow::into_owned),
                prompt_form: record.prompt_form,
                template: record.template.map(Cow::into_owned),
            },
        };
        let sample = Sample {
            setup: self.setups.index(setup),
            model: self.models.index(Model {
                name: record.model.into_owned(),
                hash: record.model_hash.into_owned(),
                memory: record.memory,
            }),
            method: self.methods.text(&record.method),
            task: self.tasks.text(&record.task),
            scorer: self.scorers.text(&scorer),
            device: self.devices.text(&record.device),
            file,
            number: record.sample,
            score,
            read: (record.bytes.read_per_step + record.bytes.summaries_per_step) as f64,
            resident: record.bytes.resident as f64,
            peak: record.bytes.peak as f64,
            prefill: record.seconds.prefill,
            decode: record.seconds.decode / record.new_tokens.max(1) as f64,
            answer: record.seconds.decode,
            batch: record.seconds.batch,
            new_tokens: record.new_tokens,
            limit: record.max_new_tokens,
            flops: record.flops.map(|f| [f.prefill, f.per_step]),
        };
        let key = [sample.setup, sample.model, sample.method, sample.task, sample.number];
        match self.seen.get(&key) {
            Some(earlier) => {
                self.duplicates += 1;
                self.contradictions += usize::from(*earlier != score);
            }
            None => {
                self.seen.insert(key, score);
                self.samples.push(sample);
            }
        }
        Ok(())
    }

    /// What a reader should know.
    fn describe(&self, metric: &str, notes: &mut Vec<String>) {
        let setups = self.setups.0.len();
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
        for model in self.models.0.iter().filter(|m| !hashes.insert(&m.hash)) {
            notes.push(format!("model {} has the same weights as another model of the report", model.name));
        }
        for method in &self.methods.0 {
            if let Some(name) = super::method::Method::parse(method).unknown() {
                notes.push(format!(
                    "method `{name}` is unknown to this version: {method} is in the tables, not in the figures"
                ));
            }
        }
    }

    /// In what the setups differ.
    fn differences(&self) -> String {
        let setups = &self.setups.0;
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

//! One file of records: what each line means.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::names::Names;
use super::{Model, Sample, Setup};
use crate::report::input;
use crate::ruler::Metric;
use crate::ruler::prompt::PromptForm;
use crate::runner::identity::Recipe;
use crate::runner::record::{Bytes, Flops, Seconds, VERSION};
use crate::{Error, Result};

/// The samples of one file, duplicates included; they point to `names`, and their `file` is 0.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) samples: Vec<Sample>,
    pub(super) names: Names,
    /// Records of a newer version, left out.
    pub(super) newer: usize,
    /// Records that lack the wanted score, left out.
    pub(super) unscored: usize,
    /// What a reader should know.
    pub(super) notes: Vec<String>,
}

/// Reads a file of records.
///
/// # Errors
/// The file cannot be read; a whole line is no record.
pub(super) fn read(path: &Path, metric: &str) -> Result<Part> {
    let (mut part, mut last, mut unfinished) = (Part::default(), 0, None);
    let cut = input::lines(path, |number, line, whole| {
        last = number;
        match part.line(line, metric) {
            Err(message) if whole => Err(Error::Line { path: path.to_owned(), line: number, message }),
            Err(_) => {
                unfinished = Some(number);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    })?;
    let mut note = |text: String| part.notes.push(format!("{}: {text}", path.display()));
    if let Some(number) = unfinished {
        note(format!("the last line (line {number}) is cut off and was left out"));
    }
    if cut {
        note(format!("the packed file ends too early, after line {last}: whatever came later is missing"));
    }
    Ok(part)
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

impl Part {
    /// Takes one line; the message says what is wrong with it.
    fn line(&mut self, line: &[u8], metric: &str) -> std::result::Result<(), String> {
        #[derive(Deserialize)]
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
        let names = &mut self.names;
        self.samples.push(Sample {
            setup: names.setups.number(setup),
            model: names.models.number(Model {
                name: record.model.into_owned(),
                hash: record.model_hash.into_owned(),
                memory: record.memory,
            }),
            method: names.methods.text(&record.method),
            task: names.tasks.text(&record.task),
            scorer: names.scorers.text(&scorer),
            device: names.devices.text(&record.device),
            file: 0,
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
        });
        Ok(())
    }
}

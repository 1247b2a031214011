//! Record files, read line by line into what the report needs of each record. Names are interned,
//! so a full protocol (some 200 000 records) stays far below 500 MB.
//!
//! A half-written last line is left out and said, and so are records of a newer format that this
//! program cannot read, and records without the wanted score. Of two records of the same example
//! the first counts. Any other line that is no record is an error.
//!
//! Does not do: repairing files; resuming a run does.

use std::fs::File;
use std::hash::Hash;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ruler::prompt::PromptForm;
use crate::runner::record::{Record, VERSION};
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
    pub(super) haystack: String,
    pub(super) wordlist: String,
    pub(super) prompt_form: PromptForm,
    pub(super) template: Option<String>,
    pub(super) data: Option<String>,
}

impl Setup {
    /// The setup in one line.
    pub(super) fn summary(&self) -> String {
        format!(
            "context {} tokens, tokenizer {}, sample seed {}, haystack {}, words {}, prompt form {}, record version {}",
            self.context,
            short_hash(&self.tokenizer),
            self.seed,
            self.haystack,
            self.wordlist,
            match &self.template {
                Some(template) => format!("{} ({template})", self.prompt_form.name()),
                None => self.prompt_form.name().to_owned(),
            },
            self.version
        )
    }
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
    /// Examples decoded together.
    pub(super) batch: usize,
    /// Tokens that could have been generated.
    pub(super) limit: usize,
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

/// Reads files, or folders that hold `records.jsonl` or `records.jsonl.zst`.
///
/// # Errors
/// See [`super::write`].
pub(super) fn load(inputs: &[PathBuf], metric: &str) -> Result<Loaded> {
    let (mut loader, mut files, mut notes) = (Loader::default(), Vec::new(), Vec::new());
    for input in inputs {
        let path = records_file(input)?;
        if files.contains(&path) {
            continue;
        }
        files.push(path);
        let file = files.len() - 1;
        read_lines(&files[file], |number, line, whole| match loader.line(line, file, metric) {
            Ok(()) => Ok(()),
            Err(_) if !whole => {
                notes.push(format!(
                    "{}: the last line (line {number}) is cut off and was left out",
                    files[file].display()
                ));
                Ok(())
            }
            Err(message) => Err(Error::Line { path: files[file].clone(), line: number, message }),
        })?;
    }
    if loader.samples.is_empty() {
        let what = match (loader.newer, loader.unscored) {
            (0, 0) => "no records".to_owned(),
            (0, n) => format!("none of {n} records has a score `{metric}`: choose another --scorer"),
            (n, _) => format!("{n} records are of a newer version than {VERSION}: use a newer wane"),
        };
        let names: Vec<String> = inputs.iter().map(|i| i.display().to_string()).collect();
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

impl Loader {
    /// Takes one line; the message says what is wrong with it.
    fn line(&mut self, line: &[u8], file: usize, metric: &str) -> std::result::Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Probe {
            version: u32,
        }
        let record: Record = match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(error) => {
                let newer = serde_json::from_slice::<Probe>(line).is_ok_and(|probe| probe.version > VERSION);
                self.newer += usize::from(newer);
                return if newer { Ok(()) } else { Err(format!("expected a record: {error}")) };
            }
        };
        let scorer = match metric {
            "task" => record.scores.keys().find(|name| *name != "comma_set").or(record.scores.keys().next()),
            named => record.scores.keys().find(|name| *name == named),
        };
        let Some(scorer) = scorer.cloned() else {
            self.unscored += 1;
            return Ok(());
        };
        let score = record.score(&scorer);
        if !(0.0..=1.0).contains(&score) {
            return Err(format!("expected a score between 0 and 1, not {score} ({scorer})"));
        }
        let setup = Setup {
            version: record.version,
            context: record.context,
            tokenizer: record.tokenizer,
            seed: record.seed,
            haystack: record.haystack,
            wordlist: record.wordlist,
            prompt_form: record.prompt_form,
            template: record.template,
            data: record.data,
        };
        let sample = Sample {
            setup: self.setups.index(setup),
            model: self.models.index(Model {
                name: record.model,
                hash: record.model_hash,
                memory: record.memory,
            }),
            method: self.methods.index(record.method),
            task: self.tasks.index(record.task),
            scorer: self.scorers.index(scorer),
            device: self.devices.index(record.device),
            file,
            number: record.sample,
            score,
            read: (record.bytes.read_per_step + record.bytes.summaries_per_step) as f64,
            resident: record.bytes.resident as f64,
            peak: record.bytes.peak as f64,
            prefill: record.seconds.prefill,
            decode: record.seconds.decode / record.new_tokens.max(1) as f64,
            batch: record.seconds.batch,
            limit: record.max_new_tokens,
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
                    "method `{name}` is unknown to this version: {method} is in the tables, not in the figure"
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
            ("haystacks", &|s| s.haystack.clone()),
            ("word lists", &|s| s.wordlist.clone()),
            ("prompt forms", &|s| s.prompt_form.name().to_owned()),
            ("model templates", &|s| s.template.clone().unwrap_or_default()),
            ("data sets", &|s| s.data.clone().unwrap_or_default()),
        ];
        let differ = facts.iter().filter(|(_, fact)| setups.iter().any(|s| fact(s) != fact(&setups[0])));
        let names: Vec<&str> = differ.map(|(name, _)| *name).collect();
        format!("different {}", names.join(", "))
    }
}

fn records_file(input: &Path) -> Result<PathBuf> {
    if !input.is_dir() {
        return Ok(input.to_owned());
    }
    let candidates = ["records.jsonl", "records.jsonl.zst"].map(|name| input.join(name));
    candidates.into_iter().find(|path| path.exists()).ok_or_else(|| {
        Error::Invalid(format!(
            "{} holds no records.jsonl: name the folder that `wane eval --out` wrote",
            input.display()
        ))
    })
}

/// Calls `each` with number, text and completeness of every line that is not blank.
fn read_lines(path: &Path, mut each: impl FnMut(usize, &[u8], bool) -> Result<()>) -> Result<()> {
    let failed = |e| Error::file("read", path, e);
    let file = File::open(path).map_err(failed)?;
    let source: Box<dyn Read> = if path.extension().is_some_and(|e| e == "zst") {
        let decoder = ruzstd::decoding::StreamingDecoder::new(BufReader::new(file))
            .map_err(|e| Error::Invalid(format!("{} is no zstd file: {e}", path.display())))?;
        Box::new(decoder)
    } else {
        Box::new(file)
    };
    let mut reader = BufReader::with_capacity(1 << 20, source);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
            break;
        }
        let whole = line.last() == Some(&b'\n');
        let text = line.trim_ascii();
        if !text.is_empty() {
            each(number, text, whole)?;
        }
    }
    Ok(())
}

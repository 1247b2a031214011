//! `wane eval`: models x methods x tasks x samples, into a folder of records and a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args as ClapArgs, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use wane_attention::Plan;
use wane_eval::ruler::prompt::PromptForm;
use wane_eval::ruler::tasks;
use wane_eval::ruler::words::WordList;
use wane_eval::runner::record::Record;
use wane_eval::runner::store::{Existing, Store};
use wane_eval::runner::{End, Job, Observer, Subject, evaluate};
use wane_eval::table;
use wane_model::decoder::Decoder;
use wane_model::{Checkpoint, Tokenizer};

use super::interrupt::stop_on_ctrl_c;
use super::ruler::{open_haystack, word_list};
use super::shared::{PlaceArgs, out, outln, parse_plan, scorer};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: wane eval --model smollm2.gguf --method dense --method quest:block=64,k=8 --tasks niah --samples 10 --out results"
)]
pub(crate) struct Args {
    /// Models: a directory, a .gguf file or a hub id; several are allowed
    #[arg(long, required = true, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// Methods; several are allowed
    #[arg(long, num_args = 1.., default_value = "dense", value_name = "METHOD")]
    method: Vec<String>,
    /// Samples of each task
    #[arg(long, default_value_t = 10, value_name = "N")]
    samples: usize,
    /// Prompt and answer together, in tokens
    #[arg(long, default_value_t = 4096, value_name = "N")]
    context: usize,
    /// Folder for records.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the records that the folder holds
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// Which form prompts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormArg {
    /// The prompt alone, as in the paper
    Input,
    /// With the beginning of the answer, as RULER's protocol
    Prefix,
}

/// What `eval` and `compare` share.
#[derive(Debug, ClapArgs)]
pub(crate) struct MeasureArgs {
    /// Tasks, separated by commas; `niah` for the eight needle tasks
    #[arg(long, default_value = "niah", value_delimiter = ',')]
    pub(crate) tasks: Vec<String>,
    /// Seed of the samples
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Version of the wonderwords lists: 2.2.0 or 3.0.1
    #[arg(long, default_value = "3.0.1", value_parser = word_list)]
    pub(crate) wordlist: WordList,
    /// Text for the essay tasks; without it, State of the Union messages
    #[arg(long)]
    pub(crate) haystack: Option<PathBuf>,
    /// Form of the prompts
    #[arg(long, value_enum, default_value = "prefix")]
    pub(crate) prompt_form: FormArg,
    /// Scorer of the table: `task` (each task's own), comma_set, ...
    #[arg(long, default_value = "task", value_parser = scorer)]
    pub(crate) scorer: String,
    /// Fewer new tokens than the tasks allow (128 for needles)
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// Samples decoded together; 4 by default on the CPU, 32 on CUDA
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
}

/// One model to measure.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    hash: String,
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
}

/// Reads a model.
pub(crate) fn load(place: &PlaceArgs, path: &Path, name: String) -> Result<Loaded> {
    let (checkpoint, decoder) = place.load(path)?;
    let hash = checkpoint.hash()?;
    let Checkpoint { tokenizer, .. } = checkpoint;
    let tokenizer = Arc::new(tokenizer.with_context(|| format!("{} has no tokenizer", path.display()))?);
    Ok(Loaded { name, hash, decoder, tokenizer })
}

/// Names for paths: the last part, or the whole path where last parts are equal.
pub(crate) fn names(paths: &[PathBuf]) -> Vec<String> {
    let last = |path: &PathBuf| path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| {
            let name = last(path);
            let unique = paths.iter().filter(|p| last(p) == name).count() == 1;
            if unique { name } else { path.display().to_string() }
        })
        .collect()
}

/// Measures models under methods.
#[derive(Debug)]
pub(crate) struct Measurement<'a> {
    pub(crate) models: Vec<(PathBuf, String)>,
    pub(crate) methods: Vec<Plan>,
    pub(crate) context: usize,
    pub(crate) samples: usize,
    pub(crate) args: &'a MeasureArgs,
}

impl Measurement<'_> {
    /// Runs what the folder lacks; the records are those of the folder.
    pub(crate) fn run(&self, out: &Path, existing: Existing) -> Result<Vec<Record>> {
        let args = self.args;
        let haystack = open_haystack(args.haystack.as_deref())?;
        let job = Job {
            methods: self.methods.clone(),
            tasks: tasks::select(&args.tasks)?,
            context: self.context,
            samples: self.samples,
            seed: args.seed,
            words: args.wordlist,
            haystack: &haystack,
            form: match args.prompt_form {
                FormArg::Input => PromptForm::Input,
                FormArg::Prefix => PromptForm::Prefix,
            },
            max_new_tokens: args.max_new_tokens,
            batch: args.batch.unwrap_or(if args.place.device == "cpu" { 4 } else { 32 }),
            kv_dtype: args.place.kv_dtype()?,
        };
        anyhow::ensure!(job.samples > 0, "--samples must be at least 1");
        let mut store = Store::open(out, &job.settings(), existing)?;
        let stop = stop_on_ctrl_c("finishing what is being decoded")?;
        for (path, name) in &self.models {
            let loaded = load(&args.place, path, name.clone())?;
            let subject = Subject {
                name: loaded.name,
                hash: loaded.hash,
                decoder: &loaded.decoder,
                tokenizer: loaded.tokenizer,
            };
            let mut progress = Progress { stop: Arc::clone(&stop), ..Progress::default() };
            let end = evaluate(&subject, &job, &mut store, &mut progress)?;
            progress.bar.finish_and_clear();
            if end == End::Stopped {
                anyhow::bail!(
                    "stopped by Ctrl-C: {} holds {} records; run the same command{} to go on",
                    out.display(),
                    store.records().len(),
                    if existing == Existing::Refuse { " with --resume" } else { " again" }
                );
            }
        }
        Ok(store.records().to_vec())
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let methods = args.method.iter().map(|m| parse_plan(m)).collect::<Result<Vec<_>>>()?;
    let models = args.model.iter().cloned().zip(names(&args.model)).collect();
    let (context, samples) = (args.context, args.samples);
    let measurement = Measurement { models, methods, context, samples, args: &args.measure };
    let existing = if args.resume { Existing::Resume } else { Existing::Refuse };
    let records = measurement.run(&args.out, existing)?;
    out!("{}", table::accuracy(&records, &args.measure.scorer));
    outln!("{}", caption(&records));
    Ok(())
}

/// What a table rests on, in one line.
pub(crate) fn caption(records: &[Record]) -> String {
    let Some(first) = records.first() else { return "no records".into() };
    format!(
        "context {}, seed {}, haystack {}, words {}, prompt form {}; KV read: first decode step; KV kept: after the prompt",
        first.context,
        first.seed,
        first.haystack,
        first.wordlist,
        first.prompt_form.name()
    )
}

/// A bar on a terminal, a line now and then elsewhere.
#[derive(Debug)]
struct Progress {
    bar: ProgressBar,
    name: String,
    total: usize,
    done: usize,
    began: Instant,
    told: Option<Instant>,
    stop: Arc<AtomicBool>,
}

impl Default for Progress {
    fn default() -> Self {
        let began = Instant::now();
        let stop = Arc::default();
        Self { bar: ProgressBar::hidden(), name: String::new(), total: 0, done: 0, began, told: None, stop }
    }
}

impl Observer for Progress {
    fn start(&mut self, subject: &Subject<'_>, examples: usize) {
        let bar = ProgressBar::new(examples as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg}\n{bar:40} {pos}/{len}, {eta} left") {
            bar.set_style(style);
        }
        let stop = Arc::clone(&self.stop);
        *self = Self { bar, name: subject.name.clone(), total: examples, stop, ..Self::default() };
        eprintln!("{}: {examples} examples to run", self.name);
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn finished(&mut self, record: &Record) {
        self.done += 1;
        let score = record.scores.iter().find(|(name, _)| *name != "comma_set").map_or(0.0, |(_, s)| *s);
        let line = format!(
            "{}  {}  {} #{}  {:.0} %  {:.1} s",
            self.name,
            table::short_method(&record.method),
            record.task,
            record.sample,
            100.0 * score,
            record.seconds.prefill + record.seconds.decode
        );
        if !self.bar.is_hidden() {
            self.bar.set_message(line);
            self.bar.inc(1);
        } else if self.told.is_none_or(|told| told.elapsed() > Duration::from_secs(5)) {
            self.told = Some(Instant::now());
            let left =
                self.began.elapsed().as_secs_f64() / self.done as f64 * (self.total - self.done) as f64;
            eprintln!("{}/{}, {left:.0} s left: {line}", self.done, self.total);
        }
    }
}

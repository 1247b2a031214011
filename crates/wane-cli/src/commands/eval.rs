//! `wane eval`: models x methods x tasks x samples, into a folder of records and a table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use wane_attention::Plan;
use wane_eval::ruler::data::DataSet;
use wane_eval::ruler::prompt::PromptForm;
use wane_eval::ruler::template::ModelTemplate;
use wane_eval::runner::record::Record;
use wane_eval::runner::store::{Existing, Store};
use wane_eval::runner::{End, Job, Observer, Subject, evaluate};
use wane_eval::table;
use wane_model::decoder::Decoder;
use wane_model::{ChatTemplate, Checkpoint, Tokenizer, checkpoint};

use super::interrupt::stop_on_ctrl_c;
use super::ruler::named_template;
use super::samples::SampleArgs;
use super::shared::{PlaceArgs, out, outln, parse_plan, scorer};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Examples:\n  wane eval --model smollm2.gguf --method dense --method quest:block=64,k=8 --tasks niah --samples 10 --out results\n  \
                  wane eval --model smollm2.gguf --prompt-form chat --tasks niah_single_1 --context 2048 --out chat\n  \
                  wane eval --model smollm2.gguf --data nvidia-data --out results"
)]
pub(crate) struct Args {
    /// Models: a directory, a .gguf file or a hub id; several are allowed
    #[arg(long, required = true, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// Methods; several are allowed
    #[arg(long, num_args = 1.., default_value = "dense", value_name = "METHOD")]
    method: Vec<String>,
    /// Samples of each task; 10 by default, all of --data
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Prompt and answer together, in tokens; 4096 by default, with --data the power of two that holds its samples
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Samples made elsewhere: a folder of TASK/validation.jsonl in NVIDIA's fields
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "wordlist", "haystack"])]
    data: Option<PathBuf>,
    /// With --data: accept lengths that were counted with another tokenizer
    #[arg(long, requires = "data")]
    any_tokenizer: bool,
    /// Folder for records.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the records that the folder holds
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// What `eval` and `compare` share.
#[derive(Debug, ClapArgs)]
pub(crate) struct MeasureArgs {
    #[command(flatten)]
    pub(crate) samples: SampleArgs,
    /// Template of the form `chat`: `own` (the model's) or one of NVIDIA's (meta-llama3, vicuna-chat, ...)
    #[arg(long, default_value = "own", value_name = "NAME")]
    pub(crate) template: String,
    /// Scorer of the table: `task` (each task's own), comma_set, ...
    #[arg(long, default_value = "task", value_parser = scorer)]
    pub(crate) scorer: String,
    /// Fewer new tokens than the tasks allow (128 for needles)
    #[arg(long, value_name = "N")]
    pub(crate) max_new_tokens: Option<usize>,
    /// Samples decoded together; 4 by default on the CPU, 32 on CUDA
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<usize>,
}

/// One model to measure.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    hash: String,
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Arc<Tokenizer>,
    chat_template: Option<ChatTemplate>,
}

impl Loaded {
    /// The model as the measurements see it.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            name: self.name.clone(),
            hash: self.hash.clone(),
            decoder: &self.decoder,
            tokenizer: self.tokenizer.clone(),
        }
    }
}

/// Reads a model.
pub(crate) fn load(place: &PlaceArgs, path: &Path, name: String) -> Result<Loaded> {
    let (checkpoint, decoder) = place.load(path)?;
    let hash = checkpoint.hash()?;
    let Checkpoint { tokenizer, chat_template, .. } = checkpoint;
    let tokenizer = Arc::new(tokenizer.with_context(|| format!("{} has no tokenizer", path.display()))?);
    Ok(Loaded { name, hash, decoder, tokenizer, chat_template })
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
    /// Samples made elsewhere, and whether their lengths may be another tokenizer's.
    pub(crate) data: Option<(DataSet, AnyTokenizer)>,
    pub(crate) args: &'a MeasureArgs,
}

/// Whether a data set's lengths may be another tokenizer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnyTokenizer {
    Accept,
    Refuse,
}

impl Measurement<'_> {
    /// Runs what the folder lacks; the records are those of the folder.
    pub(crate) fn run(&self, out: &Path, existing: Existing) -> Result<Vec<Record>> {
        let args = self.args;
        let material = args.samples.material()?;
        let mut job = Job {
            max_new_tokens: args.max_new_tokens,
            ..args.samples.job(self.methods.clone(), [self.context, self.samples], args.batch, &material)?
        };
        let form = job.form;
        if form == PromptForm::Chat {
            job.template = self.template()?;
        }
        if let Some((data, _)) = &self.data {
            (job.tasks, job.data) = (data.tasks(), Some(data));
        }
        let mut store = Store::open(out, &job.settings(), existing)?;
        if store.repaired() > 0 {
            eprintln!(
                "{} ended in a half-written line ({} bytes): cut off, its example runs again",
                store.path().display(),
                store.repaired()
            );
        }
        let stop = stop_on_ctrl_c("finishing what is being decoded")?;
        for (path, name) in &self.models {
            let loaded = load(&args.samples.place, path, name.clone())?;
            if let Some((data, AnyTokenizer::Refuse)) = &self.data {
                data.check_lengths(&loaded.tokenizer)?;
            }
            if form == PromptForm::Chat {
                let own = named_template(&args.template, || Ok(loaded.chat_template.clone()))?;
                anyhow::ensure!(
                    own == job.template,
                    "{} has another chat template than the first model, so its prompts would differ: measure it alone, or name one --template for all",
                    path.display()
                );
            }
            let subject = loaded.subject();
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

impl Measurement<'_> {
    /// The template of the form `chat`, of the first model if it is to be its own.
    fn template(&self) -> Result<ModelTemplate> {
        named_template(&self.args.template, || {
            let Some((path, _)) = self.models.first() else { return Ok(None) };
            Ok(checkpoint::open_chat_template(path)?)
        })
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let any = if args.any_tokenizer { AnyTokenizer::Accept } else { AnyTokenizer::Refuse };
    let data = match &args.data {
        Some(folder) => Some((DataSet::open(folder, &args.measure.samples.tasks)?, any)),
        None => None,
    };
    let most = data.as_ref().map(|(data, _)| data.most_samples());
    let samples = args.samples.or(most).unwrap_or(10);
    if let Some(most) = most {
        anyhow::ensure!(samples <= most, "--samples {samples}: the data has at most {most} of a task");
    }
    let context = match (args.context, data.as_ref().and_then(|(data, _)| data.longest())) {
        (Some(context), _) => context,
        (None, Some(longest)) => longest.next_power_of_two(),
        (None, None) => 4096,
    };
    let methods = args.method.iter().map(|m| parse_plan(m)).collect::<Result<Vec<_>>>()?;
    let models = args.model.iter().cloned().zip(names(&args.model)).collect();
    let measurement = Measurement { models, methods, context, samples, data, args: &args.measure };
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
        "context {}, seed {}, haystack {}, words {}, prompt form {}{}; KV read: first decode step; KV kept: after the prompt",
        first.context,
        first.seed,
        first.haystack,
        first.wordlist,
        first.prompt_form.name(),
        first.template.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
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

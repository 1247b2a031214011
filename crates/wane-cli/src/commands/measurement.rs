//! Measuring models under methods into a folder of records: what `eval` and `compare` share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
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
use wane_model::checkpoint;

use super::interrupt::stop_on_ctrl_c;
use super::loaded::load;
use super::ruler_template::named_template;
use super::samples::SampleArgs;
use super::shared::scorer;

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
    /// Runs what the folder lacks.
    pub(crate) fn run(&self, out: &Path, existing: Existing) -> Result<()> {
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
                    store.examples(),
                    if existing == Existing::Refuse { " with --resume" } else { " again" }
                );
            }
        }
        Ok(())
    }

    /// The template of the form `chat`, of the first model if it is to be its own.
    fn template(&self) -> Result<ModelTemplate> {
        named_template(&self.args.template, || {
            let Some((path, _)) = self.models.first() else { return Ok(None) };
            Ok(checkpoint::open_chat_template(path)?)
        })
    }
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
            table::short_method(&record.cell.method),
            record.cell.task,
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

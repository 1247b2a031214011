//! `wane ruler`: RULER's samples, made, scored and compared as files in NVIDIA's format.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use wane_eval::ruler::size::Search;
use wane_eval::ruler::words::WordList;
use wane_eval::ruler::{self, Request, jsonl, tasks};
use wane_model::Tokenizer;

use super::ruler_files::FileArgs;
use super::ruler_template::TemplateArgs;
use super::samples::word_list;
use super::{ruler_check, ruler_pairs, ruler_score};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum RulerCommand {
    /// Generate samples: DIR/TASK/validation.jsonl, in NVIDIA's fields and random stream
    #[command(
        after_help = "Examples:\n  wane ruler generate --task niah --tokenizer cl100k --context 4096 --samples 500 --out data\n  \
                      wane ruler generate --task all --tokenizer cl100k --haystack PaulGrahamEssays.json --punkt nltk_data \
                      --squad dev-v2.0.json --hotpotqa hotpot_dev_distractor_v1.json --out data"
    )]
    Generate(GenerateArgs),
    /// Score predictions: a file, or a folder of TASK.jsonl as NVIDIA's call_api.py writes them
    #[command(
        after_help = "Examples:\n  wane ruler score predictions --out predictions\n  wane ruler score niah_single_1.jsonl --scorer comma_set"
    )]
    Score(ruler_score::ScoreArgs),
    /// Write records as prediction files that NVIDIA's evaluate.py reads
    #[command(after_help = "Example: wane ruler predictions results --out predictions --data data")]
    Predictions(ruler_score::PredictionsArgs),
    /// Compare two files or folders of samples and say where they first differ; exit code 1 if they do
    #[command(after_help = "Example: wane ruler check data nvidia-data")]
    Check(ruler_check::Args),
    /// Prompts and answers for fine-tuning: RULER's own samples from another seed
    #[command(
        after_help = "Example: wane ruler pairs --task niah --tokenizer models/memory --samples 2250 --seed 20002 --form input --out pairs.jsonl"
    )]
    Pairs(ruler_pairs::Args),
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Tasks, separated by commas; `niah` for the eight needle tasks, `all` for all
    #[arg(long, required = true, value_delimiter = ',')]
    task: Vec<String>,
    /// A directory, a tokenizer.json, a .gguf, or cl100k
    #[arg(long, value_name = "SPEC")]
    tokenizer: String,
    /// Prompt and answer together, in tokens
    #[arg(long, default_value_t = 4096)]
    context: usize,
    /// Samples of each task
    #[arg(long, default_value_t = 500)]
    samples: usize,
    /// Seed of the random stream
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Version of the wonderwords lists: 2.2.0 or 3.0.1
    #[arg(long, default_value = "3.0.1", value_parser = word_list)]
    wordlist: WordList,
    /// How the haystack's size is found: binary (RULER now), linear (RULER in 2024), linear-2025 (May 2025)
    #[arg(long, default_value = "binary", value_parser = search)]
    search: Search,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    files: FileArgs,
    /// Folder to write to
    #[arg(long)]
    out: PathBuf,
}

fn search(text: &str) -> Result<Search, String> {
    let names = || Search::LIST.map(Search::name).join(", ");
    Search::parse(text).ok_or_else(|| format!("unknown search `{text}`: expected one of {}", names()))
}

/// Runs a subcommand.
pub(crate) fn run(command: RulerCommand) -> anyhow::Result<()> {
    match command {
        RulerCommand::Generate(args) => generate(&args),
        RulerCommand::Score(args) => ruler_score::score(&args),
        RulerCommand::Predictions(args) => ruler_score::predictions(&args),
        RulerCommand::Check(args) => ruler_check::run(&args),
        RulerCommand::Pairs(args) => ruler_pairs::run(&args),
    }
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let chosen = tasks::select(&args.task)?;
    let tokenizer = Arc::new(Tokenizer::open(&args.tokenizer)?);
    let (haystack, files) = (args.files.haystack()?, args.files.files()?);
    let template = args.template.open(&args.tokenizer, &tokenizer)?;
    let mut pieces = ruler::pieces_for(tokenizer, &haystack, &template)?;
    for task in chosen {
        let start = std::time::Instant::now();
        let folder = args.out.join(task.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (path, part) = (folder.join("validation.jsonl"), folder.join("validation.jsonl.part"));
        let file = File::create(&part).with_context(|| format!("cannot create {}", part.display()))?;
        let mut file = BufWriter::new(file);
        let mut request = Request {
            context: args.context,
            samples: args.samples,
            seed: args.seed,
            words: args.wordlist,
            search: args.search,
            haystack: &haystack,
            files: &files,
            template: &template,
            pieces: &mut pieces,
        };
        request.run(task, &mut |sample| {
            let line = jsonl::line(&sample)?;
            file.write_all(line.as_bytes()).map_err(|source| wane_eval::Error::File {
                action: "write",
                path: part.clone(),
                source,
            })
        })?;
        file.into_inner()
            .map_err(|e| e.into_error())
            .and_then(|f| f.sync_all())
            .with_context(|| format!("cannot write {}", part.display()))?;
        std::fs::rename(&part, &path).with_context(|| format!("cannot create {}", path.display()))?;
        let essay = task.needle.is_some_and(|n| n.hay == ruler::needle::Hay::Essay);
        let hay = if essay { format!(", haystack {}", haystack.name()) } else { String::new() };
        eprintln!(
            "{}: {} samples in {:.1} s{hay}",
            path.display(),
            args.samples,
            start.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

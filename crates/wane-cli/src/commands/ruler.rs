//! `wane ruler`: RULER's samples, made, scored and compared as files in NVIDIA's format.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use wane_eval::ruler::size::Search;
use wane_eval::ruler::words::WordList;
use wane_eval::ruler::{self, Metric, Request, check, jsonl, score, tasks};
use wane_model::Tokenizer;

use super::ruler_files::FileArgs;

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
    /// Score a file of predictions (fields `pred` and `outputs`)
    #[command(after_help = "Example: wane ruler score predictions.jsonl --scorer comma_set")]
    Score(ScoreArgs),
    /// Print the sentences of a haystack, one JSON string a line: to compare a splitter with another
    #[command(
        after_help = "Example: wane ruler sentences --haystack PaulGrahamEssays.json --punkt nltk_data"
    )]
    Sentences(FileArgs),
    /// Compare two files or folders of samples and say where they first differ
    #[command(after_help = "Example: wane ruler check data nvidia-data")]
    Check {
        /// A file, or a folder with TASK/validation.jsonl
        a: PathBuf,
        /// The same kind
        b: PathBuf,
    },
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
    files: FileArgs,
    /// Folder to write to
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// JSONL with `pred` and `outputs`
    file: PathBuf,
    /// string_match_all, string_match_part, comma_set or string_match_mean
    #[arg(long, default_value = "string_match_all", value_parser = metric)]
    scorer: Metric,
}

/// Reads the version of the word lists.
pub(crate) fn word_list(text: &str) -> Result<WordList, String> {
    WordList::parse(text).ok_or_else(|| format!("unknown word list `{text}`: expected 2.2.0 or 3.0.1"))
}

fn search(text: &str) -> Result<Search, String> {
    let names = || Search::LIST.map(Search::name).join(", ");
    Search::parse(text).ok_or_else(|| format!("unknown search `{text}`: expected one of {}", names()))
}

fn metric(text: &str) -> Result<Metric, String> {
    let names = || Metric::LIST.map(Metric::name).join(", ");
    Metric::parse(text).ok_or_else(|| format!("unknown scorer `{text}`: expected one of {}", names()))
}

/// Runs a subcommand.
pub(crate) fn run(command: RulerCommand) -> anyhow::Result<()> {
    match command {
        RulerCommand::Generate(args) => generate(&args),
        RulerCommand::Score(args) => score_file(&args),
        RulerCommand::Sentences(args) => sentences(&args),
        RulerCommand::Check { a, b } => compare(&a, &b),
    }
}

fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let chosen = tasks::select(&args.task)?;
    let tokenizer = Arc::new(Tokenizer::open(&args.tokenizer)?);
    let (haystack, files) = (args.files.haystack()?, args.files.files()?);
    let mut pieces = ruler::pieces(tokenizer, &haystack)?;
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
            pieces: &mut pieces,
        };
        (task.generate)(&mut request, &mut |sample| {
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

fn sentences(args: &FileArgs) -> anyhow::Result<()> {
    let haystack = args.haystack()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for sentence in haystack.sentences(haystack.words()).iter() {
        out.write_all(jsonl::line(sentence)?.as_bytes())?;
    }
    out.flush()?;
    eprintln!("haystack {}", haystack.name());
    Ok(())
}

/// A line of predictions.
#[derive(Debug, serde::Deserialize)]
struct Prediction {
    pred: String,
    #[serde(default)]
    outputs: Vec<String>,
    #[serde(default)]
    output: Option<String>,
}

fn score_file(args: &ScoreArgs) -> anyhow::Result<()> {
    let lines: Vec<Prediction> = jsonl::read_lines(&args.file)?;
    anyhow::ensure!(!lines.is_empty(), "{}: no predictions in it", args.file.display());
    let mut nulls = 0;
    let mut scores = Vec::new();
    for line in &lines {
        let outputs: Vec<String> = line.outputs.iter().chain(&line.output).cloned().collect();
        nulls += usize::from(score::postprocess(&line.pred).is_empty());
        scores.push(args.scorer.score(&line.pred, &outputs));
    }
    println!("{} {:.2}  nulls {nulls}/{}", args.scorer.name(), score::percent(&scores), lines.len());
    Ok(())
}

fn compare(a: &Path, b: &Path) -> anyhow::Result<()> {
    let (left, right) = (check::data_files(a)?, check::data_files(b)?);
    let single = a.is_file() && b.is_file();
    let mut different = 0;
    for (task, path) in &left {
        let other = if single { right.first() } else { right.iter().find(|(name, _)| name == task) };
        let Some((_, other)) = other else {
            different += 1;
            println!("{task}: not in {}", b.display());
            continue;
        };
        let found = check::files(path, other)?;
        match found.first {
            None => println!("{task}: {} samples, identical", found.samples[0]),
            Some(first) => {
                different += 1;
                println!("{task}: {} of {} samples equal; {first}", found.equal, found.samples[0]);
            }
        }
    }
    for (task, _) in right.iter().filter(|(name, _)| !single && !left.iter().any(|(n, _)| n == name)) {
        different += 1;
        println!("{task}: not in {}", a.display());
    }
    anyhow::ensure!(different == 0, "{different} of the data sets differ");
    Ok(())
}

//! `wane data`: token shards from text, what is in them, and how fast batches are made.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Subcommand;
use wane_train::RunConfig;
use wane_train::build::open_encoder;
use wane_train::data::Mixture;
use wane_train::data::pack::{PackOptions, pack};
use wane_train::data::shard::Shard;
use wane_train::data::tokenizer::{Encoder, TokenizerHash};

use super::shared::outln;
use super::train::sample_source;

/// Arguments of `wane data`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    /// Tokenize text into shards for training
    #[command(
        after_help = "Example: wane data pack books.txt.zst --tokenizer runs/out/tokenizer --output runs/out/shards"
    )]
    Pack {
        /// Text files: .txt, .jsonl (field `text`), each optionally .zst
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        /// Folder with tokenizer.json
        #[arg(long)]
        tokenizer: PathBuf,
        /// Folder for the shards
        #[arg(long)]
        output: PathBuf,
        /// Text between the documents of a .txt file (\n is a line end); one document a file if absent
        #[arg(long)]
        separator: Option<String>,
        /// A new shard starts after so many tokens
        #[arg(long, default_value_t = 100_000_000)]
        shard_tokens: u64,
    },
    /// Measure how fast the batches of a run are prepared, per thread
    Rate {
        /// The run, a TOML file
        config: PathBuf,
        /// Replace one setting of the configuration; can be given again
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        /// Seconds to measure
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Threads that prepare batches; the configuration's data.threads by default
        #[arg(long = "data-threads", value_name = "N")]
        data_threads: Option<usize>,
    },
    /// Print tokens, documents, tokenizer and the first tokens of a shard
    #[command(
        after_help = "Example: wane data show runs/out/shards/00000.tokens --tokenizer runs/out/tokenizer"
    )]
    Show {
        /// The shard
        shard: PathBuf,
        /// Folder with tokenizer.json, to print text
        #[arg(long)]
        tokenizer: Option<PathBuf>,
        /// How many tokens to print
        #[arg(long, default_value_t = 64)]
        tokens: usize,
    },
}

/// Runs `wane data`.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Data::Pack { inputs, tokenizer, output, separator, shard_tokens } => {
            let separator = separator.map(|text| text.replace("\\n", "\n"));
            let summary = pack(&PackOptions { inputs, tokenizer, separator, output, shard_tokens })?;
            outln!(
                "{} tokens, {} documents, {:.2} bytes a token, {} shard(s)",
                summary.tokens,
                summary.documents,
                summary.bytes as f64 / summary.tokens as f64,
                summary.shards.len()
            );
        }
        Data::Rate { config, settings, seconds, data_threads } => {
            rate(&RunConfig::load_with(&config, &settings)?, Duration::from_secs(seconds), data_threads)?;
        }
        Data::Show { shard, tokenizer, tokens } => {
            let opened = Shard::open(&shard)?;
            outln!(
                "{} tokens, {} documents, tokenizer {}",
                opened.tokens(),
                opened.documents(),
                opened.tokenizer()
            );
            let mut ids = Vec::new();
            opened.read(0, tokens, &mut ids);
            match tokenizer {
                None => outln!("{ids:?}"),
                Some(folder) => {
                    let expected = TokenizerHash::of_folder(&folder)?;
                    anyhow::ensure!(
                        &expected == opened.tokenizer(),
                        "the shard was packed with another tokenizer"
                    );
                    outln!("{}", Encoder::open(&folder, None)?.decode(&ids)?);
                }
            }
        }
    }
    Ok(())
}

/// Prepares batches of the run's first and last stage for `seconds` each and prints rates.
fn rate(config: &RunConfig, seconds: Duration, threads: Option<usize>) -> anyhow::Result<()> {
    let (encoder, _) = open_encoder(&config.model)?;
    let encoder = encoder.context("model.tokenizer is missing")?;
    let mixture = Mixture::new(config, sample_source(config)?, encoder.hash(), encoder.end())?;
    let (threads, batch, steps) =
        (threads.unwrap_or(config.data.threads), config.training.batch, config.steps());
    for (stage, first) in [("first stage", 0), ("last stage", steps - 1)] {
        let (done, documents) = (AtomicU64::new(0), AtomicU64::new(0));
        let start = Instant::now();
        let work = |thread: usize| -> wane_train::Result<()> {
            // Always the same step, other rows: the stage stays, the samples differ.
            let mut row = thread * batch;
            while start.elapsed() < seconds {
                let rows = mixture.batch(first, row..row + batch)?;
                documents.fetch_add(rows.documents().len() as u64, Ordering::Relaxed);
                done.fetch_add(rows.ids.len() as u64, Ordering::Relaxed);
                row += threads * batch;
            }
            Ok(())
        };
        let failed = std::thread::scope(|scope| {
            let work = &work;
            let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
            handles.into_iter().find_map(|handle| handle.join().ok()?.err())
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let per_thread = |count: &AtomicU64| {
            count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64() / threads as f64
        };
        outln!(
            "{stage}: {:.0} tokens/s and {:.0} samples/s per thread, {threads} thread(s)",
            per_thread(&done),
            per_thread(&documents)
        );
    }
    Ok(())
}

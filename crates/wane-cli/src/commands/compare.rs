//! `wane compare`: two models, by default the bundled pair with and without memory, under every
//! sparse method on the eight needle tasks; what the memory gains, with intervals.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args as ClapArgs;
use wane_eval::report::{self, Options};
use wane_eval::runner::store::Existing;
use wane_model::checkpoint;

use super::loaded::names;
use super::measurement::{MeasureArgs, Measurement};
use super::report::tell;
use super::shared::{outln, parse_plan};

/// The rows of the comparison: each method at a quarter, an eighth and a sixteenth of 4096 tokens.
const METHODS: [&str; 10] = [
    "dense",
    "quest:block=64,k=16",
    "quest:block=64,k=8",
    "quest:block=64,k=4",
    "moba:block=64,k=16",
    "moba:block=64,k=8",
    "moba:block=64,k=4",
    "snapkv:k=1024",
    "snapkv:k=512",
    "snapkv:k=256",
];

/// The bundled pair.
const PAIR: [&str; 2] = ["models/attention", "models/memory"];

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane compare --samples 500 --device cuda --out full")]
pub(crate) struct Args {
    /// Two models: without and with memory
    #[arg(long, num_args = 2, value_names = ["ATTENTION", "MEMORY"], default_values = PAIR)]
    models: Vec<PathBuf>,
    /// Methods; by default dense, and Quest, MoBA and SnapKV at three budgets each
    #[arg(long, num_args = 1.., value_name = "METHOD")]
    methods: Vec<String>,
    /// Samples of each task
    #[arg(long, default_value_t = 4, value_name = "N")]
    samples: usize,
    /// Prompt and answer together, in tokens; by default what both models were made for, at most 4096
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Folder for records.jsonl and the page; a run that was stopped goes on
    #[arg(long, value_name = "DIR", default_value = "compare")]
    out: PathBuf,
    #[command(flatten)]
    measure: MeasureArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let [first, second] = [&args.models[0], &args.models[1]];
    for path in PAIR.map(Path::new) {
        anyhow::ensure!(
            !args.models.iter().any(|model| model == path) || path.is_dir(),
            "the bundled model {} is not here: run this in wane's own folder, or give two models with --models",
            path.display()
        );
    }
    let open = |path: &PathBuf| {
        let checkpoint = checkpoint::open(path).with_context(|| format!("opening {}", path.display()))?;
        let tokenizer =
            checkpoint.tokenizer.with_context(|| format!("{} has no tokenizer", path.display()))?;
        Ok::<_, anyhow::Error>((tokenizer.hash().to_owned(), checkpoint.config.max_position_embeddings))
    };
    let ((tokens_a, context_a), (tokens_b, context_b)) = (open(first)?, open(second)?);
    anyhow::ensure!(
        tokens_a == tokens_b,
        "{} and {} have different tokenizers, so they would get different samples: compare models that share one",
        first.display(),
        second.display()
    );
    let limit = context_a.min(context_b);
    let context = args.context.unwrap_or(limit.min(4096));
    anyhow::ensure!(
        context <= limit,
        "--context {context} is more than both models were made for: at most {limit}"
    );
    let texts: Vec<&str> = if args.methods.is_empty() {
        METHODS.to_vec()
    } else {
        args.methods.iter().map(String::as_str).collect()
    };
    let methods = texts.into_iter().map(parse_plan).collect::<Result<Vec<_>>>()?;
    let mut labels = names(&args.models);
    if labels[0] == labels[1] {
        labels = vec![format!("{} (1)", labels[0]), format!("{} (2)", labels[1])];
    }
    let models = args.models.iter().cloned().zip(labels.iter().cloned()).collect();
    let measurement =
        Measurement { models, methods, context, samples: args.samples, data: None, args: &args.measure };
    measurement.run(&args.out, Existing::Resume)?;

    let options = Options { metric: args.measure.scorer.clone() };
    let written = report::write(std::slice::from_ref(&args.out), &args.out, &options)?;
    tell(&written)?;
    if (2..100).contains(&args.samples) {
        outln!("Intervals are of the mean over tasks; single cells need --samples 500.");
    }
    outln!("page: {}", written.page.display());
    Ok(())
}

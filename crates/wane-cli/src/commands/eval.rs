//! `wane eval`: models x methods x tasks x samples, into a folder of records and a table.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use wane_eval::ruler::data::DataSet;
use wane_eval::runner::record::Record;
use wane_eval::runner::store::{self, Existing};
use wane_eval::table;

use super::loaded::names;
use super::measurement::{AnyTokenizer, MeasureArgs, Measurement};
use super::shared::{out, outln, parse_plan};

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
    measurement.run(&args.out, existing)?;
    let records = store::read(&args.out.join(store::FILE))?;
    out!("{}", table::accuracy(&records, &args.measure.scorer));
    outln!("{}", caption(&records));
    Ok(())
}

/// What a table rests on, in one line.
fn caption(records: &[Record]) -> String {
    let Some(first) = records.first() else { return "no records".into() };
    let recipe = &first.origin.recipe;
    format!(
        "context {}, seed {}, haystack {}, words {}, prompt form {}{}; KV read: first decode step; KV kept: after the prompt",
        first.origin.context,
        first.cell.seed,
        recipe.haystack,
        recipe.wordlist,
        recipe.prompt_form.name(),
        recipe.template.as_ref().map(|name| format!(" ({name})")).unwrap_or_default()
    )
}

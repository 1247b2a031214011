//! `wane memory`: what a model's memory keeps. Several models stand below each other in the table (before and
//! after a training, say).

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use wane_eval::memory::record::{DISTANCES, MemoryRecord, VERSION};
use wane_eval::memory::{measure, measure_text, table};

use super::loaded::{load, names};
use super::samples::SampleArgs;
use super::shared::{out, outln};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane memory --model models/memory --samples 4 --out memory\n\n\
    Gates by layer and KV head, half-lives of their channels, and how much of k~ and v~ a needle's tokens still are some tokens\n\
    later; memory.json holds histograms and more distances. Needles are the values of the tasks' samples, or with --text every 97th token.")]
pub(crate) struct Args {
    /// Models with memory: a directory or a hub id; several are compared
    #[arg(long, required = true, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// UTF-8 text file to read in place of needle samples
    #[arg(long, value_name = "FILE", conflicts_with = "tasks")]
    text: Option<PathBuf>,
    /// Samples of each task, or windows of the text
    #[arg(long, default_value_t = 4, value_name = "N")]
    samples: usize,
    /// Tokens of a sample (answer budget included) or of a window; what the models were made for, at most 4096, by default
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Folder for memory.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    shared: SampleArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.shared.refuse_chat()?;
    ensure!(args.samples > 0, "--samples must be at least 1");
    ensure!(args.context != Some(0), "--context must be at least 1");
    let text = match &args.text {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some((path, text.with_context(|| format!("cannot read {} as UTF-8", path.display()))?))
        }
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("cannot create {}", args.out.display()))?;
    let material = args.shared.material()?;
    let mut record = MemoryRecord { version: VERSION, distances: DISTANCES.to_vec(), models: Vec::new() };
    for (path, name) in args.model.iter().zip(names(&args.model)) {
        let loaded = load(&args.shared.place, path, name)?;
        let limit = loaded.decoder.config().max_position_embeddings;
        let context = args.context.unwrap_or(limit.min(4096));
        let subject = loaded.subject();
        record.models.push(match &text {
            None => {
                measure(&subject, &args.shared.job(Vec::new(), [context, args.samples], None, &material)?)?
            }
            Some((path, text)) => {
                let name = path.display().to_string();
                measure_text(&subject, (name.as_str(), text.as_str()), context, args.samples)?
            }
        });
    }
    out!("{}", table::text(&record));
    let path = args.out.join("memory.json");
    let json = serde_json::to_string(&record)? + "\n";
    std::fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
    outln!("record: {}", path.display());
    Ok(())
}

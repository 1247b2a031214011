//! `wane hits`: how often what a head selects holds the answer's place in the prompt.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args as ClapArgs;
use wane_eval::hits::{HitStore, Progress, measure, table};
use wane_eval::runner::End;
use wane_eval::runner::store::Existing;

use super::loaded::{load, names};
use super::samples::SampleArgs;
use super::shared::{out, outln, parse_plan};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: wane hits --model models/attention models/memory --method quest:block=64,k=16 snapkv:k=1024 --prompt-form input --samples 25 --out hits\n\n\
    Answers are fed as they should be. A head hits an example if all places that the answer's tokens are copied from are among what it reads:\n\
    Quest at every step from the second token on, SnapKV in what stays after the prompt, MoBA (an extension of the paper) for the prompt's last token.\n\
    hits.jsonl holds sums per layer and head; `free` leaves out examples whose needle lies in blocks that are always read."
)]
pub(crate) struct Args {
    /// Models: a directory, a .gguf file or a hub id; several are allowed
    #[arg(long, required = true, num_args = 1.., value_name = "MODEL")]
    model: Vec<PathBuf>,
    /// Methods: quest, snapkv, moba, moba+quest, moba+snapkv; several are allowed
    #[arg(long, required = true, num_args = 1.., value_name = "METHOD")]
    method: Vec<String>,
    /// Samples of each task
    #[arg(long, default_value_t = 10, value_name = "N")]
    samples: usize,
    /// Prompt and answer together, in tokens
    #[arg(long, default_value_t = 4096, value_name = "N")]
    context: usize,
    /// Heads to print for each model and method
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
    /// Folder for hits.jsonl
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Go on with the lines that the folder holds
    #[arg(long)]
    resume: bool,
    /// Samples decoded together; 4 by default on the CPU, 32 on CUDA
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    #[command(flatten)]
    shared: SampleArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    args.shared.refuse_chat()?;
    let methods = args.method.iter().map(|m| parse_plan(m)).collect::<Result<Vec<_>>>()?;
    let material = args.shared.material()?;
    let job = args.shared.job(methods, [args.context, args.samples], args.batch, &material)?;
    let existing = if args.resume { Existing::Resume } else { Existing::Refuse };
    let mut store = HitStore::open(&args.out, existing)?;
    for (path, name) in args.model.iter().zip(names(&args.model)) {
        let loaded = load(&args.shared.place, path, name)?;
        let mut watch = Watch::new(&loaded.name);
        let end = measure(&loaded.subject(), &job, &mut store, &mut |progress| watch.tell(progress))?;
        if end == End::Stopped {
            break;
        }
    }
    let (cells, _) = wane_eval::hits::record::cells(store.lines());
    out!("{}", table::summary(&cells));
    out!("{}", table::heads(&cells, args.top));
    outln!("lines: {}", store.path().display());
    Ok(())
}

/// Says now and then how far it is.
struct Watch<'a> {
    name: &'a str,
    began: Instant,
    told: Instant,
}

impl<'a> Watch<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, began: Instant::now(), told: Instant::now() }
    }

    fn tell(&mut self, progress: Progress<'_>) -> bool {
        let Progress { done, total, task } = progress;
        let pause = if std::io::stderr().is_terminal() { 2 } else { 20 };
        if done == total || self.told.elapsed() > Duration::from_secs(pause) {
            self.told = Instant::now();
            let seconds = self.began.elapsed().as_secs_f64();
            let left = seconds / done.max(1) as f64 * (total - done) as f64;
            eprintln!("{}: {done}/{total} examples ({task}), {seconds:.0} s, {left:.0} s left", self.name);
        }
        true
    }
}

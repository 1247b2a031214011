//! `wane train CONFIG.toml`: pretraining, joint training, adaptation, adding the memory, fine-tuning.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wane_train::RunConfig;
use wane_train::build::{new_model, open_encoder};
use wane_train::checkpoint::Changes;
use wane_train::cost::{Cost, Elements};
use wane_train::data::SampleSource;
use wane_train::observe::ProgressOutput;
use wane_train::parallel::Ranks;
use wane_train::trainer::{Start, Surroundings, Trainer};

use super::interrupt::stop_on_ctrl_c;
use super::needle_source::NeedleSource;
use super::pair_source::PairSource;
use super::shared::outln;

/// Arguments of `wane train`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: wane train runs/pair-memory.toml --device cuda --resume")]
pub(crate) struct Args {
    /// The run, a TOML file
    config: PathBuf,
    /// Go on from the newest checkpoint of the output folder, if there is one
    #[arg(long)]
    resume: bool,
    /// With --resume: accept a configuration that changed since the checkpoint
    #[arg(long, requires = "resume")]
    allow_changes: bool,
    /// Instead of the configuration's device: cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<String>,
    /// Instead of the configuration's output folder
    #[arg(long)]
    output: Option<PathBuf>,
    /// Instead of the configuration's seed
    #[arg(long)]
    seed: Option<u64>,
    /// Instead of the configuration's steps or tokens
    #[arg(long)]
    steps: Option<u64>,
    /// Replace one setting of the configuration, e.g. joint.every=4; can be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// After so many seconds: finish the step, save, end (go on with --resume)
    #[arg(long, value_name = "SECONDS")]
    max_seconds: Option<u64>,
    /// Print parameters, tokens, FLOPs and memory, and train nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs `wane train`.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let mut config = RunConfig::load_with(&args.config, &args.settings)?;
    if let Some(device) = args.device {
        config.device = device;
    }
    if let Some(output) = args.output {
        config.output = output;
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    if args.steps.is_some() {
        config.training.steps = args.steps;
        config.training.tokens = None;
    }
    if args.dry_run {
        return describe(&config);
    }
    let ranks = Ranks::from_environment(&|name| std::env::var(name).ok())?;
    let is_main = ranks.as_ref().is_none_or(|ranks| ranks.rank == 0);
    let changes = if args.allow_changes { Changes::Allow } else { Changes::Refuse };
    let surroundings = Surroundings {
        start: if args.resume { Start::Resume(changes) } else { Start::New },
        ranks,
        source: sample_source(&config)?,
        progress: if is_main { ProgressOutput::Stderr } else { ProgressOutput::Silent },
        stop: stop_on_ctrl_c("finishing the step and saving")?,
    };
    if let Some(seconds) = args.max_seconds {
        stop_after(seconds, &surroundings.stop);
    }
    let trainer = Trainer::new(&config, surroundings)?;
    if is_main {
        print_cost(&config, trainer.cost())?;
    }
    let record = trainer.run()?;
    if !is_main {
        return Ok(());
    }
    outln!(
        "{}: {} steps, {:.0} s, {:.0} tokens/s, record in {}",
        record.status,
        record.steps,
        record.seconds,
        record.tokens_per_second,
        config.output.join("record.json").display()
    );
    Ok(())
}

/// The needle generator, or pairs from a file, if the run uses them.
pub(crate) fn sample_source(config: &RunConfig) -> anyhow::Result<Option<Arc<dyn SampleSource>>> {
    let Some(table) = &config.data.generated else { return Ok(None) };
    let (Some(encoder), Some(folder)) = open_encoder(&config.model)? else {
        anyhow::bail!("[data.generated] needs model.tokenizer: the samples are text");
    };
    if let Some(file) = &table.pairs {
        return Ok(Some(Arc::new(PairSource::open(file, &folder, encoder.end(), config.training.sequence)?)));
    }
    Ok(Some(Arc::new(NeedleSource::open(&folder, encoder.end(), table.haystack.as_deref())?)))
}

/// Asks the run to stop after `seconds`, counted from now.
fn stop_after(seconds: u64, stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    // Not joined: it ends with the process.
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
        eprintln!("{seconds} s have passed: finishing the step and saving");
        stop.store(true, Ordering::Relaxed);
    });
}

/// Costs of the run without opening its data or its device.
fn describe(config: &RunConfig) -> anyhow::Result<()> {
    config.check()?;
    let model = match &config.model.init {
        Some(path) => wane_model::checkpoint::open(path)?.config,
        None => new_model(config, open_encoder(&config.model)?.0.as_ref())?,
    };
    // Only the element size matters, and that follows from the kind of device.
    let is_cpu = config.device == "cpu";
    print_cost(config, &Cost::of(config, &model, if is_cpu { Elements::F32 } else { Elements::BF16 }))
}

fn print_cost(config: &RunConfig, cost: &Cost) -> anyhow::Result<()> {
    outln!(
        "{}: {:.2}M parameters, {} steps, {:.1}M tokens, {:.3e} FLOPs, about {:.2} GiB of memory on {}",
        config.name,
        cost.parameters as f64 / 1e6,
        cost.steps,
        cost.tokens as f64 / 1e6,
        cost.flops,
        cost.bytes as f64 / (1u64 << 30) as f64,
        config.device
    );
    Ok(())
}

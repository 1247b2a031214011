//! `wane bench scan`: the memory's scan by itself, and its share of a whole prefill.

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use wane_attention::Plan;

use super::Options;
use super::measure::{Report, time};
use super::model::{INFERENCE, ModelShape, describe};
use super::operators::time_scan;
use super::prefill::Prompt;

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane bench scan --tokens 4096

The share is that of all layers' scans in the dense prefill of the same model (with the memory).")]
pub(crate) struct Args {
    /// Tokens of the prompt
    #[arg(long, default_value_t = 4096, value_name = "N")]
    tokens: usize,
    #[command(flatten)]
    shape: ModelShape,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    ensure!(args.tokens > 0, "--tokens must be at least 1");
    let decoder = args.shape.with_memory().build(INFERENCE, args.tokens)?;
    let config = decoder.config();
    ensure!(config.memory.is_some(), "this model has no memory to scan");
    let mut report = Report::new(
        "scan",
        format!("{} x {} channels, {}", args.tokens, config.kv_width(), describe(&decoder)),
    );
    let repeats = args.options.repeats.unwrap_or(5);
    let prompt = Prompt { decoder: &decoder, tokens: args.tokens, kv_dtype: args.shape.kv_dtype()? };
    let prefill = time(repeats, 1, |_| prompt.read(&Plan::dense()).map(drop))?;
    let (scan, floor) = time_scan(config, args.tokens, 4 * repeats)?;
    let layers = config.num_hidden_layers;
    let share = scan.median() * layers as f64 / prefill.median();
    report.row("decay_scan", scan, Some(floor));
    report.row("prefill", prefill, None);
    report.figure(
        "share_of_prefill",
        share,
        format!("{layers} scans are {:.2} % of the prefill", 100.0 * share),
    );
    report.print(args.options.json)?;
    Ok(())
}

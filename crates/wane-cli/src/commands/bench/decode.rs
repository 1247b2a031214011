//! `wane bench decode`: one token of one sequence after a long prompt, under any method.

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args as ClapArgs;
use wane_attention::DecodeBatch;

use super::Options;
use super::machine::Floor;
use super::measure::{Report, Timing};
use super::model::{INFERENCE, ModelShape, describe};
use super::prefill::Prompt;
use crate::commands::shared::parse_plan;

/// Steps that are not timed.
const WARMUPS: usize = 4;

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  wane bench decode
  wane bench decode --dtype bf16 --kv-dtype bf16
  wane bench decode --context 16384 --method quest:block=64,budget=1/16

The floor counts every weight that a step reads, and the K/V and summaries that the method reads.")]
pub(crate) struct Args {
    /// Tokens of the prompt
    #[arg(long, default_value_t = 4096, value_name = "N")]
    context: usize,
    /// Method, for example quest:block=64,k=4
    #[arg(long, default_value = "dense")]
    method: String,
    #[command(flatten)]
    shape: ModelShape,
    #[command(flatten)]
    options: Options,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<()> {
    ensure!(args.context > 0, "--context must be at least 1");
    let plan = parse_plan(&args.method)?;
    let repeats = args.options.repeats.unwrap_or(60);
    let steps = WARMUPS + repeats;
    let decoder = args.shape.build(INFERENCE, args.context + steps)?;
    let kv_dtype = args.shape.kv_dtype()?;
    let mut report = Report::new(
        "decode",
        format!(
            "one token after {} under {}, {}, K/V {}",
            args.context,
            plan.canonical(),
            describe(&decoder),
            format!("{:?}", kv_dtype.unwrap_or(decoder.activation_dtype())).to_lowercase(),
        ),
    );
    let prompt = Prompt { decoder: &decoder, tokens: args.context, kv_dtype };
    let mut batch = DecodeBatch::new(vec![prompt.read(&plan)?.0], steps)?;
    let mut seconds = Vec::with_capacity(repeats);
    let mut touched = 0;
    for step in 0..steps {
        let token = (step * 7919 % decoder.config().vocab_size) as u32;
        if step == 0 {
            let mut observed = None;
            decoder
                .decode_observed(&mut batch, &[token], &mut |batch| observed = Some(batch.step_bytes()))?;
            let bytes = observed.transpose()?.and_then(|all| all.first().copied()).unwrap_or_default();
            touched = bytes.keys_values + bytes.summaries;
            continue;
        }
        let start = Instant::now();
        std::hint::black_box(decoder.decode(&mut batch, &[token])?);
        if step >= WARMUPS {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let config = decoder.config();
    // Of an embedding that is not the head, a step reads one row.
    let weights: usize = decoder
        .parameters()
        .iter()
        .filter(|p| config.tie_word_embeddings || p.name != "model.embed_tokens.weight")
        .map(|p| p.weight.num_bytes())
        .sum();
    report.row("decode step", Timing::new(seconds)?, Some(Floor::Bytes((weights as u64 + touched) as f64)));
    let megabytes = |bytes: f64| format!("{:.2} MB", bytes / 1e6);
    report.figure(
        "weight_bytes",
        weights as f64,
        format!("weights read by a step: {}", megabytes(weights as f64)),
    );
    report.figure(
        "cache_bytes",
        touched as f64,
        format!("K/V and summaries read by a step: {}", megabytes(touched as f64)),
    );
    report.print(args.options.json)?;
    Ok(())
}

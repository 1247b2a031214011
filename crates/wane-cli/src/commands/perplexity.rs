//! `wane ppl`: perplexity of a text under any method, a check beyond needles.
//!
//! The text is cut into windows of `context` tokens. The first half of each is the prompt; the
//! second half is scored token by token through the decode path, so that decode methods count.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use clap::Args as ClapArgs;
use wane_attention::{DecodeBatch, SequenceCache};
use wane_model::decoder::{CacheOptions, DEFAULT_CHUNK};

use super::shared::{ModelArgs, outln, parse_plan, tokenizer_of};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane ppl --model models/memory --text book.txt --method quest:block=64,k=8")]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// UTF-8 text file
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Method, for example dense or quest:block=64,k=8
    #[arg(long, default_value = "dense")]
    method: String,
    /// Tokens of a window; the model's context by default
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Windows, at most
    #[arg(long, default_value_t = 8, value_name = "N")]
    windows: usize,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let plan = parse_plan(&args.method)?;
    let text = std::fs::read_to_string(&args.text)
        .with_context(|| format!("cannot read {} as UTF-8", args.text.display()))?;
    let (checkpoint, decoder) = args.model.load()?;
    let tokenizer = tokenizer_of(&checkpoint)?;
    let context = args.context.unwrap_or(decoder.config().max_position_embeddings);
    ensure!(context >= 4, "--context must be at least 4, got {context}");
    let limit = decoder.config().max_position_embeddings;
    ensure!(context <= limit, "--context {context} is more than the model's context of {limit}");
    ensure!(args.windows > 0, "--windows must be at least 1");
    let ids = tokenizer.encode(&text)?;
    let windows: Vec<&[u32]> = ids.chunks_exact(context).take(args.windows).collect();
    ensure!(
        !windows.is_empty(),
        "{} has {} tokens, fewer than one window of {context}",
        args.text.display(),
        ids.len()
    );
    let options =
        CacheOptions { dtype: args.model.place.kv_dtype()?, context: Some(context), keep_queries: 0 };
    let cache_config = decoder.cache_config(options);
    let (mut total, mut count) = (0.0, 0usize);
    for (number, window) in windows.iter().enumerate() {
        let (prompt, scored) = window.split_at(context / 2);
        let mut cache = SequenceCache::new(&plan, &cache_config, number as u32)?;
        let mut logits = decoder.prefill(&mut cache, prompt, DEFAULT_CHUNK)?;
        let mut batch = DecodeBatch::new(vec![cache], scored.len())?;
        for (i, &token) in scored.iter().enumerate() {
            total += negative_log_probability(&logits.to_f32_vec()?, token as usize);
            count += 1;
            if i + 1 < scored.len() {
                logits = decoder.decode(&mut batch, &[token])?;
            }
        }
    }
    outln!("method      {}", plan.canonical());
    outln!("windows     {} x {context} tokens, second halves scored ({count} tokens)", windows.len());
    outln!("perplexity  {:.4}", (total / count as f64).exp());
    Ok(())
}

fn negative_log_probability(logits: &[f32], target: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
    sum.ln() + f64::from(max - logits[target])
}

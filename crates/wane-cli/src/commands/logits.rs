//! `wane logits`: logits of given token ids, for comparing with other implementations.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;

use super::shared::{ModelArgs, read_ids, write_tensors};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example: wane logits --model models/memory --tokens ids.json --out logits.safetensors\n\n\
    ids.json holds an array of ids, or arrays of ids of equal length; no tokenizer is needed.\n\
    The output holds `logits`, f32 [batch, tokens, vocabulary]."
)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// JSON file of token ids
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// safetensors file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let batch = read_ids(&args.tokens)?;
    let (_, decoder) = args.model.load()?;
    let mut all = Vec::new();
    for ids in &batch {
        all.extend(decoder.logits(ids)?);
    }
    let shape = vec![batch.len(), batch[0].len(), decoder.config().vocab_size];
    let bytes: Vec<u8> = all.iter().flat_map(|x| x.to_le_bytes()).collect();
    drop(all);
    write_tensors(&args.out, &[("logits".to_owned(), safetensors::Dtype::F32, shape, bytes)])
}

//! `wane convert`: any model that can be read, written as a Hugging Face directory; optionally with
//! a memory added for continued training.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Args as ClapArgs, ValueEnum};
use wane_kernels::{DType, Weight};
use wane_model::Tokenizer;
use wane_model::checkpoint::{self, SaveDtype};
use wane_model::decoder::initialize::GateBias;

use super::interrupt::end_on_ctrl_c;

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    wane convert SmolLM2-135M-Instruct.Q4_1.gguf --out models/smollm2 --dtype bf16\n  \
    wane convert ratplus_1b_wonly.pth --config sizes.json --tokenizer llama2/ --out models/ratplus-1b\n  \
    wane convert models/smollm2 --out models/smollm2-memory --add-memory --gate-bias spread\n\n\
    The file for --config is JSON with d_model, num_heads, num_layers, vocab_size, ffn_activation, memory\n\
    (only num_heads cannot be read off the weights).")]
pub(crate) struct Args {
    /// Model: a directory, a .gguf or .pth file, or a hub id (`hf` fetches it unless it is cached)
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// JSON file of sizes for sources without a configuration (.pth)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Type of the written weights; by default as stored (quantized ones become f32)
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Tokenizer for sources without one: a directory, a tokenizer.json or a .gguf file
    #[arg(long, value_name = "SPEC")]
    tokenizer: Option<String>,
    /// Add a decaying memory to every layer, to be trained
    #[arg(long)]
    add_memory: bool,
    /// Where the memory's gates start: a number (the bias before the sigmoid) or `spread`
    /// (of every head, a quarter of the channels almost none, the others half-lives of 1 to 64 tokens)
    #[arg(long, value_name = "X|spread", default_value = "-4", value_parser = parse_gate_bias,
        allow_hyphen_values = true)]
    gate_bias: GateBias,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dtype {
    Bf16,
    F32,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let same =
        args.source.canonicalize().ok().is_some_and(|source| args.out.canonicalize().ok() == Some(source));
    ensure!(!same, "--out is the source itself: give another directory");
    let mut model = checkpoint::open_with(&args.source, args.config.as_deref())?;
    if args.add_memory {
        model.add_memory(args.gate_bias)?;
    }
    if let Some(spec) = &args.tokenizer {
        model.tokenizer = Some(Tokenizer::open(spec)?);
    }
    let dtype = match args.dtype {
        Some(Dtype::Bf16) => SaveDtype::BF16,
        Some(Dtype::F32) => SaveDtype::F32,
        None if all_bf16(&model.weights) => SaveDtype::BF16,
        None => SaveDtype::F32,
    };
    let (out, is_new) = (args.out.clone(), !args.out.exists());
    end_on_ctrl_c(move || {
        checkpoint::remove_unfinished(&out);
        if is_new {
            // Only if nothing is in it.
            let _ = std::fs::remove_dir(&out);
        }
        format!("{} is not finished; run the same command again", out.display())
    })?;
    let text = (model.tokenizer.as_ref(), model.chat_template.as_ref());
    checkpoint::save(&args.out, &model.config, &model.weights, dtype, text)?;
    let parameters: usize = model.weights.values().map(elements).sum();
    eprintln!(
        "wrote {} ({:.1} million parameters, {:?}{})",
        args.out.display(),
        parameters as f64 / 1e6,
        dtype,
        if model.tokenizer.is_some() { "" } else { ", no tokenizer" },
    );
    Ok(())
}

fn parse_gate_bias(text: &str) -> Result<GateBias, String> {
    match text.parse::<f32>() {
        Ok(bias) if bias.is_finite() => Ok(GateBias::Constant(bias)),
        _ if text == "spread" => Ok(GateBias::Spread { copying: 0.25, max_half_life: 64.0 }),
        _ => Err("expected a number or `spread`".into()),
    }
}

fn elements(weight: &Weight) -> usize {
    match weight {
        Weight::Dense(tensor) => tensor.len(),
        Weight::Quantized(matrix) => matrix.rows * matrix.columns,
    }
}

fn all_bf16(weights: &std::collections::BTreeMap<String, Weight>) -> bool {
    weights
        .iter()
        .filter(|(name, _)| !name.contains("memory_gate"))
        .all(|(_, weight)| weight.dtype() == Some(DType::BF16))
}

//! `wane tokenizer train`: a byte-level BPE tokenizer from text.

use std::path::PathBuf;

use clap::Subcommand;
use wane_train::data::tokenizer::{TokenizerOptions, train};

use super::shared::outln;

/// Arguments of `wane tokenizer`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Tokenizer,
}

#[derive(Debug, Subcommand)]
enum Tokenizer {
    /// Train a byte-level BPE tokenizer: single digits, any byte, one end token
    #[command(
        after_help = "Example: wane tokenizer train books.txt.zst --vocab-size 4096 --output runs/out/tokenizer"
    )]
    Train {
        /// Text files: .txt, .jsonl (field `text`), each optionally .zst
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        /// Size of the vocabulary, the 256 bytes and the end token included
        #[arg(long, default_value_t = 4096)]
        vocab_size: usize,
        /// Folder for tokenizer.json and tokenizer_config.json
        #[arg(long)]
        output: PathBuf,
        /// Largest context, stated in tokenizer_config.json
        #[arg(long, default_value_t = 4096)]
        model_max_length: usize,
    },
}

/// Runs `wane tokenizer`.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let Tokenizer::Train { inputs, vocab_size, output, model_max_length } = args.command;
    let options = TokenizerOptions { inputs, vocab_size, output, model_max_length };
    let hash = train(&options)?;
    outln!("{}: tokenizer {hash}", options.output.display());
    Ok(())
}

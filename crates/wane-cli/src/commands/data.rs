//! `wane data pack` and `wane data show`: token shards from text.

use std::path::PathBuf;

use clap::Subcommand;
use wane_train::data::pack::{PackOptions, pack};
use wane_train::data::shard::Shard;
use wane_train::data::tokenizer::{Encoder, TokenizerHash};

use super::shared::outln;

/// Arguments of `wane data`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Data,
}

#[derive(Debug, Subcommand)]
enum Data {
    /// Tokenize text into shards for training
    #[command(
        after_help = "Example: wane data pack books.txt.zst --tokenizer runs/out/tokenizer --output runs/out/shards"
    )]
    Pack {
        /// Text files: .txt, .jsonl (field `text`), each optionally .zst
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        /// Folder with tokenizer.json
        #[arg(long)]
        tokenizer: PathBuf,
        /// Folder for the shards
        #[arg(long)]
        output: PathBuf,
        /// Text between the documents of a .txt file (\n is a line end); one document a file if absent
        #[arg(long)]
        separator: Option<String>,
        /// A new shard starts after so many tokens
        #[arg(long, default_value_t = 100_000_000)]
        shard_tokens: u64,
    },
    /// Print tokens, documents, tokenizer and the first tokens of a shard
    #[command(
        after_help = "Example: wane data show runs/out/shards/00000.tokens --tokenizer runs/out/tokenizer"
    )]
    Show {
        /// The shard
        shard: PathBuf,
        /// Folder with tokenizer.json, to print text
        #[arg(long)]
        tokenizer: Option<PathBuf>,
        /// How many tokens to print
        #[arg(long, default_value_t = 64)]
        tokens: usize,
    },
}

/// Runs `wane data`.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Data::Pack { inputs, tokenizer, output, separator, shard_tokens } => {
            let separator = separator.map(|text| text.replace("\\n", "\n"));
            let summary = pack(&PackOptions { inputs, tokenizer, separator, output, shard_tokens })?;
            outln!(
                "{} tokens, {} documents, {:.2} bytes a token, {} shard(s)",
                summary.tokens,
                summary.documents,
                summary.bytes as f64 / summary.tokens as f64,
                summary.shards.len()
            );
        }
        Data::Show { shard, tokenizer, tokens } => {
            let opened = Shard::open(&shard)?;
            outln!(
                "{} tokens, {} documents, tokenizer {}",
                opened.tokens(),
                opened.documents(),
                opened.tokenizer()
            );
            let mut ids = Vec::new();
            opened.read(0, tokens, &mut ids);
            match tokenizer {
                None => outln!("{ids:?}"),
                Some(folder) => {
                    let expected = TokenizerHash::of_folder(&folder)?;
                    anyhow::ensure!(
                        &expected == opened.tokenizer(),
                        "the shard was packed with another tokenizer"
                    );
                    outln!("{}", Encoder::open(&folder, None)?.decode(&ids)?);
                }
            }
        }
    }
    Ok(())
}

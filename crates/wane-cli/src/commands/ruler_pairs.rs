//! `wane ruler pairs`: the fine-tuning split, one prompt and answer a line.

use std::path::PathBuf;
use std::sync::Arc;

use wane_eval::ruler::prompt::{self, PromptForm};
use wane_eval::ruler::size::Search;
use wane_eval::ruler::words::WordList;
use wane_eval::ruler::{self, Request, jsonl, tasks};
use wane_model::Tokenizer;

use super::ruler_files::FileArgs;
use super::ruler_score::write;
use super::ruler_template::TemplateArgs;
use super::samples::{FormArg, word_list};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tasks, separated by commas; `niah` for the eight needle tasks
    #[arg(long, default_value = "niah", value_delimiter = ',')]
    task: Vec<String>,
    /// A directory, a tokenizer.json, a .gguf, or cl100k
    #[arg(long, value_name = "SPEC")]
    tokenizer: String,
    /// Prompt and answer together, in tokens
    #[arg(long, default_value_t = 4096)]
    context: usize,
    /// Pairs of each task
    #[arg(long, default_value_t = 2250)]
    samples: usize,
    /// Seed of the random stream; must not be the one that is measured with (42)
    #[arg(long)]
    seed: u64,
    /// Version of the wonderwords lists: 2.2.0 or 3.0.1
    #[arg(long, default_value = "3.0.1", value_parser = word_list)]
    wordlist: WordList,
    #[command(flatten)]
    files: FileArgs,
    /// Form of the prompts
    #[arg(long, value_enum, default_value = "input")]
    form: FormArg,
    #[command(flatten)]
    template: TemplateArgs,
    /// File to write
    #[arg(long)]
    out: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(args.samples > 0, "--samples must be at least 1");
    anyhow::ensure!(args.seed != 42, "--seed 42 is what RULER measures with: take another one for training");
    let form = PromptForm::from(args.form);
    let chosen = tasks::select(&args.task)?;
    let tokenizer = Arc::new(Tokenizer::open(&args.tokenizer)?);
    let template = args.template.open(&args.tokenizer, &tokenizer)?;
    anyhow::ensure!(
        (form == PromptForm::Chat) != (template.name() == "base"),
        "--form chat and --template belong together: give both or none"
    );
    let (haystack, files) = (args.files.haystack()?, args.files.files()?);
    let mut pieces = ruler::pieces_for(tokenizer, &haystack, &template)?;
    let (mut text, mut pairs, mut tokens) = (String::new(), 0, 0);
    for task in chosen {
        let mut request = Request {
            context: args.context,
            samples: args.samples,
            seed: args.seed,
            words: args.wordlist,
            search: Search::Binary,
            haystack: &haystack,
            files: &files,
            template: &template,
            pieces: &mut pieces,
        };
        prompt::pairs(task, &mut request, form, &mut |pair| {
            text += &jsonl::line(&pair)?;
            pairs += 1;
            tokens += pair.prompt_tokens;
            Ok(())
        })?;
    }
    write(&args.out, &text)?;
    eprintln!("{pairs} pairs, {tokens} tokens of prompts");
    Ok(())
}

//! `wane`: one program that trains, evaluates and runs language models with decaying memory and
//! sparse KV budgets. This file is the list of commands; each is a file in `commands/`.
//!
//! Exit codes: 0 success, 1 the command failed (one sentence on stderr), 2 the arguments are wrong.

// Printing with `println!` panics when nobody reads any more; `shared::outln!` returns an error instead.
#![warn(clippy::print_stdout)]

mod commands;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Train, evaluate and run language models whose attention keeps a decaying memory, or any
/// Llama-style model, under sparse KV budgets.
#[derive(Debug, Parser)]
#[command(name = "wane", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// CPU threads; all cores by default
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Two models under sparse methods: what the memory gains
    Compare(commands::compare::Args),
    /// Measure models under methods on benchmark tasks
    Eval(commands::eval::Args),
    /// How often the heads of a model select the answer's place under a method
    Hits(commands::hits::Args),
    /// What a model's memory keeps: gates, half-lives, how far a needle reaches
    Memory(commands::memory::Args),
    /// One page with figures and tables, from records
    Report(commands::report::Args),
    /// Train a model from a configuration file
    Train(commands::train::Args),
    /// Train a tokenizer
    Tokenizer(commands::tokenizer::Args),
    /// Prepare text for training
    Data(commands::data::Args),
    /// Text from a prompt, under any method
    Generate(commands::generate::Args),
    /// Perplexity of a text, under any method
    Ppl(commands::perplexity::Args),
    /// Write any readable model as a Hugging Face directory, or add a memory to it
    Convert(commands::convert::Args),
    /// Logits of given token ids
    Logits(commands::logits::Args),
    /// What a method selects on given token ids
    Trace(commands::trace::Args),
    /// List the sparse methods and their keys
    Methods(commands::methods::Args),
    /// The benchmark's tasks
    #[command(after_help = "Example: wane tasks")]
    Tasks,
    /// RULER's samples: generate, score, compare
    #[command(subcommand)]
    Ruler(commands::ruler::RulerCommand),
    /// Write shell completions to stdout
    #[command(after_help = "Example: wane completions bash > /etc/bash_completion.d/wane")]
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(threads) = cli.threads {
        anyhow::ensure!(threads > 0, "--threads must be at least 1");
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    }
    match cli.command {
        Command::Compare(args) => commands::compare::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Hits(args) => commands::hits::run(&args),
        Command::Memory(args) => commands::memory::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Train(args) => commands::train::run(args),
        Command::Tokenizer(args) => commands::tokenizer::run(args),
        Command::Data(args) => commands::data::run(args),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Ppl(args) => commands::perplexity::run(&args),
        Command::Convert(args) => commands::convert::run(&args),
        Command::Logits(args) => commands::logits::run(&args),
        Command::Trace(args) => commands::trace::run(&args),
        Command::Methods(args) => commands::methods::run(&args, &mut std::io::stdout().lock()),
        Command::Tasks => commands::tasks::run(),
        Command::Ruler(command) => commands::ruler::run(command),
        Command::Completions { shell } => {
            // Into memory first: the generator panics when its writer fails.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "wane", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
    }
}

// A reader that closes our stdout (`wane ... | head`) is no failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

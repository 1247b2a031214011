//! `wane bench`: how long the main computations take, beside the floor that this machine sets.
//!
//! One file per subject. Floors come from two probes in the same run ([`machine`]): arithmetic over the
//! rate of multiply-adds, or bytes over the rate of reads. A comparison with other programs is
//! `runs/bench-cpu.sh`.

mod attention;
mod decode;
mod machine;
mod measure;
mod model;
mod operators;
mod prefill;
mod scan;
mod train;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to time.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Attention alone: a dense prompt, Quest's decoding, MoBA's prefill
    Attention(attention::Args),
    /// Reading a prompt, and the K/V bytes it leaves
    Prefill(prefill::Args),
    /// One token after a long prompt
    Decode(decode::Args),
    /// The memory's scan, and its share of a prefill
    Scan(scan::Args),
    /// One optimizer step
    Train(train::Args),
}

/// Options of every subject.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Timed repeats; the median counts
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,
    /// One JSON object on stdout instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(command: &BenchCommand) -> Result<()> {
    match command {
        BenchCommand::Attention(args) => attention::run(args),
        BenchCommand::Prefill(args) => prefill::run(args),
        BenchCommand::Decode(args) => decode::run(args),
        BenchCommand::Scan(args) => scan::run(args),
        BenchCommand::Train(args) => train::run(args),
    }
}

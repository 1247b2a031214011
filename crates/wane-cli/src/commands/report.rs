//! `wane report`: one page with figures and tables, from records alone.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use wane_eval::report::{self, Options};

use super::shared::{outln, scorer};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane report compare --out page")]
pub(crate) struct Args {
    /// Folders that `wane eval` or `wane compare` wrote, or files: records.jsonl, also .zst
    #[arg(required = true, num_args = 1.., value_name = "RECORDS")]
    records: Vec<PathBuf>,
    /// Folder for index.html, its figures (.svg) and its tables (.md, .csv)
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Scorer: `task` (each task's own), comma_set, ...
    #[arg(long, default_value = "task", value_parser = scorer)]
    scorer: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let written = report::write(&args.records, &args.out, &Options { metric: args.scorer.clone() })?;
    for note in &written.notes {
        eprintln!("note: {note}");
    }
    outln!("{} records, {} files", written.records, written.files.len());
    outln!("page: {}", written.page.display());
    Ok(())
}

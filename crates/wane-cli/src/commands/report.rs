//! `wane report`: one page with figures and tables, from records alone.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args as ClapArgs;
use wane_eval::report::{self, Options, Written};

use super::shared::{out, outln, scorer};

/// Arguments.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: wane report compare --out page")]
pub(crate) struct Args {
    /// Folders that `wane eval` or `wane compare` wrote, or files of records; also packed, .gz or .zst
    #[arg(required = true, num_args = 1.., value_name = "RECORDS")]
    records: Vec<PathBuf>,
    /// Folder for index.html, its figures (.svg, .png) and its tables (.md, .csv)
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Scorer: `protocol` (the prompt form's: comma_set for input, the task's own for prefix), `task` (each
    /// task's own), comma_set, ...
    #[arg(long, default_value = "protocol", value_parser = report_scorer)]
    scorer: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<()> {
    let written = report::write(&args.records, &args.out, &Options { metric: args.scorer.clone() })?;
    tell(&written)?;
    outln!("{} records, {} files", written.records, written.files.len());
    outln!("page: {}", written.page.display());
    Ok(())
}

/// Like [`scorer`], and `protocol`.
fn report_scorer(text: &str) -> std::result::Result<String, String> {
    if text == "protocol" { Ok(text.into()) } else { scorer(text) }
}

/// What a report says besides its page: notes, and the table for a terminal.
pub(crate) fn tell(written: &Written) -> Result<()> {
    for note in &written.notes {
        eprintln!("note: {note}");
    }
    out!("{}", written.summary);
    Ok(())
}

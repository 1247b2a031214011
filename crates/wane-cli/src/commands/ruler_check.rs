//! `wane ruler check`: two data sets, sample by sample.

use std::io::Write as _;
use std::path::PathBuf;

use wane_eval::ruler::check::{self, Outcome};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A .jsonl file, or a folder with such files (TASK/validation.jsonl, at any depth)
    a: PathBuf,
    /// The same kind
    b: PathBuf,
}

/// Runs the command: a line for each data set, an error (exit code 1) if one differs.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let found = check::trees(&args.a, &args.b)?;
    let mut out = std::io::stdout().lock();
    let (mut different, mut equal, mut all) = (0, 0, 0);
    for (name, outcome) in &found {
        match outcome {
            Outcome::Missing(folder) => {
                different += 1;
                writeln!(out, "{name}: not in {}", folder.display())?;
            }
            Outcome::Compared(found) => {
                equal += found.equal;
                all += found.samples[0].max(found.samples[1]);
                let Some(first) = &found.first else {
                    writeln!(out, "{name}: {} samples, identical", found.samples[0])?;
                    continue;
                };
                different += 1;
                let [a, b] = found.samples;
                writeln!(out, "{name}: {} of {} samples equal; {first}", found.equal, a.max(b))?;
                if !found.fields.is_empty() {
                    let counts: Vec<String> =
                        found.fields.iter().map(|(field, count)| format!("{field} {count}")).collect();
                    writeln!(out, "  samples that differ, by field: {}", counts.join(", "))?;
                }
            }
        }
    }
    writeln!(out, "{equal} of {all} samples equal in {} data sets", found.len())?;
    out.flush()?;
    anyhow::ensure!(different == 0, "{different} of {} data sets differ", found.len());
    Ok(())
}

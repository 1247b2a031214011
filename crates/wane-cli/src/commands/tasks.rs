//! `wane tasks`: the registry of benchmark tasks.

use wane_eval::ruler::TASKS;

/// Prints the registry.
pub(crate) fn run() -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    for task in TASKS {
        let (metric, tokens) = (task.metric.name(), task.max_new_tokens);
        writeln!(out, "{:<16} {:<58} {metric}, {tokens} tokens", task.name, task.summary)?;
    }
    writeln!(out, "\n`niah` stands for the eight needle tasks, `all` for all.")?;
    Ok(())
}

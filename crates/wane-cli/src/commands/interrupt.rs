//! Ctrl-C: the first asks a command to stop where it can go on later, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// A flag that the first Ctrl-C sets, after printing `message`.
///
/// # Errors
/// The process already watches for Ctrl-C.
pub(crate) fn stop_on_ctrl_c(message: &'static str) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if asked.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("{message}; once more to end at once");
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(stop)
}

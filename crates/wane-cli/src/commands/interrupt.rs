//! Ctrl-C. A command that can go on later stops at the first (and ends at the second); one that cannot ends at
//! once, and tidies up.

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

/// Ends the process at the first Ctrl-C, after `tidy`, whose answer is the message.
///
/// # Errors
/// The process already watches for Ctrl-C.
pub(crate) fn end_on_ctrl_c(tidy: impl Fn() -> String + Send + 'static) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        eprintln!("error: stopped by Ctrl-C: {}", tidy());
        std::process::exit(130);
    })
    .context("cannot watch for Ctrl-C")
}

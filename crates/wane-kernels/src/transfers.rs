//! How often this thread's host code copied between host and device: what a test counts to keep a path
//! free of waits. On the CPU nothing travels, but the same calls count, so such a test needs no GPU.
//! What operators copy within their own CUDA code is counted on a GPU only.

use std::cell::Cell;

thread_local! {
    static COUNT: Cell<Transfers> = const { Cell::new(Transfers { uploads: 0, downloads: 0 }) };
}

/// Copies by this thread since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfers {
    /// Host to device. Small ones do not wait.
    pub uploads: u64,
    /// Device to host. Each waits for everything submitted before it.
    pub downloads: u64,
}

/// What this thread has copied so far.
pub fn transfers() -> Transfers {
    COUNT.get()
}

/// What `work` copied on this thread, and its result.
pub fn counted<R>(work: impl FnOnce() -> R) -> (Transfers, R) {
    let before = transfers();
    let result = work();
    let after = transfers();
    let uploads = after.uploads - before.uploads;
    (Transfers { uploads, downloads: after.downloads - before.downloads }, result)
}

pub(crate) fn uploaded() {
    let count = COUNT.get();
    COUNT.set(Transfers { uploads: count.uploads + 1, ..count });
}

pub(crate) fn downloaded() {
    let count = COUNT.get();
    COUNT.set(Transfers { downloads: count.downloads + 1, ..count });
}

//! Threads that prepare batches ahead of the device. Thread `i` of `n` makes the batches of steps
//! `start + i`, `start + i + n`, ...; they are handed out in order, so the number of threads changes nothing.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::batch::HostBatch;
use super::mixture::Mixture;
use crate::{Error, Result};

/// Batches in the order of their steps.
#[derive(Debug)]
pub struct Prefetcher {
    // Emptied before the threads are joined: a thread ends once nobody listens.
    channels: Vec<Receiver<Result<HostBatch>>>,
    threads: Vec<JoinHandle<()>>,
    next: u64,
    start: u64,
}

impl Prefetcher {
    /// Starts `threads` threads that prepare rows `rows` of steps `steps`, each `ahead` batches.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(
        mixture: &Arc<Mixture>,
        steps: Range<u64>,
        rows: Range<usize>,
        (threads, ahead): (usize, usize),
    ) -> Result<Self> {
        let mut channels = Vec::new();
        let mut handles = Vec::new();
        for thread in 0..threads.max(1) as u64 {
            let (sender, receiver) = sync_channel(ahead.max(1));
            let (mixture, rows, steps) = (Arc::clone(mixture), rows.clone(), steps.clone());
            let work = move || {
                for step in (steps.start + thread..steps.end).step_by(threads.max(1)) {
                    let batch = mixture.batch(step, rows.clone());
                    let is_error = batch.is_err();
                    if sender.send(batch).is_err() || is_error {
                        return;
                    }
                }
            };
            let spawned = std::thread::Builder::new().name(format!("data-{thread}")).spawn(work);
            handles.push(spawned.map_err(|e| Error::setting(format!("data.threads: {e}")))?);
            channels.push(receiver);
        }
        Ok(Self { channels, threads: handles, next: steps.start, start: steps.start })
    }

    /// The batch of the next step.
    ///
    /// # Errors
    /// The batch could not be made, or the last step has been handed out.
    pub fn next_batch(&mut self) -> Result<HostBatch> {
        let thread = (self.next - self.start) as usize % self.channels.len();
        self.next += 1;
        let ended = || Error::Samples(format!("no batch for step {}", self.next - 1));
        self.channels[thread].recv().map_err(|_| ended())?
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.channels.clear();
        for thread in self.threads.drain(..) {
            // A panic there has already been printed; dropping must not panic again.
            let _ = thread.join();
        }
    }
}

//! Pinned host memory through which all transfers go: the driver copies pageable memory slowly
//! and with hidden waits.
//!
//! Uploads fill one half of a ring while the other half is in flight, so a small upload (positions,
//! page tables) never waits for the GPU. Downloads wait: their caller wants the values.

use cudarc::driver::{result as driver, sys};

use super::{Stream, failed};
use crate::Result;

const HALF: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Staging {
    // Three pieces of HALF bytes: two of uploads, one of downloads.
    memory: *mut u8,
    half: usize,
    used: usize,
    events: [sys::CUevent; 2],
    in_flight: [bool; 2],
}

// SAFETY: the pointers are only used under the device's mutex, with its context current.
unsafe impl Send for Staging {}

impl Staging {
    /// The context must be current.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: plain allocation; the result is checked.
        let memory = unsafe { driver::malloc_host(3 * HALF, 0) }.map_err(failed("pinned host memory"))?;
        let event =
            || driver::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(failed("event"));
        Ok(Self {
            memory: memory.cast(),
            half: 0,
            used: 0,
            events: [event()?, event()?],
            in_flight: [false; 2],
        })
    }

    /// Copies host bytes to `address`; returns before the copy is done.
    pub(super) fn upload(&mut self, stream: Stream, address: u64, bytes: &[u8]) -> Result<()> {
        let mut to = address;
        for piece in bytes.chunks(HALF) {
            if self.used + piece.len() > HALF {
                self.flip(stream)?;
            }
            // SAFETY: `half < 2` and `used + len <= HALF`, so the range lies in the pinned memory, and
            // no copy in flight reads it: `flip` waited for those of this half.
            let staged = unsafe {
                let start = self.memory.add(self.half * HALF + self.used);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), start, piece.len());
                std::slice::from_raw_parts(start, piece.len())
            };
            // SAFETY: the caller owns `address..`; the staged bytes stay until `flip` has waited.
            unsafe { driver::memcpy_htod_async(to, staged, stream.0) }.map_err(failed("upload"))?;
            self.used = (self.used + piece.len()).next_multiple_of(64);
            to += piece.len() as u64;
        }
        Ok(())
    }

    fn flip(&mut self, stream: Stream) -> Result<()> {
        // SAFETY: event and stream belong to the current context.
        unsafe { driver::event::record(self.events[self.half], stream.0) }.map_err(failed("event"))?;
        self.in_flight[self.half] = true;
        self.half ^= 1;
        self.used = 0;
        if self.in_flight[self.half] {
            // SAFETY: the event was recorded before.
            unsafe { driver::event::synchronize(self.events[self.half]) }.map_err(failed("upload"))?;
            self.in_flight[self.half] = false;
        }
        Ok(())
    }

    /// Copies device bytes to the host, after everything submitted before.
    pub(super) fn download(&mut self, stream: Stream, address: u64, to: &mut [u8]) -> Result<()> {
        let mut from = address;
        for piece in to.chunks_mut(HALF) {
            // SAFETY: the third piece of the pinned memory; it is read only after the wait below.
            let staged = unsafe { std::slice::from_raw_parts_mut(self.memory.add(2 * HALF), piece.len()) };
            // SAFETY: the caller owns `address..address + len`.
            unsafe { driver::memcpy_dtoh_async(staged, from, stream.0) }.map_err(failed("download"))?;
            // SAFETY: the stream is alive.
            unsafe { driver::stream::synchronize(stream.0) }
                .map_err(failed("an earlier kernel or download"))?;
            piece.copy_from_slice(staged);
            from += piece.len() as u64;
        }
        Ok(())
    }
}

//! A caching allocator of device memory. `cuMemAlloc` and `cuMemFree` stall the GPU, so memory is
//! kept and handed out again; all work runs on one stream, so a block may be reused at once.
//!
//! Up to [`SMALL_MAX`] bytes: power-of-two blocks cut from slabs. Above: allocations of their own
//! in multiples of 2 MiB, reused for requests that waste at most an eighth.

use std::collections::BTreeMap;

use cudarc::driver::result as driver;

const SMALL_MIN: usize = 512;
const SMALL_MAX: usize = 512 << 10;
const GRANULE: usize = 2 << 20;
const CLASSES: usize = (SMALL_MAX / SMALL_MIN).trailing_zeros() as usize + 1;

/// A piece of device memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) address: u64,
    // Size that was reserved for it.
    pub(super) bytes: usize,
}

/// Bytes of device memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct MemoryStats {
    /// In tensors that are alive.
    pub in_use: usize,
    /// Largest `in_use` since the last reset.
    pub peak: usize,
    /// Taken from the driver, in use or kept for reuse.
    pub reserved: usize,
}

#[derive(Debug, Default)]
pub(super) struct Allocator {
    small: [Vec<u64>; CLASSES],
    large: BTreeMap<usize, Vec<u64>>,
    // Slab address to its class.
    slabs: BTreeMap<u64, usize>,
    pub(super) stats: MemoryStats,
}

/// Bytes that a request of `bytes` takes, if no larger block is at hand.
pub fn rounded(bytes: usize) -> usize {
    if bytes <= SMALL_MAX { SMALL_MIN << class_of(bytes) } else { bytes.next_multiple_of(GRANULE) }
}

// The class of a small request.
fn class_of(bytes: usize) -> usize {
    (bytes.max(SMALL_MIN).next_power_of_two() / SMALL_MIN).trailing_zeros() as usize
}

// Bytes of a slab of this class: at least eight blocks.
fn slab_bytes(class: usize) -> usize {
    GRANULE.max(8 * (SMALL_MIN << class))
}

impl Allocator {
    /// A block of at least `bytes`, or `None` if the driver has no more memory.
    ///
    /// The context must be current.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Block> {
        let block =
            if bytes <= SMALL_MAX { self.take_small(class_of(bytes)) } else { self.take_large(bytes) }?;
        self.stats.in_use += block.bytes;
        self.stats.peak = self.stats.peak.max(self.stats.in_use);
        Some(block)
    }

    fn take_small(&mut self, class: usize) -> Option<Block> {
        let bytes = SMALL_MIN << class;
        if self.small[class].is_empty() {
            let slab = self.reserve(slab_bytes(class))?;
            self.slabs.insert(slab, class);
            self.small[class].extend((0..slab_bytes(class) / bytes).rev().map(|i| slab + (i * bytes) as u64));
        }
        self.small[class].pop().map(|address| Block { address, bytes })
    }

    fn take_large(&mut self, bytes: usize) -> Option<Block> {
        let wanted = rounded(bytes);
        let fit = self.large.range_mut(wanted..=wanted + wanted / 8).find(|(_, free)| !free.is_empty());
        if let Some((&bytes, free)) = fit {
            return free.pop().map(|address| Block { address, bytes });
        }
        self.reserve(wanted).map(|address| Block { address, bytes: wanted })
    }

    fn reserve(&mut self, bytes: usize) -> Option<u64> {
        // SAFETY: the context is current (the caller's duty); the result is checked.
        let address = unsafe { driver::malloc_sync(bytes) }.ok()?;
        self.stats.reserved += bytes;
        Some(address)
    }

    /// Takes a block back.
    pub(super) fn give(&mut self, block: Block) {
        self.stats.in_use -= block.bytes;
        if block.bytes <= SMALL_MAX {
            self.small[class_of(block.bytes)].push(block.address);
        } else {
            self.large.entry(block.bytes).or_default().push(block.address);
        }
    }

    /// Returns everything unused to the driver. The context must be current and the stream idle.
    pub(super) fn trim(&mut self) {
        let mut released = Vec::new();
        for (bytes, free) in std::mem::take(&mut self.large) {
            released.extend(free.into_iter().map(|address| (address, bytes)));
        }
        for class in 0..CLASSES {
            let per_slab = slab_bytes(class) / (SMALL_MIN << class);
            let mut free: BTreeMap<u64, usize> = BTreeMap::new();
            for &address in &self.small[class] {
                if let Some((&slab, _)) = self.slabs.range(..=address).next_back() {
                    *free.entry(slab).or_default() += 1;
                }
            }
            free.retain(|_, count| *count == per_slab);
            let inside = |address: u64| {
                free.range(..=address)
                    .next_back()
                    .is_some_and(|(&slab, _)| address < slab + slab_bytes(class) as u64)
            };
            self.small[class].retain(|&address| !inside(address));
            for (slab, _) in free {
                self.slabs.remove(&slab);
                released.push((slab, slab_bytes(class)));
            }
        }
        for (address, bytes) in released {
            // SAFETY: the address came from `malloc_sync`, no block of it is handed out, and the
            // stream is idle (the caller's duty). A failure only leaks.
            if unsafe { driver::free_sync(address) }.is_ok() {
                self.stats.reserved -= bytes;
            }
        }
    }
}

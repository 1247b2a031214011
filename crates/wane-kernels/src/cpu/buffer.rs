//! 64-byte aligned host memory: pooled, mapped page by page, or borrowed from a mapped file.
//!
//! Returning large buffers to the kernel and faulting them in again costs 15-19 % of a forward
//! pass, so freed buffers of at least [`POOLED_BYTES`] are kept by size class and handed out
//! again, up to [`RETAINED_BYTES`] in all. Cache pages use [`CpuBuffer::unpooled`], whose memory
//! really goes back, so that an eviction is visible in the process's size.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers smaller than this are left to the system allocator.
const POOLED_BYTES: usize = 64 << 10;

/// The pool keeps at most this much unused memory.
const RETAINED_BYTES: usize = 1 << 30;

/// Blocks from this size on ask for huge pages: fewer faults and address translations.
const HUGE_BYTES: usize = 4 << 20;

const ALIGNMENT: usize = 64;

/// Bytes in the tensors of this process that are alive, and the most there were since the last reset.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Host memory of a tensor.
pub struct CpuBuffer {
    memory: Memory,
    bytes: usize,
}

enum Memory {
    Owned(Block),
    Mapped(memmap2::MmapMut),
    // Bytes `offset..offset + bytes` of somebody else's memory.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>, usize),
}

impl CpuBuffer {
    /// Memory of `bytes` bytes; its content is not meaningful (NaN bit patterns in tests).
    pub fn new(bytes: usize) -> Self {
        let block = take(bytes).unwrap_or_else(|| Block::allocate(size_class(bytes)));
        let before = IN_USE.fetch_add(block.bytes, Ordering::Relaxed);
        PEAK.fetch_max(before + block.bytes, Ordering::Relaxed);
        Self { memory: Memory::Owned(block), bytes }.filled_for_tests()
    }

    /// Like [`CpuBuffer::new`], but returned to the operating system as soon as it is dropped.
    pub fn unpooled(bytes: usize) -> Self {
        // Below a few operating system pages a mapping wastes more than it returns.
        if bytes >= 16 << 10
            && let Ok(map) = memmap2::MmapMut::map_anon(bytes)
        {
            return Self { memory: Memory::Mapped(map), bytes }.filled_for_tests();
        }
        Self::new(bytes)
    }

    /// Bytes `offset..offset + bytes` of `owner`, read-only. The start must be aligned to the
    /// element size that the tensor will have.
    ///
    /// # Panics
    /// The range is not within `owner`.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, offset: usize, bytes: usize) -> Self {
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= (*owner).as_ref().len()),
            "range of a shared buffer"
        );
        Self { memory: Memory::Shared(owner, offset), bytes }
    }

    /// What a buffer of `bytes` bytes takes: sizes that differ by little share blocks, at most 1/8 is wasted.
    pub fn size_class(bytes: usize) -> usize {
        size_class(bytes)
    }

    /// Most bytes that owned buffers of this process held at a time since [`CpuBuffer::reset_peak`], as rounded. What
    /// is mapped page by page or borrowed is not counted.
    pub fn peak() -> usize {
        PEAK.load(Ordering::Relaxed)
    }

    /// Starts a new measurement of the peak.
    pub fn reset_peak() {
        PEAK.store(IN_USE.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: the block holds at least `bytes` initialized bytes (zeroed when allocated).
            Memory::Owned(block) => unsafe { std::slice::from_raw_parts(block.start.as_ptr(), self.bytes) },
            Memory::Mapped(map) => &map[..self.bytes],
            Memory::Shared(owner, offset) => &(**owner).as_ref()[*offset..*offset + self.bytes],
        }
    }

    /// All bytes, writable.
    ///
    /// # Panics
    /// The memory is borrowed from a file.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: as in `bytes`; `&mut self` makes the access exclusive.
            Memory::Owned(block) => unsafe {
                std::slice::from_raw_parts_mut(block.start.as_ptr(), self.bytes)
            },
            Memory::Mapped(map) => &mut map[..self.bytes],
            Memory::Shared(..) => panic!("mapped weights are read-only"),
        }
    }

    fn filled_for_tests(mut self) -> Self {
        if cfg!(debug_assertions) {
            self.bytes_mut().fill(0xff);
        }
        self
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        let Memory::Owned(block) = &mut self.memory else { return };
        IN_USE.fetch_sub(block.bytes, Ordering::Relaxed);
        if block.bytes >= POOLED_BYTES {
            let block = std::mem::replace(block, Block::EMPTY);
            pool().retain(block);
        }
    }
}

impl fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} host bytes", self.bytes)
    }
}

/// Aligned, initialized memory.
struct Block {
    start: NonNull<u8>,
    bytes: usize,
    // Owner of the memory, if it does not come from the allocator.
    map: Option<memmap2::MmapMut>,
}

// SAFETY: a block owns its memory, like a `Vec<u8>`.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl Block {
    const EMPTY: Self = Self { start: NonNull::<Line>::dangling().cast(), bytes: 0, map: None };

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGNMENT).expect("a buffer below isize::MAX bytes")
    }

    fn allocate(bytes: usize) -> Self {
        if bytes == 0 {
            return Self::EMPTY;
        }
        if bytes >= HUGE_BYTES
            && let Some(block) = Self::map(bytes)
        {
            return block;
        }
        let layout = Self::layout(bytes);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), bytes, map: None }
    }

    /// Memory from the operating system, which aligns it to its pages.
    fn map(bytes: usize) -> Option<Self> {
        let mut map = memmap2::MmapMut::map_anon(bytes).ok()?;
        // Only a wish: kernels without huge pages refuse it.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Some(Self { start: NonNull::new(map.as_mut_ptr())?, bytes, map: Some(map) })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.bytes > 0 && self.map.is_none() {
            // SAFETY: without a map, allocated by `allocate` with this layout and dropped once.
            unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) }
        }
    }
}

#[repr(align(64))]
struct Line;

/// Freed blocks by size.
struct Pool {
    blocks: BTreeMap<usize, Vec<Block>>,
    bytes: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { blocks: BTreeMap::new(), bytes: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // The pool is consistent at every point where a panic could happen.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    fn retain(&mut self, block: Block) {
        if self.bytes + block.bytes <= RETAINED_BYTES {
            self.bytes += block.bytes;
            self.blocks.entry(block.bytes).or_default().push(block);
        }
    }
}

/// A retained block for `bytes`, if there is one.
fn take(bytes: usize) -> Option<Block> {
    let class = size_class(bytes);
    if class < POOLED_BYTES {
        return None;
    }
    let mut pool = pool();
    let block = pool.blocks.get_mut(&class)?.pop()?;
    pool.bytes -= class;
    Some(block)
}

fn size_class(bytes: usize) -> usize {
    let granule =
        if bytes < POOLED_BYTES { ALIGNMENT } else { (bytes.next_power_of_two() / 16).max(ALIGNMENT) };
    bytes.next_multiple_of(granule)
}

#[cfg(test)]
mod tests;

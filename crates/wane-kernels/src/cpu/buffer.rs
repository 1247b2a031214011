//! 64-byte aligned host memory: owned, or borrowed from a mapped file.

use std::fmt;
use std::sync::Arc;

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Host memory of a tensor.
pub struct CpuBuffer {
    memory: Memory,
    bytes: usize,
}

enum Memory {
    Owned(Vec<Line>),
    // Bytes `offset..offset + bytes` of somebody else's memory.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>, usize),
}

impl CpuBuffer {
    /// Memory of `bytes` bytes; its content is not meaningful (NaN bit patterns in tests).
    pub fn new(bytes: usize) -> Self {
        let fill = if cfg!(debug_assertions) { 0xff } else { 0 };
        Self { memory: Memory::Owned(vec![Line([fill; 64]); bytes.div_ceil(64)]), bytes }
    }

    /// Bytes `offset..offset + bytes` of `owner`, read-only. The start must be aligned to the
    /// element size that the tensor will have.
    pub fn shared(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= (*owner).as_ref().len(), "range of a shared buffer");
        Self { memory: Memory::Shared(owner, offset), bytes }
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.memory {
            // SAFETY: `Line` is 64 plain bytes without padding and the vector holds at least `bytes`.
            Memory::Owned(lines) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), self.bytes) },
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
            Memory::Owned(lines) => unsafe {
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), self.bytes)
            },
            Memory::Shared(..) => panic!("mapped weights are read-only"),
        }
    }
}

impl fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} host bytes", self.bytes)
    }
}

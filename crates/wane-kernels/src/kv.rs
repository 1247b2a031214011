//! What attention reads during generation: pages of keys and values, and selections over them.
//!
//! A *lane* is one (sequence, KV head) pair; lanes are ordered sequence-major:
//! `lane = sequence * kv_heads + head`. Each lane owns a list of pages and a length of its own,
//! so evicting per head frees whole pages. The cache (crate `wane-attention`) owns the pages and
//! hands operators a [`KvView`]: a table of page addresses that lives on the device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{DType, Device, Result, Tensor};

/// Rows of a page. Independent of any method's block size.
pub const PAGE_LEN: usize = 64;

/// Counts the pages that are alive, in bytes, and their peak.
#[derive(Debug)]
pub struct PagePool {
    device: Device,
    dtype: DType,
    head_dim: usize,
    bytes: AtomicUsize,
    peak: AtomicUsize,
}

impl PagePool {
    /// Pages of [`PAGE_LEN`] rows of `head_dim` elements for K and as many for V.
    pub fn new(device: &Device, dtype: DType, head_dim: usize) -> Arc<Self> {
        Arc::new(Self {
            device: device.clone(),
            dtype,
            head_dim,
            bytes: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
        })
    }

    /// A fresh page.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn allocate(self: &Arc<Self>) -> Result<Arc<Page>> {
        let memory = Tensor::uninit_unpooled(&[2, PAGE_LEN, self.head_dim], self.dtype, &self.device)?;
        let now = self.bytes.fetch_add(self.page_bytes(), Ordering::Relaxed) + self.page_bytes();
        self.peak.fetch_max(now, Ordering::Relaxed);
        Ok(Arc::new(Page { memory, pool: self.clone() }))
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> usize {
        2 * PAGE_LEN * self.head_dim * self.dtype.size()
    }

    /// Bytes of all pages alive.
    pub fn bytes_in_use(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Largest value of [`Self::bytes_in_use`] since the last reset.
    pub fn peak_bytes(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Starts a new peak measurement.
    pub fn reset_peak(&self) {
        self.peak.store(self.bytes_in_use(), Ordering::Relaxed);
    }

    /// Where the pages are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Element type of the pages.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements per row.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }
}

/// [2, PAGE_LEN, head_dim]: key rows, then value rows. Freed when the last owner drops it.
///
/// Operators write pages through their address; the cache guarantees that a page that is
/// written has one owner.
#[derive(Debug)]
pub struct Page {
    memory: Tensor,
    pool: Arc<PagePool>,
}

impl Page {
    /// Address of the first key row, on the page's device.
    pub fn address(&self) -> u64 {
        self.memory.cuda_address().unwrap_or_else(|| match self.memory.dtype() {
            DType::BF16 => self.memory.bf16s().as_ptr() as u64,
            _ => self.memory.f32s().as_ptr() as u64,
        })
    }

    /// A copy with one owner.
    ///
    /// # Errors
    /// The device is out of memory.
    pub fn duplicate(&self) -> Result<Arc<Self>> {
        let mut copy = self.pool.allocate()?;
        if let Some(page) = Arc::get_mut(&mut copy) {
            page.memory.copy_from(&self.memory)?;
        }
        Ok(copy)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pool.bytes.fetch_sub(self.pool.page_bytes(), Ordering::Relaxed);
    }
}

/// Cached keys and values of a batch of sequences in one layer, as operators see them.
#[derive(Debug, Clone, Copy)]
pub struct KvView<'a> {
    /// I32 [lanes, max_pages, 2]: 64-bit page addresses (low word first); unused entries 0.
    pub table: &'a Tensor,
    /// I32 [lanes]: valid rows of each lane.
    pub lens: &'a Tensor,
    /// The largest of `lens` (or an upper bound), known on the host.
    pub max_len: usize,
    /// KV heads of each sequence.
    pub kv_heads: usize,
    /// Elements per row.
    pub head_dim: usize,
    /// Element type of the pages.
    pub dtype: DType,
}

impl KvView<'_> {
    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.table.dim(0)
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.lanes() / self.kv_heads
    }
}

/// Which blocks (or rows) each row of a computation may read: ascending, unique indices.
///
/// Who the rows are is stated by each operator: (sequence, head) in decoding, (head, query) in
/// a prefill, (lane) in an eviction.
#[derive(Debug, Clone)]
pub struct Selection {
    /// I32 [rows, width]: ascending, padded with -1.
    pub indices: Tensor,
    /// I32 [rows]: valid entries of each row.
    pub counts: Tensor,
}

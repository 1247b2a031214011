//! What attention reads during generation: pages of keys and values, and selections over them.
//!
//! A *lane* is one (sequence, KV head) pair; lanes are ordered sequence-major:
//! `lane = sequence * kv_heads + head`. Each lane owns a list of pages and a length of its own,
//! so evicting per head frees whole pages. The cache (crate `wane-attention`) owns the pages and
//! hands operators a [`KvView`]: a table of page addresses that lives on the device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;

use crate::{DType, Device, Error, Result, Tensor};

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
    /// I32 \[lanes]: valid rows of each lane.
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

    /// Rows that the table has room for, in every lane.
    pub fn capacity(&self) -> usize {
        self.table.dim(1) * PAGE_LEN
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, op: &'static str) -> Result<()> {
        let fits = matches!(self.table.shape(), [_, _, 2])
            && self.table.dtype() == DType::I32
            && self.lens.dtype() == DType::I32
            && self.lens.len() == self.table.dim(0)
            && self.kv_heads > 0
            && self.lanes().is_multiple_of(self.kv_heads)
            && self.head_dim > 0
            && self.max_len <= self.capacity()
            && self.dtype != DType::I32;
        if fits {
            return Ok(());
        }
        Err(Error::shape(
            op,
            "a table [lanes, pages, 2] and lens [lanes] in i32, lanes a multiple of kv_heads, max_len within the pages",
            format!(
                "table {:?}, lens {:?}, {} kv heads, max_len {}",
                self.table, self.lens, self.kv_heads, self.max_len
            ),
        ))
    }
}

/// Element type of keys and values on the host.
pub(crate) trait Element: bytemuck::Pod + Send + Sync {
    const DTYPE: DType;
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
    /// All elements of a CPU tensor.
    fn slice(tensor: &Tensor) -> &[Self];
    /// All elements of a CPU tensor whose storage is not shared.
    fn slice_mut(tensor: &mut Tensor) -> &mut [Self];
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn slice(tensor: &Tensor) -> &[Self] {
        tensor.f32s()
    }
    fn slice_mut(tensor: &mut Tensor) -> &mut [Self] {
        tensor.f32s_mut()
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::BF16;
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn slice(tensor: &Tensor) -> &[Self] {
        tensor.bf16s()
    }
    fn slice_mut(tensor: &mut Tensor) -> &mut [Self] {
        tensor.bf16s_mut()
    }
}

/// Runs `$body` with `$T` = the element type that `$dtype` names.
macro_rules! with_element {
    ($dtype:expr, $op:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::DType::I32 => Err($crate::Error::unsupported($op, "integer tensors")),
        }
    };
}
pub(crate) use with_element;

/// A [`KvView`] on the host: slices of its pages.
///
/// Trusts the table, as kernels on a GPU must: whoever builds a [`KvView`] guarantees that its
/// nonzero addresses are pages of the stated dtype and width that outlive the view.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostKv<'a> {
    table: &'a [i32],
    lens: &'a [i32],
    pages: usize,
    head_dim: usize,
    dtype: DType,
}

impl<'a> HostKv<'a> {
    pub(crate) fn new(view: KvView<'a>) -> Self {
        Self {
            table: view.table.i32s(),
            lens: view.lens.i32s(),
            pages: view.table.dim(1),
            head_dim: view.head_dim,
            dtype: view.dtype,
        }
    }

    /// Valid rows of `lane`.
    pub(crate) fn len(&self, lane: usize) -> usize {
        usize::try_from(self.lens[lane]).unwrap_or(0)
    }

    /// Fails unless the first `rows` rows of `lane` have pages.
    pub(crate) fn check_rows(&self, op: &'static str, lane: usize, rows: usize) -> Result<()> {
        let needed = rows.div_ceil(PAGE_LEN);
        if needed <= self.pages && (0..needed).all(|page| self.address(lane, page) != 0) {
            return Ok(());
        }
        Err(Error::shape(op, format!("pages for {rows} rows of lane {lane}"), "a table without them"))
    }

    fn address(&self, lane: usize, page: usize) -> u64 {
        let entry = &self.table[2 * (lane * self.pages + page)..][..2];
        u64::from(entry[0] as u32) | (u64::from(entry[1] as u32) << 32)
    }

    fn page<T: Element>(&self, lane: usize, row: usize, rows: usize) -> (*mut T, usize) {
        assert_eq!(self.dtype, T::DTYPE, "element type of the pages");
        let (page, offset) = (row / PAGE_LEN, row % PAGE_LEN);
        assert!(page < self.pages && offset + rows <= PAGE_LEN, "rows {row}+{rows} of a page");
        let address = self.address(lane, page);
        assert_ne!(address, 0, "page {page} of lane {lane} is missing");
        (address as *mut T, offset * self.head_dim)
    }

    /// Keys and values of the rows `row..row + rows`, which must lie in one page.
    pub(crate) fn rows<T: Element>(&self, lane: usize, row: usize, rows: usize) -> (&'a [T], &'a [T]) {
        let (page, offset) = self.page::<T>(lane, row, rows);
        let len = rows * self.head_dim;
        // SAFETY: the table's entries are live pages [2, PAGE_LEN, head_dim] of T (see the type's
        // documentation), and `page` has checked that the rows are inside one.
        unsafe {
            (
                std::slice::from_raw_parts(page.add(offset), len),
                std::slice::from_raw_parts(page.add(PAGE_LEN * self.head_dim + offset), len),
            )
        }
    }

    /// Writable [`Self::rows`].
    ///
    /// # Safety
    /// Nobody else may read or write these rows meanwhile.
    pub(crate) unsafe fn rows_mut<T: Element>(
        &self,
        lane: usize,
        row: usize,
        rows: usize,
    ) -> (&'a mut [T], &'a mut [T]) {
        let (page, offset) = self.page::<T>(lane, row, rows);
        let len = rows * self.head_dim;
        // SAFETY: as in `rows`; exclusive by this function's contract.
        unsafe {
            (
                std::slice::from_raw_parts_mut(page.add(offset), len),
                std::slice::from_raw_parts_mut(page.add(PAGE_LEN * self.head_dim + offset), len),
            )
        }
    }
}

/// Splits the rows `start..end` at page boundaries: (first row, rows).
pub(crate) fn page_runs(start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut row = start;
    std::iter::from_fn(move || {
        let rows = (PAGE_LEN - row % PAGE_LEN).min(end.saturating_sub(row));
        let run = (row, rows);
        row += rows;
        (rows > 0).then_some(run)
    })
}

/// Which blocks (or rows) each row of a computation may read: ascending, unique indices.
///
/// Who the rows are is stated by each operator: (sequence, head) in decoding, (head, query) in
/// a prefill, (lane) in an eviction.
#[derive(Debug, Clone)]
pub struct Selection {
    /// I32 [rows, width]: ascending, padded with -1.
    pub indices: Tensor,
    /// I32 \[rows]: valid entries of each row.
    pub counts: Tensor,
}

impl Selection {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.counts.len()
    }

    /// Checks that the parts fit each other.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self, op: &'static str) -> Result<()> {
        let fits = matches!(self.indices.shape(), [rows, _] if *rows == self.counts.len())
            && self.indices.dtype() == DType::I32
            && self.counts.dtype() == DType::I32;
        if fits {
            return Ok(());
        }
        Err(Error::shape(
            op,
            "a selection with i32 indices [rows, width] and counts [rows]",
            format!("{:?} and {:?}", self.indices, self.counts),
        ))
    }

    /// The valid entries of `row`, on the host.
    ///
    /// # Panics
    /// The selection is not on the CPU.
    pub fn row(&self, row: usize) -> &[i32] {
        let count = usize::try_from(self.counts.i32s()[row]).unwrap_or(0);
        &self.indices.i32s()[row * self.indices.width()..][..count]
    }
}

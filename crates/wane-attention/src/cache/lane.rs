//! The pages of one (sequence, layer, KV head), shared between forks until one of them writes. A build of a
//! batch goes through the addresses of all of them, and a fork through the lists: neither touches the pages.

use std::sync::Arc;

use wane_kernels::kv::PAGE_LEN;
use wane_kernels::ops::paged_kv;
use wane_kernels::{Device, KvView, Page, PagePool, Tensor};

use super::ring::Rows;
use super::words::{Part, Words};
use crate::Result;

#[derive(Debug, Clone, Default)]
pub(crate) struct Lane {
    // Pages that are full: forks share the list, and only a ring writes there.
    sealed: Arc<Pages>,
    // Those behind them.
    own: Pages,
    pub(crate) rows: Rows,
}

/// Pages in order, and their addresses.
#[derive(Debug, Clone, Default)]
struct Pages {
    pages: Vec<Arc<Page>>,
    addresses: Vec<u64>,
}

impl Pages {
    fn push(&mut self, page: Arc<Page>) {
        self.addresses.push(page.address());
        self.pages.push(page);
    }

    fn replace(&mut self, place: usize, page: Arc<Page>) {
        self.addresses[place] = page.address();
        self.pages[place] = page;
    }

    fn append(&mut self, mut other: Self) {
        self.pages.append(&mut other.pages);
        self.addresses.append(&mut other.addresses);
    }

    fn split_off(&mut self, place: usize) -> Self {
        Self { pages: self.pages.split_off(place), addresses: self.addresses.split_off(place) }
    }
}

impl Lane {
    /// An empty lane whose rows will be these.
    pub(crate) fn with_rows(rows: Rows) -> Self {
        Self { rows, ..Self::default() }
    }

    /// Number of pages.
    pub(crate) fn num_pages(&self) -> usize {
        self.sealed.pages.len() + self.own.pages.len()
    }

    /// Makes room for `len` rows.
    pub(crate) fn extend(&mut self, pool: &Arc<PagePool>, len: usize) -> Result<()> {
        while self.num_pages() * PAGE_LEN < len {
            self.own.push(pool.allocate()?);
        }
        Ok(())
    }

    /// Makes room for `len` rows, of which those from `first_written` on will be written once the
    /// `copies` of pages that somebody else reads are made.
    pub(crate) fn reserve(
        &mut self,
        pool: &Arc<PagePool>,
        first_written: usize,
        len: usize,
        copies: &mut PageCopies,
    ) -> Result<()> {
        let first = first_written / PAGE_LEN;
        if first < self.sealed.pages.len() {
            self.unseal();
        }
        let sealed = self.sealed.pages.len();
        let end = len.div_ceil(PAGE_LEN).min(self.num_pages());
        for place in first.saturating_sub(sealed)..end.saturating_sub(sealed) {
            if Arc::strong_count(&self.own.pages[place]) > 1 {
                let copy = pool.allocate()?;
                copies.addresses.extend([self.own.addresses[place], copy.address()]);
                self.own.replace(place, copy);
            }
        }
        self.extend(pool, len)
    }

    /// Puts the pages that are full into one list, which a fork takes as a whole.
    pub(crate) fn seal(&mut self) {
        let full = self.rows.len / PAGE_LEN;
        if self.rows.ring.is_some() || full <= self.sealed.pages.len() {
            return;
        }
        self.unseal();
        let rest = self.own.split_off(full);
        self.sealed = Arc::new(std::mem::replace(&mut self.own, rest));
    }

    fn unseal(&mut self) {
        let mut all = Arc::unwrap_or_clone(std::mem::take(&mut self.sealed));
        all.append(std::mem::take(&mut self.own));
        self.own = all;
    }
}

/// Pages to be copied: address of the page and of its copy, in turn. The page stays with whoever else reads it.
#[derive(Debug, Default)]
pub(crate) struct PageCopies {
    addresses: Vec<u64>,
}

impl PageCopies {
    /// I32 [copies, 2, 2]: what [`paged_kv::copy_pages`] takes.
    pub(crate) fn part(&self, words: &mut Words) -> Part {
        words.push(&[self.addresses.len() / 2, 2, 2], self.addresses.iter().copied().flat_map(halves))
    }
}

/// Low word first.
fn halves(address: u64) -> [i32; 2] {
    [address as u32 as i32, (address >> 32) as u32 as i32]
}

/// Addresses of the pages of some lanes, on the device.
#[derive(Debug)]
pub(crate) struct PageTable {
    // I32 [lanes, max_pages, 2]
    table: Tensor,
    kv_heads: usize,
    pool: Arc<PagePool>,
}

impl PageTable {
    /// The addresses of the pages of `lanes`, sequence-major: once they are on the device, [`Self::at`] takes them.
    pub(crate) fn part<'a>(lanes: impl IntoIterator<Item = &'a Lane>, words: &mut Words) -> Part {
        let lanes: Vec<&Lane> = lanes.into_iter().collect();
        let max_pages = lanes.iter().map(|lane| lane.num_pages()).max().unwrap_or(0).max(1);
        let of = |lane: &&'a Lane| {
            let rest = std::iter::repeat_n(0, max_pages - lane.num_pages());
            lane.sealed.addresses.iter().chain(&lane.own.addresses).copied().chain(rest)
        };
        words.push(&[lanes.len(), max_pages, 2], lanes.iter().flat_map(of).flat_map(halves))
    }

    /// Of addresses on the device, I32 [lanes, max_pages, 2], `kv_heads` lanes to a sequence.
    pub(crate) fn at(table: Tensor, kv_heads: usize, pool: &Arc<PagePool>) -> Self {
        Self { table, kv_heads, pool: pool.clone() }
    }

    /// Of the lanes of one sequence, and I32 [lanes] of equal counts, with one copy to the device; makes `copies`.
    pub(crate) fn with_counts(
        lanes: &[Lane],
        count: usize,
        copies: &PageCopies,
        pool: &Arc<PagePool>,
    ) -> Result<(Self, Tensor)> {
        let mut words = Words::default();
        let (table, counts) = (Self::part(lanes, &mut words), words.push_equal(count, lanes.len()));
        let copies = copies.part(&mut words);
        let uploaded = words.upload(pool.device())?;
        paged_kv::copy_pages(&uploaded.part(&copies)?, pool)?;
        Ok((Self::at(uploaded.part(&table)?, lanes.len(), pool), uploaded.part(&counts)?))
    }

    /// What operators take; `lens` I32 [lanes], none above `max_len`.
    pub(crate) fn view<'a>(&'a self, lens: &'a Tensor, max_len: usize) -> KvView<'a> {
        KvView {
            table: &self.table,
            lens,
            max_len,
            kv_heads: self.kv_heads,
            head_dim: self.pool.head_dim(),
            dtype: self.pool.dtype(),
        }
    }
}

/// I32 [lanes] with these values.
pub(crate) fn lane_tensor(values: impl IntoIterator<Item = usize>, device: &Device) -> Result<Tensor> {
    let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
    Ok(Tensor::from_i32(&values, &[values.len()], device)?)
}

//! The pages of one (sequence, layer, KV head), shared between forks until one of them writes.

use std::sync::Arc;

use wane_kernels::kv::PAGE_LEN;
use wane_kernels::{Device, KvView, Page, PagePool, Tensor};

use super::ring::Rows;
use super::words::{Part, Words};
use crate::Result;

#[derive(Debug, Clone, Default)]
pub(crate) struct Lane {
    pub(crate) pages: Vec<Arc<Page>>,
    pub(crate) rows: Rows,
}

impl Lane {
    /// Makes room for `len` rows, of which those from `first_written` on will be written: pages
    /// that somebody else reads are copied first.
    pub(crate) fn reserve(&mut self, pool: &Arc<PagePool>, first_written: usize, len: usize) -> Result<()> {
        for page in self.pages.iter_mut().take(len.div_ceil(PAGE_LEN)).skip(first_written / PAGE_LEN) {
            if Arc::strong_count(page) > 1 {
                *page = page.duplicate()?;
            }
        }
        while self.pages.len() * PAGE_LEN < len {
            self.pages.push(pool.allocate()?);
        }
        Ok(())
    }
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
        let max_pages = lanes.iter().map(|lane| lane.pages.len()).max().unwrap_or(0).max(1);
        let mut addresses = Vec::with_capacity(lanes.len() * max_pages * 2);
        for lane in &lanes {
            for page in 0..max_pages {
                let address = lane.pages.get(page).map_or(0, |page| page.address());
                addresses.extend([address as u32 as i32, (address >> 32) as u32 as i32]);
            }
        }
        words.push(&[lanes.len(), max_pages, 2], addresses)
    }

    /// Of addresses on the device, I32 [lanes, max_pages, 2], `kv_heads` lanes to a sequence.
    pub(crate) fn at(table: Tensor, kv_heads: usize, pool: &Arc<PagePool>) -> Self {
        Self { table, kv_heads, pool: pool.clone() }
    }

    /// Of the lanes of one sequence, and I32 [lanes] of equal counts, with one copy to the device.
    pub(crate) fn with_counts(lanes: &[Lane], count: usize, pool: &Arc<PagePool>) -> Result<(Self, Tensor)> {
        let mut words = Words::default();
        let (table, counts) = (Self::part(lanes, &mut words), words.push_equal(count, lanes.len()));
        let uploaded = words.upload(pool.device())?;
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

//! A filled page table for tests: lanes of unequal lengths, NaN in every row beyond a lane's length.

use std::sync::Arc;

use half::bf16;

use super::{activations, noise};
use crate::kv::PAGE_LEN;
use crate::ops::paged_kv;
use crate::{DType, Device, KvView, Page, PagePool, Tensor};

/// Pages, their table, and what they hold.
#[derive(Debug)]
pub struct PagedKv {
    table: Tensor,
    lens: Tensor,
    kv_heads: usize,
    head_dim: usize,
    dtype: DType,
    /// Keys of each lane [len, head_dim], as stored.
    pub keys: Vec<Vec<f32>>,
    /// Values of each lane [len, head_dim], as stored.
    pub values: Vec<Vec<f32>>,
    // Keeps the pages alive.
    _pages: Vec<Arc<Page>>,
}

impl PagedKv {
    /// Empty pages for `rows` rows in each of `lanes` lanes.
    pub fn empty(
        device: &Device,
        dtype: DType,
        [lanes, kv_heads, head_dim]: [usize; 3],
        rows: usize,
    ) -> Self {
        let pool = PagePool::new(device, dtype, head_dim);
        let pages_per_lane = rows.div_ceil(PAGE_LEN);
        let pages: Vec<_> = (0..lanes * pages_per_lane).map(|_| pool.allocate().expect("a page")).collect();
        let table: Vec<i32> =
            pages.iter().flat_map(|page| [page.address() as i32, (page.address() >> 32) as i32]).collect();
        Self {
            table: Tensor::from_i32(&table, &[lanes, pages_per_lane, 2], device).expect("a table"),
            lens: Tensor::from_i32(&vec![0; lanes], &[lanes], device).expect("lens"),
            kv_heads,
            head_dim,
            dtype,
            keys: vec![Vec::new(); lanes],
            values: vec![Vec::new(); lanes],
            _pages: pages,
        }
    }

    /// Lanes of the given lengths filled with noise.
    pub fn noise(device: &Device, dtype: DType, kv_heads: usize, head_dim: usize, lens: &[usize]) -> Self {
        let rows = lens.iter().copied().max().unwrap_or(0);
        let mut paged = Self::empty(device, dtype, [lens.len(), kv_heads, head_dim], rows);
        let sequences = lens.len() / kv_heads;
        let (shape, width) = ([sequences * rows, kv_heads * head_dim], kv_heads * head_dim);
        let mut sides = Vec::new();
        for seed in [71, 72] {
            let mut side = noise(shape[0] * shape[1], seed);
            for (i, x) in side.iter_mut().enumerate() {
                let (token, head) = (i / width, i % width / head_dim);
                if token % rows >= lens[token / rows * kv_heads + head] {
                    *x = f32::NAN;
                }
            }
            sides.push(activations(&side, &shape, device));
        }
        let start = Tensor::from_i32(&vec![0; lens.len()], &[lens.len()], device).expect("start");
        paged_kv::append(paged.view(), &sides[0], &sides[1], &start).expect("append");
        let values = sides.pop().expect("values").to_f32_vec().expect("values");
        let keys = sides.pop().expect("keys").to_f32_vec().expect("keys");
        for (lane, &len) in lens.iter().enumerate() {
            let (sequence, head) = (lane / kv_heads, lane % kv_heads);
            let stored = |side: &[f32]| -> Vec<f32> {
                (0..len * head_dim)
                    .map(|i| {
                        let row = sequence * rows + i / head_dim;
                        stored(side[row * width + head * head_dim + i % head_dim], dtype)
                    })
                    .collect()
            };
            paged.keys[lane] = stored(&keys);
            paged.values[lane] = stored(&values);
        }
        paged.set_lens(lens);
        paged
    }

    /// Changes the lanes' lengths.
    pub fn set_lens(&mut self, lens: &[usize]) {
        let lens: Vec<i32> = lens.iter().map(|&len| len as i32).collect();
        self.lens = Tensor::from_i32(&lens, &[lens.len()], self.table.device()).expect("lens");
    }

    /// What operators see.
    pub fn view(&self) -> KvView<'_> {
        KvView {
            table: &self.table,
            lens: &self.lens,
            max_len: self.lens.to_i32_vec().expect("lens").into_iter().max().unwrap_or(0) as usize,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            dtype: self.dtype,
        }
    }
}

/// `value` after a round trip through `dtype`.
fn stored(value: f32, dtype: DType) -> f32 {
    match dtype {
        DType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

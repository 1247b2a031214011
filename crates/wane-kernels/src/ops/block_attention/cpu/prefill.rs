//! Prefill over selected blocks: per (head, range of queries), each block meets the queries that
//! chose it, gathered into strips; every query keeps a running softmax between its blocks.

use rayon::prelude::*;

use crate::Selection;
use crate::cpu::Isa;
use crate::kv::Element;
use crate::ops::attention::AttentionDims;
use crate::ops::attention::cpu::forward::{PackedSource, Scratch, pack_source, score_factor};
use crate::ops::attention::cpu::lanes::{Kernel, Lanes, launch};
use crate::ops::attention::cpu::pack::{HeadRows, TILE, padded};
use crate::ops::attention::cpu::shared::Shared;
use crate::ops::attention::cpu::softmax::{KvTile, STRIP, Strip, Strips};
use crate::ops::attention::cpu::source::Source;
use crate::{DType, Result, Tensor};

/// Elements of the queries of a task: with the outputs about a megabyte, to stay in the L2 cache.
const TASK_ELEMENTS: usize = 128 << 10;

pub(super) fn prefill<T: Element>(
    isa: Isa,
    q: &Tensor,
    [k, v]: [&[T]; 2],
    selection: &Selection,
    block: usize,
    dims: AttentionDims,
) -> Result<Tensor> {
    let AttentionDims { queries, keys, heads, head_dim, .. } = dims;
    let mut output = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    if output.is_empty() {
        return Ok(output);
    }
    let packed = pack_source(Source::Window { keys, window: keys }, [k, v], dims);
    let (q, width) = (q.f32s(), padded(head_dim));
    let task_rows = (TASK_ELEMENTS / width).min(queries);
    let tasks: Vec<_> = (0..queries.div_ceil(task_rows))
        .rev()
        .flat_map(|range| (0..heads).map(move |head| (head, range * task_rows)))
        .collect();
    let outputs = Shared::new(output.f32s_mut());
    tasks.par_iter().with_max_len(1).for_each_init(
        || (Scratch::new(task_rows, width), Choosers::default()),
        |(scratch, choosers), &(head, first)| {
            let rows = task_rows.min(queries - first);
            let query = HeadRows::new(q, [heads, head_dim], first, head);
            scratch.fill(rows, score_factor(dims), |i| query.row(i));
            let blocks = keys.div_ceil(block);
            choosers.collect(blocks, rows, |i| selection.row(head * queries + first + i));
            let task = Blocks {
                packed: &packed,
                lane: head / dims.group(),
                choosers,
                block,
                position: dims.position(first),
                head_dim,
                scratch,
            };
            // SAFETY: `isa` is one this processor has; the scratch memory is this task's.
            unsafe { launch(isa, task) };
            for i in 0..rows {
                // SAFETY: every task has its own head and queries.
                scratch
                    .finish(i, unsafe { outputs.range(((first + i) * heads + head) * head_dim, head_dim) });
            }
        },
    );
    Ok(output)
}

/// For each block the queries that chose it, ascending.
#[derive(Debug, Default)]
struct Choosers {
    /// Where each block's queries start in `queries`; one more entry than blocks.
    starts: Vec<usize>,
    queries: Vec<u32>,
}

impl Choosers {
    /// Inverts the lists of blocks `chosen(query)` of `rows` queries.
    fn collect<'a>(&mut self, blocks: usize, rows: usize, chosen: impl Fn(usize) -> &'a [i32]) {
        let valid = |b: i32| usize::try_from(b).ok().filter(|b| *b < blocks);
        self.starts.clear();
        self.starts.resize(blocks + 2, 0);
        for i in 0..rows {
            chosen(i).iter().filter_map(|&b| valid(b)).for_each(|b| self.starts[b + 2] += 1);
        }
        for b in 2..self.starts.len() {
            self.starts[b] += self.starts[b - 1];
        }
        self.queries.clear();
        self.queries.resize(self.starts[blocks + 1], 0);
        for i in 0..rows {
            for b in chosen(i).iter().filter_map(|&b| valid(b)) {
                // Entry `b + 1` runs from the block's start to its end, the next block's start.
                self.queries[self.starts[b + 1]] = i as u32;
                self.starts[b + 1] += 1;
            }
        }
    }

    fn of(&self, block: usize) -> &[u32] {
        &self.queries[self.starts[block]..self.starts[block + 1]]
    }
}

/// One head's queries against all blocks.
struct Blocks<'a> {
    packed: &'a PackedSource,
    lane: usize,
    choosers: &'a Choosers,
    block: usize,
    /// Position of the first query.
    position: usize,
    head_dim: usize,
    scratch: &'a mut Scratch,
}

impl Kernel for Blocks<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { packed, lane, choosers, block, position, head_dim, scratch } = self;
        let mut strips = Strips::new(scratch.rows());
        let keys = packed.source.len();
        for b in 0..keys.div_ceil(block) {
            let (start, end) = (b * block, ((b + 1) * block).min(keys));
            let queries = choosers.of(b);
            if queries.is_empty() {
                continue;
            }
            for tile in start / TILE..end.div_ceil(TILE) {
                let first = tile * TILE;
                let kv = KvTile {
                    keys: packed.keys.tile(lane, tile),
                    values: packed.values.tile(lane, tile),
                    head_dim,
                    width: padded(head_dim),
                };
                let from = start.saturating_sub(first);
                for strip in queries.chunks(STRIP) {
                    let query = |r: usize| strip[r.min(strip.len() - 1)] as usize;
                    let to = |r: usize| end.min(position + query(r) + 1).saturating_sub(first).min(TILE);
                    let strip = Strip {
                        index: std::array::from_fn(query),
                        from: [from; STRIP],
                        to: std::array::from_fn(to),
                        len: strip.len(),
                    };
                    // SAFETY: the strip's rows are among the scratch rows, which this kernel owns.
                    unsafe { strips.attend::<L>(strip, kv) };
                }
            }
        }
        // SAFETY: as above.
        unsafe { strips.finish::<L>() };
    }
}

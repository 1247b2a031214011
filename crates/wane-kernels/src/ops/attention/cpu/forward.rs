//! Flash-style forward pass: one task per (sequence, head, tile of queries), which runs over the
//! tiles of keys that its queries see and keeps an online softmax (arXiv 2205.14135).

use rayon::prelude::*;

use super::floats::Floats;
use super::lanes::{Kernel, Lanes, launch};
use super::pack::{HeadRows, Layout, Packed, TILE, pack_row, padded};
use super::shared::Shared;
use super::softmax::{KvTile, QueryRows, QueryState, STRIP, Strip, Strips};
use super::source::Source;
use crate::cpu::Isa;
use crate::kv::Element;
use crate::ops::attention::{Attended, AttentionDims};
use crate::{DType, Result, Tensor};

/// Queries of a task.
const QUERY_TILE: usize = 192;

/// One source's keys and values, for every (sequence, KV head).
pub(crate) struct PackedSource {
    pub(crate) source: Source,
    pub(crate) keys: Packed,
    pub(crate) values: Packed,
}

/// A task's queries, outputs and running sums.
pub(crate) struct Scratch {
    width: usize,
    queries: Floats,
    outputs: Floats,
    states: Vec<QueryState>,
}

impl Scratch {
    pub(crate) fn new(rows: usize, width: usize) -> Self {
        Self {
            width,
            queries: Floats::new(rows * width),
            outputs: Floats::new((rows + 1) * width),
            states: vec![QueryState::EMPTY; rows],
        }
    }

    /// Starts over with the queries that `query` yields, times `factor`.
    pub(crate) fn fill<'a>(&mut self, rows: usize, factor: f32, query: impl Fn(usize) -> &'a [f32]) {
        for (i, to) in self.queries.chunks_exact_mut(self.width).take(rows).enumerate() {
            pack_row(query(i), factor, to);
        }
        self.outputs[..rows * self.width].fill(0.0);
        self.states[..rows].fill(QueryState::EMPTY);
    }

    pub(crate) fn rows(&mut self) -> QueryRows {
        let outputs = self.outputs.as_mut_ptr();
        QueryRows {
            queries: self.queries.as_ptr(),
            outputs,
            bin: outputs.wrapping_add(self.states.len() * self.width),
            states: self.states.as_mut_ptr(),
        }
    }

    /// Writes the finished output of row `i`, zeros if it read no key, and returns its log-sum-exp.
    pub(crate) fn finish(&self, i: usize, to: &mut [f32]) -> f32 {
        let sum = self.states[i].sum;
        let scale = if sum == 0.0 { 0.0 } else { 1.0 / sum };
        let from = &self.outputs[i * self.width..];
        to.iter_mut().zip(from).for_each(|(to, x)| *to = x * scale);
        self.states[i].lse()
    }
}

/// The factor that scores get with the queries: they are kept in base 2.
pub(crate) fn score_factor(dims: AttentionDims) -> f32 {
    dims.scale * std::f32::consts::LOG2_E
}

pub(crate) fn attention<T: Element>(
    isa: Isa,
    q: &Tensor,
    [k, v]: [&[T]; 2],
    dims: AttentionDims,
) -> Result<Attended> {
    let AttentionDims { batch, queries, heads, head_dim, .. } = dims;
    let mut output = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    let mut lse = Tensor::uninit(&[batch, heads, queries], DType::F32, q.device())?;
    if output.is_empty() {
        return Ok(Attended { output, lse });
    }
    let sources: Vec<_> = Source::of(dims.pattern, dims.keys)
        .into_iter()
        .map(|source| pack_source(source, [k, v], dims))
        .collect();

    let q = q.f32s();
    let tile_rows = QUERY_TILE.min(queries.next_multiple_of(STRIP));
    let tiles = queries.div_ceil(tile_rows);
    // The last queries see the most keys: they come first, so that no thread is left with them.
    let tasks: Vec<_> = (0..tiles)
        .rev()
        .flat_map(|tile| (0..batch * heads).map(move |head| (head / heads, head % heads, tile * tile_rows)))
        .collect();
    let (outputs, sums) = (Shared::new(output.f32s_mut()), Shared::new(lse.f32s_mut()));
    tasks.par_iter().with_max_len(1).for_each_init(
        || Scratch::new(tile_rows, padded(head_dim)),
        |scratch, &(sequence, head, first)| {
            let rows = tile_rows.min(queries - first);
            let query = HeadRows::new(q, [heads, head_dim], sequence * queries + first, head);
            scratch.fill(rows, score_factor(dims), |i| query.row(i));
            let lane = sequence * dims.kv_heads + head / dims.group();
            for source in &sources {
                let task =
                    QueryTile { source, lane, rows, position: dims.position(first), head_dim, scratch };
                // SAFETY: `isa` is one this processor has; the scratch memory is this task's.
                unsafe { launch(isa, task) };
            }
            // SAFETY: every task has its own (sequence, head) and queries.
            let sums = unsafe { sums.range((sequence * heads + head) * queries + first, rows) };
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = ((sequence * queries + first + i) * heads + head) * head_dim;
                // SAFETY: as above.
                *sum = scratch.finish(i, unsafe { outputs.range(at, head_dim) });
            }
        },
    );
    Ok(Attended { output, lse })
}

/// Packs the source's keys and values for the forward pass.
pub(crate) fn pack_source<T: Element>(
    source: Source,
    [k, v]: [&[T]; 2],
    dims: AttentionDims,
) -> PackedSource {
    let sizes = [dims.batch * dims.kv_heads, source.len(), dims.head_dim];
    let (keys, values) = (lanes(k, dims), lanes(v, dims));
    PackedSource {
        keys: Packed::new(Layout::Transposed, sizes, |lane, i| keys(lane).row(source.position(i))),
        values: Packed::new(Layout::Rows, sizes, |lane, i| values(lane).row(source.position(i))),
        source,
    }
}

/// The rows of each (sequence, KV head) of `matrix` [batch * keys, kv_heads * head_dim].
pub(crate) fn lanes<'a, T: Element>(
    matrix: &'a [T],
    dims: AttentionDims,
) -> impl Fn(usize) -> HeadRows<'a, T> + Sync {
    let AttentionDims { keys, kv_heads, head_dim, .. } = dims;
    move |lane| HeadRows::new(matrix, [kv_heads, head_dim], lane / kv_heads * keys, lane % kv_heads)
}

/// Consecutive queries of one head against one source.
struct QueryTile<'a> {
    source: &'a PackedSource,
    lane: usize,
    rows: usize,
    /// Position of the first query.
    position: usize,
    head_dim: usize,
    scratch: &'a mut Scratch,
}

impl Kernel for QueryTile<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { source, lane, rows, position, head_dim, scratch } = self;
        let width = padded(head_dim);
        let ranges: Vec<_> = (0..rows).map(|i| source.source.range(position + i)).collect();
        let mut strips = Strips::new(scratch.rows());
        let (start, end) = (ranges[0].0, ranges[rows - 1].1);
        for tile in start / TILE..end.div_ceil(TILE) {
            let first = tile * TILE;
            let kv = KvTile {
                keys: source.keys.tile(lane, tile),
                values: source.values.tile(lane, tile),
                head_dim,
                width,
            };
            // Both ends of the ranges grow, so the queries that see the tile are consecutive.
            let seen_from = ranges.partition_point(|range| range.1 <= first);
            let seen_to = ranges.partition_point(|range| range.0 < first + TILE);
            let whole = ranges[rows - 1].0 <= first && ranges[0].1 >= first + TILE;
            for row in (seen_from..seen_to).step_by(STRIP) {
                let len = STRIP.min(seen_to - row);
                let index = std::array::from_fn(|r| row + r);
                let strip = if whole {
                    Strip { index, from: [0; STRIP], to: [TILE; STRIP], len }
                } else {
                    let range = |r: usize| ranges[(row + r).min(row + len - 1)];
                    Strip {
                        index,
                        from: std::array::from_fn(|r| range(r).0.saturating_sub(first).min(TILE)),
                        to: std::array::from_fn(|r| range(r).1.saturating_sub(first).min(TILE)),
                        len,
                    }
                };
                // SAFETY: the strip's rows are among the scratch rows, which this kernel owns.
                unsafe { strips.attend::<L>(strip, kv) };
            }
        }
        // SAFETY: as above.
        unsafe { strips.finish::<L>() };
    }
}

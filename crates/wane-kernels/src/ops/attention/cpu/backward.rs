//! Flash-style backward pass from the log-sum-exp: one task per (sequence, KV head), which runs
//! over its query heads and the tiles of keys, and recomputes the probabilities tile by tile.
//!
//! The gradients of a key sum over the queries of the whole group inside one task, in a fixed
//! order; a call therefore uses at most `batch * kv_heads` threads.

use rayon::prelude::*;

use super::floats::Floats;
use super::forward::{lanes, score_factor};
use super::lanes::{Kernel, LANES, Lanes, Old, Product, launch, wide_product};
use super::pack::{HeadRows, Layout, Packed, TILE, pack_row, padded};
use super::shared::Shared;
use super::softmax::STRIP;
use super::source::Source;
use crate::cpu::Isa;
use crate::ops::attention::{AttentionDims, AttentionGrads, AttentionSaved};
use crate::{DType, Result, Tensor};

/// Queries of a tile; a multiple of [`STRIP`].
const QUERY_TILE: usize = 96;

/// One source's keys and values in the layouts that the gradients need.
struct PackedSource {
    source: Source,
    keys: Packed,
    keys_transposed: Packed,
    values_transposed: Packed,
    /// Keys that each query sees.
    ranges: Vec<(usize, usize)>,
}

impl PackedSource {
    fn new(source: Source, [k, v]: [&[f32]; 2], dims: AttentionDims) -> Self {
        let sizes = [dims.batch * dims.kv_heads, source.len(), dims.head_dim];
        let (keys, values) = (lanes(k, dims), lanes(v, dims));
        let key = |lane: usize, i: usize| keys(lane).row(source.position(i));
        let value = |lane: usize, i: usize| values(lane).row(source.position(i));
        Self {
            keys: Packed::new(Layout::Rows, sizes, key),
            keys_transposed: Packed::new(Layout::Transposed, sizes, key),
            values_transposed: Packed::new(Layout::Transposed, sizes, value),
            ranges: (0..dims.queries).map(|i| source.range(dims.position(i))).collect(),
            source,
        }
    }
}

/// One head's rows and their gradients, and the tile in work.
struct Scratch {
    width: usize,
    /// [queries, width], scaled as in the forward pass.
    queries: Floats,
    /// Gradients of the outputs [queries, width].
    grads: Floats,
    /// Gradients of the queries [queries + 1, width]; the last row is a bin.
    dq: Floats,
    /// Log-sum-exp of each query in base 2.
    lse: Vec<f32>,
    /// `doutput . output` of each query.
    delta: Vec<f32>,
    /// Probabilities and gradients of the scores [QUERY_TILE, TILE].
    p: Floats,
    ds: Floats,
    /// Gradients of the tile's keys and values [TILE + 1, width]; the last row is a bin.
    dk: Floats,
    dv: Floats,
}

impl Scratch {
    fn new(queries: usize, width: usize) -> Self {
        Self {
            width,
            queries: Floats::new(queries * width),
            grads: Floats::new(queries * width),
            dq: Floats::new((queries + 1) * width),
            lse: vec![0.0; queries],
            delta: vec![0.0; queries],
            p: Floats::new(QUERY_TILE * TILE),
            ds: Floats::new(QUERY_TILE * TILE),
            dk: Floats::new((TILE + 1) * width),
            dv: Floats::new((TILE + 1) * width),
        }
    }
}

pub(crate) fn backward(
    isa: Isa,
    doutput: &Tensor,
    saved: AttentionSaved<'_>,
    dims: AttentionDims,
) -> Result<AttentionGrads> {
    let AttentionDims { batch, queries, keys, heads, kv_heads, head_dim, scale, .. } = dims;
    let mut dq = Tensor::uninit(saved.q.shape(), DType::F32, doutput.device())?;
    let mut dk = Tensor::zeros(saved.k.shape(), DType::F32, doutput.device())?;
    let mut dv = Tensor::zeros(saved.v.shape(), DType::F32, doutput.device())?;
    if queries == 0 || batch == 0 {
        return Ok(AttentionGrads { dq, dk, dv });
    }
    let sources: Vec<_> = Source::of(dims.pattern, keys)
        .into_iter()
        .map(|source| PackedSource::new(source, [saved.k.f32s(), saved.v.f32s()], dims))
        .collect();
    let (q, doutput) = (saved.q.f32s(), doutput.f32s());
    let (output, lse) = (saved.attended.output.f32s(), saved.attended.lse.f32s());
    let shared_dq = Shared::new(dq.f32s_mut());
    let (shared_dk, shared_dv) = (Shared::new(dk.f32s_mut()), Shared::new(dv.f32s_mut()));
    let width = padded(head_dim);
    (0..batch * kv_heads).into_par_iter().with_max_len(1).for_each_init(
        || Scratch::new(queries, width),
        |scratch, lane| {
            let (sequence, kv_head) = (lane / kv_heads, lane % kv_heads);
            for head in kv_head * dims.group()..(kv_head + 1) * dims.group() {
                let rows = |matrix| HeadRows::new(matrix, [heads, head_dim], sequence * queries, head);
                let lse = &lse[(sequence * heads + head) * queries..][..queries];
                scratch.fill([rows(q), rows(doutput), rows(output)], lse, score_factor(dims));
                for source in &sources {
                    for tile in 0..source.source.len().div_ceil(TILE) {
                        let task = KeyTile { source, lane, tile, head_dim, scratch };
                        // SAFETY: `isa` is one this processor has; the scratch memory is this task's.
                        unsafe { launch(isa, task) };
                        for j in 0..TILE.min(source.source.len() - tile * TILE) {
                            let position = source.source.position(tile * TILE + j);
                            let at = ((sequence * keys + position) * kv_heads + kv_head) * head_dim;
                            // SAFETY: every task has its own (sequence, KV head).
                            let (dk, dv) =
                                unsafe { (shared_dk.range(at, head_dim), shared_dv.range(at, head_dim)) };
                            // The packed queries carry the factor `scale log2(e)`.
                            add(dk, &scratch.dk[j * width..], std::f32::consts::LN_2);
                            add(dv, &scratch.dv[j * width..], 1.0);
                        }
                    }
                }
                for (i, from) in scratch.dq.chunks_exact(width).take(queries).enumerate() {
                    let at = ((sequence * queries + i) * heads + head) * head_dim;
                    // SAFETY: every task has its own query heads.
                    let to = unsafe { shared_dq.range(at, head_dim) };
                    to.iter_mut().zip(from).for_each(|(to, x)| *to = scale * x);
                }
            }
        },
    );
    Ok(AttentionGrads { dq, dk, dv })
}

fn add(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, x)| *to += factor * x);
}

impl Scratch {
    /// Starts with another head.
    fn fill(&mut self, [q, doutput, output]: [HeadRows<'_, f32>; 3], lse: &[f32], factor: f32) {
        let width = self.width;
        for (i, lse) in lse.iter().enumerate() {
            pack_row(q.row(i), factor, &mut self.queries[i * width..][..width]);
            pack_row(doutput.row(i), 1.0, &mut self.grads[i * width..][..width]);
            self.lse[i] = lse * std::f32::consts::LOG2_E;
            self.delta[i] = doutput.row(i).iter().zip(output.row(i)).map(|(a, b)| a * b).sum();
        }
        self.dq.fill(0.0);
    }
}

/// One tile of keys against all queries of one head that see it.
struct KeyTile<'a> {
    source: &'a PackedSource,
    lane: usize,
    tile: usize,
    head_dim: usize,
    scratch: &'a mut Scratch,
}

impl Kernel for KeyTile<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) {
        let first = self.tile * TILE;
        let ranges = &self.source.ranges;
        // Both ends of the ranges grow, so the queries that see the tile are consecutive.
        let seen_from = ranges.partition_point(|range| range.1 <= first);
        let seen_to = ranges.partition_point(|range| range.0 < first + TILE);
        self.scratch.dk.fill(0.0);
        self.scratch.dv.fill(0.0);
        for start in (seen_from..seen_to).step_by(QUERY_TILE) {
            let rows = QUERY_TILE.min(seen_to - start);
            // SAFETY: the rows are queries of the scratch memory, which this kernel owns.
            unsafe {
                for strip in (0..rows).step_by(STRIP) {
                    self.scores::<L>(start + strip, strip, STRIP.min(rows - strip));
                }
                self.key_grads::<L>(start, rows);
            }
        }
    }
}

impl KeyTile<'_> {
    /// Probabilities and score gradients of the `len` queries from `query` on, into the rows from
    /// `row` on of `p` and `ds`; adds to the queries' gradients.
    #[inline(always)]
    unsafe fn scores<L: Lanes>(&mut self, query: usize, row: usize, len: usize) {
        let Self { source, lane, tile, head_dim, .. } = *self;
        let scratch = &mut *self.scratch;
        let (width, bin) = (scratch.width, scratch.lse.len());
        let used = |r: usize| query + if r < len { r } else { 0 };
        // SAFETY: queries, tiles and scratch rows are within their buffers.
        unsafe {
            let p = scratch.p.as_mut_ptr().add(row * TILE);
            let ds = scratch.ds.as_mut_ptr().add(row * TILE);
            for (from, to, right) in [
                (&scratch.queries, p, &source.keys_transposed),
                (&scratch.grads, ds, &source.values_transposed),
            ] {
                L::product(&Product {
                    depth: head_dim,
                    a: std::array::from_fn(|r| from.as_ptr().add(used(r) * width)),
                    a_step: 1,
                    b: right.tile(lane, tile).as_ptr(),
                    b_step: TILE,
                    c: std::array::from_fn(|r| to.add(r * TILE)),
                    old: Old::Replaced,
                    vectors: TILE / LANES,
                });
            }
            for r in 0..len {
                let (from, to) = source.ranges[query + r];
                let first = tile * TILE;
                let (from, to) = (from.saturating_sub(first).min(TILE), to.saturating_sub(first).min(TILE));
                let (lse, delta) = (L::splat(scratch.lse[query + r]), L::splat(scratch.delta[query + r]));
                for start in (0..TILE).step_by(LANES) {
                    let (p, ds) = (p.add(r * TILE + start), ds.add(r * TILE + start));
                    let mut x = L::exp2(L::sub(L::load(p), lse));
                    if from > start || to < start + LANES {
                        x = L::keep(x, from as isize - start as isize, to as isize - start as isize, 0.0);
                    }
                    L::store(p, x);
                    L::store(ds, L::mul(x, L::sub(L::load(ds), delta)));
                }
            }
            let dq = scratch.dq.as_mut_ptr();
            wide_product::<L>(Product {
                depth: TILE,
                a: std::array::from_fn(|r| ds.add(r * TILE).cast_const()),
                a_step: 1,
                b: source.keys.tile(lane, tile).as_ptr(),
                b_step: width,
                c: std::array::from_fn(|r| dq.add(width * if r < len { query + r } else { bin })),
                old: Old::Scaled([1.0; STRIP]),
                vectors: width / LANES,
            });
        }
    }

    /// Adds the part of the `rows` queries from `start` on to the gradients of keys and values.
    #[inline(always)]
    unsafe fn key_grads<L: Lanes>(&mut self, start: usize, rows: usize) {
        let scratch = &mut *self.scratch;
        let width = scratch.width;
        for (weights, right, to) in
            [(&scratch.p, &scratch.grads, &mut scratch.dv), (&scratch.ds, &scratch.queries, &mut scratch.dk)]
        {
            for key in (0..TILE).step_by(STRIP) {
                // SAFETY: a tile has TILE keys, and the row after them is a bin.
                unsafe {
                    let to = to.as_mut_ptr();
                    wide_product::<L>(Product {
                        depth: rows,
                        a: std::array::from_fn(|r| weights.as_ptr().add((key + r).min(TILE - 1))),
                        a_step: TILE,
                        b: right.as_ptr().add(start * width),
                        b_step: width,
                        c: std::array::from_fn(|r| to.add((key + r).min(TILE) * width)),
                        old: Old::Scaled([1.0; STRIP]),
                        vectors: width / LANES,
                    });
                }
            }
        }
    }
}

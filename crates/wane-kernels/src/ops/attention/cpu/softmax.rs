//! The step all forward kernels share: a strip of six queries against one tile of keys, with the
//! running maximum and sum of an online softmax (in base 2, so that exponentials are one
//! polynomial and a shift).

use std::mem::MaybeUninit;

use super::lanes::{LANES, Lanes, PRODUCT_ROWS, Product, wide_product};
use super::pack::TILE;

/// Queries of a strip.
pub(crate) const STRIP: usize = PRODUCT_ROWS;

/// One query's place in scratch memory and its running softmax.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryState {
    /// Largest score so far, in base 2.
    pub(crate) max: f32,
    /// Sum of `2^(score - max)`.
    pub(crate) sum: f32,
}

impl QueryState {
    /// Before any key.
    pub(crate) const EMPTY: Self = Self { max: f32::NEG_INFINITY, sum: 0.0 };

    /// Natural logarithm of the sum of exponentials.
    pub(crate) fn lse(self) -> f32 {
        (self.max + self.sum.log2()) * std::f32::consts::LN_2
    }
}

/// A tile of keys and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvTile<'a> {
    /// [head_dim, TILE].
    pub(crate) keys: &'a [f32],
    /// [TILE, width].
    pub(crate) values: &'a [f32],
    /// Elements of a head.
    pub(crate) head_dim: usize,
    /// Elements of a value row: `head_dim` padded to whole vectors.
    pub(crate) width: usize,
}

/// The queries of a strip: `index[r]` counts rows of `queries` and `outputs` [.., width] and of
/// `states`; each sees the keys `from[r]..to[r]` of the tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip {
    pub(crate) index: [usize; STRIP],
    pub(crate) from: [usize; STRIP],
    pub(crate) to: [usize; STRIP],
    /// Queries in use, at least one.
    pub(crate) len: usize,
}

/// Scratch memory of the queries, one row each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueryRows {
    /// [rows, width], scaled by `scale * log2(e)`.
    pub(crate) queries: *const f32,
    /// [rows, width], not yet divided by the sum.
    pub(crate) outputs: *mut f32,
    /// A row that nobody reads.
    pub(crate) bin: *mut f32,
    /// [rows].
    pub(crate) states: *mut QueryState,
}

/// Adds the tile's visible keys to the strip's outputs.
///
/// # Safety
/// As [`Lanes`]; the strip's indices lie within `rows`, which nobody else uses.
#[inline(always)]
pub(crate) unsafe fn attend<L: Lanes>(strip: &Strip, rows: QueryRows, tile: KvTile<'_>) {
    let KvTile { keys, values, head_dim, width } = tile;
    let used = 0..strip.len;
    let from = used.clone().map(|r| strip.from[r]).min().unwrap_or(0);
    let to = used.clone().map(|r| strip.to[r]).max().unwrap_or(0);
    if from >= to {
        return;
    }
    // Rows that are not in use compute garbage: they read the first query and write to the bin.
    let mut scores = MaybeUninit::<Line<{ STRIP * TILE }>>::uninit();
    let first_vector = from / LANES;
    let vectors = to.div_ceil(LANES) - first_vector;
    let column = first_vector * LANES;
    // SAFETY: indices are the caller's promise; vectors and columns lie within a tile.
    unsafe {
        let row = |r: usize| if r < strip.len { strip.index[r] } else { strip.index[0] };
        let score = scores.as_mut_ptr().cast::<f32>();
        L::product(&Product {
            depth: head_dim,
            a: std::array::from_fn(|r| rows.queries.add(row(r) * width)),
            a_step: 1,
            b: keys.as_ptr().add(column),
            b_step: TILE,
            c: std::array::from_fn(|r| score.add(r * TILE + column)),
            factor: None,
            vectors,
        });

        // New maxima, then all corrections of the old sums at once.
        let mut old_max = [0.0; LANES];
        let mut new_max = [0.0; LANES];
        for r in used.clone() {
            let state = *rows.states.add(strip.index[r]);
            let (from, to) = (strip.from[r] as isize, strip.to[r] as isize);
            let mut max = L::splat(state.max);
            for v in first_vector..first_vector + vectors {
                let (at, start) = (score.add(r * TILE + v * LANES), (v * LANES) as isize);
                let mut x = L::load(at);
                if from > start || to < start + LANES as isize {
                    x = L::keep(x, from - start, to - start, f32::NEG_INFINITY);
                    L::store(at, x);
                }
                max = L::max(max, x);
            }
            // A query that has seen nothing yet keeps a finite maximum: its exponentials are 0.
            new_max[r] = L::largest(max).max(f32::MIN);
            old_max[r] = state.max;
        }
        let mut factor = [0.0; LANES];
        let correction = L::exp2(L::sub(L::load(old_max.as_ptr()), L::load(new_max.as_ptr())));
        L::store(factor.as_mut_ptr(), correction);

        for r in used {
            let max = L::splat(new_max[r]);
            let mut sum = L::splat(0.0);
            for v in first_vector..first_vector + vectors {
                let at = score.add(r * TILE + v * LANES);
                let p = L::exp2(L::sub(L::load(at), max));
                L::store(at, p);
                sum = L::add(sum, p);
            }
            let state = &mut *rows.states.add(strip.index[r]);
            state.sum = state.sum * factor[r] + L::sum(sum);
            // Not `new_max` if nothing has been seen: that must stay "empty".
            state.max = if strip.from[r] < strip.to[r] { new_max[r] } else { old_max[r] };
        }

        let output =
            |r: usize| if r < strip.len { rows.outputs.add(strip.index[r] * width) } else { rows.bin };
        wide_product::<L>(Product {
            depth: to - from,
            a: std::array::from_fn(|r| score.add(r * TILE + from).cast_const()),
            a_step: 1,
            b: values.as_ptr().add(from * width),
            b_step: width,
            c: std::array::from_fn(output),
            factor: Some(std::array::from_fn(|r| factor[r])),
            vectors: width / LANES,
        });
    }
}

#[repr(C, align(64))]
struct Line<const N: usize>([f32; N]);

//! The step all forward kernels share: a strip of six queries against one tile of keys, with the
//! running maximum and sum of an online softmax (in base 2, so that exponentials are one
//! polynomial and a shift).

use std::mem::MaybeUninit;

use super::lanes::{LANES, Lanes, Old, PRODUCT_ROWS, Product, wide_product};
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

/// Strips on their way through a kernel: while one strip's exponentials wait for each other, the
/// products of the next keep the units busy, so each strip's scores are computed one call ahead.
pub(crate) struct Strips<'a> {
    rows: QueryRows,
    scores: [MaybeUninit<Line<{ STRIP * TILE }>>; 2],
    // Which of the two the next strip takes.
    next: usize,
    waiting: Option<Waiting<'a>>,
}

/// A strip whose scores are there.
#[derive(Clone, Copy)]
struct Waiting<'a> {
    strip: Strip,
    tile: KvTile<'a>,
    keys: Span,
}

/// The keys of a tile that at least one query of a strip sees.
#[derive(Debug, Clone, Copy)]
struct Span {
    from: usize,
    to: usize,
}

impl Span {
    #[inline(always)]
    fn of(strip: &Strip) -> Self {
        let used = 0..strip.len;
        Self {
            from: used.clone().map(|r| strip.from[r]).min().unwrap_or(0),
            to: used.map(|r| strip.to[r]).max().unwrap_or(0),
        }
    }

    /// First vector and number of vectors.
    #[inline(always)]
    fn vectors(self) -> (usize, usize) {
        let first = self.from / LANES;
        (first, self.to.div_ceil(LANES) - first)
    }
}

impl<'a> Strips<'a> {
    /// Over these queries.
    pub(crate) fn new(rows: QueryRows) -> Self {
        Self { rows, scores: [MaybeUninit::uninit(), MaybeUninit::uninit()], next: 0, waiting: None }
    }

    /// Adds the tile's visible keys to the strip's outputs, now or with the next call.
    ///
    /// # Safety
    /// As [`Lanes`]; the strip's indices lie within the rows, which nobody else uses.
    #[inline(always)]
    pub(crate) unsafe fn attend<L: Lanes>(&mut self, strip: Strip, tile: KvTile<'a>) {
        let keys = Span::of(&strip);
        if keys.from >= keys.to {
            return;
        }
        let scores = self.scores[self.next].as_mut_ptr().cast::<f32>();
        // SAFETY: passed on from the caller; the other line holds the scores of the waiting strip.
        unsafe {
            self.rows.score::<L>(&strip, tile, keys, scores);
            self.absorb_waiting::<L>();
        }
        self.waiting = Some(Waiting { strip, tile, keys });
        self.next = 1 - self.next;
    }

    /// Ends the last strip.
    ///
    /// # Safety
    /// As [`Self::attend`].
    #[inline(always)]
    pub(crate) unsafe fn finish<L: Lanes>(&mut self) {
        // SAFETY: passed on from the caller.
        unsafe { self.absorb_waiting::<L>() };
    }

    /// The waiting strip's scores lie in the line that is not `next`.
    #[inline(always)]
    unsafe fn absorb_waiting<L: Lanes>(&mut self) {
        if let Some(Waiting { strip, tile, keys }) = self.waiting.take() {
            let scores = self.scores[1 - self.next].as_mut_ptr().cast::<f32>();
            // SAFETY: passed on from the caller; `attend` has filled these scores.
            unsafe { self.rows.absorb::<L>(&strip, tile, keys, scores) }
        }
    }
}

impl QueryRows {
    /// `scores` [STRIP, TILE]: the strip's queries times the tile's keys, whole vectors around `keys`.
    ///
    /// # Safety
    /// As [`Strips::attend`].
    #[inline(always)]
    unsafe fn score<L: Lanes>(&self, strip: &Strip, tile: KvTile<'_>, keys: Span, scores: *mut f32) {
        let (first, vectors) = keys.vectors();
        // Rows that are not in use compute garbage from the first query.
        let row = |r: usize| if r < strip.len { strip.index[r] } else { strip.index[0] };
        // SAFETY: indices are the caller's promise; vectors and columns lie within a tile.
        unsafe {
            L::product(&Product {
                depth: tile.head_dim,
                a: std::array::from_fn(|r| self.queries.add(row(r) * tile.width)),
                a_step: 1,
                b: tile.keys.as_ptr().add(first * LANES),
                b_step: TILE,
                c: std::array::from_fn(|r| scores.add(r * TILE + first * LANES)),
                old: Old::Replaced,
                vectors,
            });
        }
    }

    /// Turns scores into weights and adds the weighted values to the outputs.
    ///
    /// # Safety
    /// As [`Strips::attend`]; `scores` are those that [`Self::score`] has computed.
    #[inline(always)]
    unsafe fn absorb<L: Lanes>(&self, strip: &Strip, tile: KvTile<'_>, keys: Span, scores: *mut f32) {
        let width = tile.width;
        // SAFETY: indices are the caller's promise; vectors and columns lie within a tile.
        unsafe {
            let whole = strip.len == STRIP
                && strip.from.iter().all(|&from| from == 0)
                && strip.to.iter().all(|&to| to == TILE);
            let factor =
                if whole { self.weigh_all::<L>(strip, scores) } else { self.weigh::<L>(strip, keys, scores) };
            // Rows that are not in use write to the bin.
            let output = |r: usize| {
                if r < strip.len { self.outputs.add(strip.index[r] * width) } else { self.bin }
            };
            wide_product::<L>(Product {
                depth: keys.to - keys.from,
                a: std::array::from_fn(|r| scores.add(r * TILE + keys.from).cast_const()),
                a_step: 1,
                b: tile.values.as_ptr().add(keys.from * width),
                b_step: width,
                c: std::array::from_fn(output),
                old: Old::Scaled(std::array::from_fn(|r| factor[r])),
                vectors: width / LANES,
            });
        }
    }

    /// [`Self::weigh`] for a full strip that sees the whole tile: a row's scores stay in registers.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "the indices of registers")]
    unsafe fn weigh_all<L: Lanes>(&self, strip: &Strip, scores: *mut f32) -> [f32; LANES] {
        const VECTORS: usize = TILE / LANES;
        let mut old_max = [0.0; LANES];
        let mut new_max = [0.0; LANES];
        let mut sums = [0.0; STRIP];
        // SAFETY: a strip's scores are whole tiles; indices are the caller's promise.
        unsafe {
            for r in 0..STRIP {
                let row = scores.add(r * TILE);
                let old = (*self.states.add(strip.index[r])).max;
                let mut x = [L::splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    x[v] = L::load(row.add(v * LANES));
                }
                let pairs = L::max(L::max(x[0], x[1]), L::max(x[2], x[3]));
                let max = L::largest(L::max(pairs, L::splat(old))).max(f32::MIN);
                let splat = L::splat(max);
                let mut sum = L::splat(0.0);
                for v in 0..VECTORS {
                    let p = L::exp2(L::sub(x[v], splat));
                    L::store(row.add(v * LANES), p);
                    sum = L::add(sum, p);
                }
                sums[r] = L::sum(sum);
                (old_max[r], new_max[r]) = (old, max);
            }
            let factor = correction::<L>(&old_max, &new_max);
            for r in 0..STRIP {
                let state = &mut *self.states.add(strip.index[r]);
                state.sum = state.sum * factor[r] + sums[r];
                state.max = new_max[r];
            }
            factor
        }
    }

    /// Replaces scores by `2^(score - max)`, invisible ones by 0, and renews the queries' maxima and
    /// sums; returns the factors of what the queries had before.
    #[inline(always)]
    unsafe fn weigh<L: Lanes>(&self, strip: &Strip, keys: Span, scores: *mut f32) -> [f32; LANES] {
        let (first, vectors) = keys.vectors();
        let mut old_max = [0.0; LANES];
        let mut new_max = [0.0; LANES];
        // SAFETY: as in `weigh_all`.
        unsafe {
            for r in 0..strip.len {
                let state = *self.states.add(strip.index[r]);
                let (from, to) = (strip.from[r] as isize, strip.to[r] as isize);
                let mut max = L::splat(state.max);
                for v in first..first + vectors {
                    let (at, start) = (scores.add(r * TILE + v * LANES), (v * LANES) as isize);
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
            let factor = correction::<L>(&old_max, &new_max);
            for r in 0..strip.len {
                let max = L::splat(new_max[r]);
                let mut sum = L::splat(0.0);
                for v in first..first + vectors {
                    let at = scores.add(r * TILE + v * LANES);
                    let p = L::exp2(L::sub(L::load(at), max));
                    L::store(at, p);
                    sum = L::add(sum, p);
                }
                let state = &mut *self.states.add(strip.index[r]);
                state.sum = state.sum * factor[r] + L::sum(sum);
                // Not `new_max` if nothing has been seen: that must stay "empty".
                state.max = if strip.from[r] < strip.to[r] { new_max[r] } else { old_max[r] };
            }
            factor
        }
    }
}

/// `2^(old - new)`, all rows at once.
#[inline(always)]
unsafe fn correction<L: Lanes>(old: &[f32; LANES], new: &[f32; LANES]) -> [f32; LANES] {
    let mut factor = [0.0; LANES];
    // SAFETY: arrays of sixteen elements.
    unsafe { L::store(factor.as_mut_ptr(), L::exp2(L::sub(L::load(old.as_ptr()), L::load(new.as_ptr())))) };
    factor
}

#[repr(C, align(64))]
struct Line<const N: usize>([f32; N]);

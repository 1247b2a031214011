//! Decoding over pages: streams the rows that are read once, for all query heads that read them.
//!
//! Long lanes are cut into parts of about [`PART_ROWS`] rows, whatever the number of threads; the
//! parts' softmax sums are merged in order, so the result depends on neither.

use rayon::prelude::*;

use super::super::Reads;
use crate::cpu::Isa;
use crate::kv::{HostKv, PAGE_LEN, page_runs};
use crate::ops::attention::cpu::floats::Floats;
use crate::ops::attention::cpu::lanes::{Kernel, LANES, Lanes, LoadLanes, launch};
use crate::ops::attention::cpu::pack::{pack_row, padded};
use crate::ops::attention::cpu::softmax::QueryState;
use crate::{DType, Error, KvView, Result, Tensor};

/// Rows of a part, rounded to whole blocks.
const PART_ROWS: usize = 1024;

/// Largest head dimension, in vectors.
const MAX_VECTORS: usize = 16;

/// A share of what one selector reads.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Selector: `members` consecutive query heads that read the same rows.
    selector: usize,
    /// First block (or row, if everything is read) and the end.
    start: usize,
    end: usize,
}

pub(super) fn decode<T: LoadLanes>(
    isa: Isa,
    q: &Tensor,
    kv: KvView<'_>,
    heads: usize,
    scale: f32,
    reads: Reads<'_>,
) -> Result<Tensor> {
    let (head_dim, group, width) = (kv.head_dim, heads / kv.kv_heads, padded(kv.head_dim));
    if width > MAX_VECTORS * LANES {
        let most = MAX_VECTORS * LANES;
        return Err(Error::shape("block_attention::decode", format!("head_dim up to {most}"), head_dim));
    }
    let host = HostKv::new(kv);
    for lane in 0..kv.lanes() {
        host.check_rows("block_attention::decode", lane, host.len(lane))?;
    }
    let shared = match reads {
        Reads::All => true,
        Reads::Blocks { selection, .. } => selection.rows() == kv.lanes(),
    };
    let members = if shared { group } else { 1 };
    let selectors = kv.sequences() * heads / members;
    let lane_of = |selector: usize| selector * members / group;

    let mut parts = Vec::new();
    let mut first_part = Vec::with_capacity(selectors + 1);
    for selector in 0..selectors {
        first_part.push(parts.len());
        let (total, step) = match reads {
            Reads::All => (host.len(lane_of(selector)), PART_ROWS),
            Reads::Blocks { selection, block } => (selection.row(selector).len(), (PART_ROWS / block).max(1)),
        };
        parts.extend((0..total).step_by(step).map(|start| Part {
            selector,
            start,
            end: (start + step).min(total),
        }));
    }
    first_part.push(parts.len());

    let mut queries = Floats::new(q.rows() * heads * width);
    for (from, to) in q.f32s().chunks_exact(head_dim).zip(queries.chunks_exact_mut(width)) {
        pack_row(from, scale * std::f32::consts::LOG2_E, to);
    }
    let mut outputs = Floats::new(parts.len() * members * width);
    let mut states = vec![QueryState::EMPTY; parts.len() * members];
    outputs.fill(0.0);
    outputs
        .par_chunks_exact_mut(members * width)
        .zip(states.par_chunks_exact_mut(members))
        .zip(&parts)
        .with_max_len(1)
        .for_each(|((outputs, states), part)| {
            let kernel = ReadPart::<T> {
                host,
                lane: lane_of(part.selector),
                part: *part,
                reads,
                head_dim,
                queries: &queries[part.selector * members * width..][..members * width],
                outputs,
                states,
                element: std::marker::PhantomData,
            };
            // SAFETY: `isa` is one this processor has.
            unsafe { launch(isa, kernel) };
        });

    let mut output = Tensor::uninit(q.shape(), DType::F32, q.device())?;
    for (row, output) in output.f32s_mut().chunks_exact_mut(head_dim).enumerate() {
        let (selector, member) = (row / members, row % members);
        let parts = (first_part[selector]..first_part[selector + 1]).map(|part| part * members + member);
        merge(parts.map(|i| (states[i], &outputs[i * width..][..head_dim])), output);
    }
    Ok(output)
}

/// Joins parts of one query's attention.
fn merge<'a>(parts: impl Iterator<Item = (QueryState, &'a [f32])> + Clone, output: &mut [f32]) {
    let max = parts.clone().fold(f32::NEG_INFINITY, |max, (state, _)| max.max(state.max));
    let mut sum = 0.0;
    output.fill(0.0);
    for (state, part) in parts {
        let factor = (state.max - max).exp2();
        sum += factor * state.sum;
        output.iter_mut().zip(part).for_each(|(to, x)| *to += factor * x);
    }
    if sum > 0.0 {
        output.iter_mut().for_each(|to| *to /= sum);
    }
}

/// The attention of `members` queries over one part.
struct ReadPart<'a, T> {
    host: HostKv<'a>,
    lane: usize,
    part: Part,
    reads: Reads<'a>,
    head_dim: usize,
    /// [members, width], scaled.
    queries: &'a [f32],
    /// [members, width].
    outputs: &'a mut [f32],
    states: &'a mut [QueryState],
    element: std::marker::PhantomData<T>,
}

impl<T: LoadLanes> Kernel for ReadPart<'_, T> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(mut self) {
        // As many query heads share a loaded row as the registers hold.
        // SAFETY: `head_dim` fits the number of vectors.
        unsafe {
            match self.head_dim.div_ceil(LANES) {
                1 => self.read::<L, 1, 4>(),
                2 => self.read::<L, 2, 4>(),
                3 => self.read::<L, 3, 4>(),
                4 => self.read::<L, 4, 4>(),
                5 | 6 => self.read::<L, 6, 2>(),
                7 | 8 => self.read::<L, 8, 2>(),
                _ => self.read::<L, MAX_VECTORS, 1>(),
            }
        }
    }
}

impl<T: LoadLanes> ReadPart<'_, T> {
    #[inline(always)]
    unsafe fn read<L: Lanes, const N: usize, const M: usize>(&mut self) {
        let len = self.host.len(self.lane);
        match self.reads {
            // SAFETY: passed on from the caller, here and below.
            Reads::All => unsafe { self.read_rows::<L, N, M>(self.part.start, self.part.end, len) },
            Reads::Blocks { selection, block } => {
                let start = |&b: &i32| usize::try_from(b).map_or(len, |b| b * block);
                let mut blocks = selection.row(self.part.selector)[self.part.start..self.part.end]
                    .iter()
                    .map(start)
                    .peekable();
                while let Some(start) = blocks.next() {
                    let after = blocks.peek().copied().unwrap_or(len);
                    // SAFETY: as above.
                    unsafe { self.read_rows::<L, N, M>(start, (start + block).min(len), after) }
                }
            }
        }
    }

    /// The rows `start..end`; `after` is the row that is read next, the lane's end if there is none.
    #[inline(always)]
    unsafe fn read_rows<L: Lanes, const N: usize, const M: usize>(
        &mut self,
        start: usize,
        end: usize,
        after: usize,
    ) {
        let width = padded(self.head_dim);
        for (row, rows) in page_runs(start, end) {
            let (keys, values) = self.host.rows::<T>(self.lane, row, rows);
            let next = if row + rows < end { row + rows } else { after };
            let next = match next < self.host.len(self.lane) {
                true => self.host.rows::<T>(self.lane, next, 1).0.as_ptr(),
                false => keys.as_ptr(),
            };
            let run = Run { keys, values, next, rows, head_dim: self.head_dim };
            let mut member = 0;
            while member < self.states.len() {
                let many = M.min(self.states.len() - member);
                let queries = &self.queries[member * width..][..many * width];
                let outputs = &mut self.outputs[member * width..][..many * width];
                let states = &mut self.states[member..][..many];
                // SAFETY: the run has `rows` keys and values of `head_dim` elements.
                unsafe {
                    match many {
                        4 => run.attend::<L, N, 4>(queries, outputs, states),
                        3 => run.attend::<L, N, 3>(queries, outputs, states),
                        2 => run.attend::<L, N, 2>(queries, outputs, states),
                        _ => run.attend::<L, N, 1>(queries, outputs, states),
                    }
                }
                member += many;
            }
        }
    }
}

/// Consecutive rows of one page.
struct Run<'a, T> {
    keys: &'a [T],
    values: &'a [T],
    /// Keys of the run that follows, to be asked for early.
    next: *const T,
    rows: usize,
    head_dim: usize,
}

impl<T: LoadLanes> Run<'_, T> {
    /// The row that starts at `row`; beyond its end it is zero.
    #[inline(always)]
    unsafe fn vectors<L: Lanes, const N: usize>(&self, row: *const T) -> [L::V; N] {
        // SAFETY: at most the row's own elements are read.
        unsafe {
            let mut vectors = [L::splat(0.0); N];
            for (c, vector) in vectors.iter_mut().enumerate() {
                let at = row.wrapping_add(c * LANES);
                let left = self.head_dim.saturating_sub(c * LANES);
                *vector = if left >= LANES { T::load::<L>(at) } else { T::load_first::<L>(at, left) };
            }
            vectors
        }
    }

    /// Asks for the row that starts at `row`.
    #[inline(always)]
    unsafe fn prefetch<L: Lanes, const N: usize>(&self, row: *const T) {
        let per_line = 64 / size_of::<T>();
        for line in 0..(N * LANES).div_ceil(per_line) {
            // SAFETY: a prefetch reads nothing.
            unsafe { L::prefetch(row.wrapping_add(line * per_line)) }
        }
    }

    /// Adds the run to the softmax of `M` queries [M, width]. Values come in from memory while keys are
    /// multiplied, and the next keys while values are added: one pass never waits for the other's rows.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "the indices of a register tile")]
    unsafe fn attend<L: Lanes, const N: usize, const M: usize>(
        &self,
        queries: &[f32],
        outputs: &mut [f32],
        states: &mut [QueryState],
    ) {
        let width = queries.len() / M;
        let vectors = width / LANES;
        assert!(outputs.len() == M * width && states.len() == M, "one state per query");
        let mut scores = [[f32::NEG_INFINITY; PAGE_LEN]; M];
        let mut factors = [0.0; M];
        // SAFETY: queries and outputs are padded to whole vectors; rows lie in the run.
        unsafe {
            let mut q = [[L::splat(0.0); N]; M];
            for m in 0..M {
                for c in 0..vectors {
                    q[m][c] = L::load(queries.as_ptr().add(m * width + c * LANES));
                }
            }
            for first in (0..self.rows).step_by(4) {
                // Four keys at a time: their products are summed up together.
                let mut sums = [[L::splat(0.0); 4]; M];
                for j in 0..4.min(self.rows - first) {
                    let at = (first + j) * self.head_dim;
                    self.prefetch::<L, N>(self.values.as_ptr().wrapping_add(at));
                    let key = self.vectors::<L, N>(self.keys.as_ptr().add(at));
                    for m in 0..M {
                        let mut sum = L::mul(q[m][0], key[0]);
                        for c in 1..N {
                            sum = L::mul_add(q[m][c], key[c], sum);
                        }
                        sums[m][j] = sum;
                    }
                }
                for m in 0..M {
                    let many = 4.min(self.rows - first);
                    scores[m][first..first + many].copy_from_slice(&L::sum_four(sums[m])[..many]);
                }
            }
            for m in 0..M {
                factors[m] = self.weights::<L>(&mut scores[m], &mut states[m]);
            }

            let mut sums = [[L::splat(0.0); N]; M];
            for m in 0..M {
                for c in 0..vectors {
                    let old = L::load(outputs.as_ptr().add(m * width + c * LANES));
                    sums[m][c] = L::mul(L::splat(factors[m]), old);
                }
            }
            for j in 0..self.rows {
                self.prefetch::<L, N>(self.next.wrapping_add(j * self.head_dim));
                let value = self.vectors::<L, N>(self.values.as_ptr().add(j * self.head_dim));
                for m in 0..M {
                    let p = L::broadcast(&scores[m][j]);
                    for c in 0..N {
                        sums[m][c] = L::mul_add(p, value[c], sums[m][c]);
                    }
                }
            }
            for m in 0..M {
                for c in 0..vectors {
                    L::store(outputs.as_mut_ptr().add(m * width + c * LANES), sums[m][c]);
                }
            }
        }
    }

    /// Turns the scores of one query into weights; returns the factor of what it had before.
    #[inline(always)]
    unsafe fn weights<L: Lanes>(&self, scores: &mut [f32; PAGE_LEN], state: &mut QueryState) -> f32 {
        let used = self.rows.next_multiple_of(LANES);
        // SAFETY: a page's scores are whole vectors; those beyond the run are minus infinity.
        unsafe {
            let mut max = L::splat(state.max);
            for v in (0..used).step_by(LANES) {
                max = L::max(max, L::load(scores.as_ptr().add(v)));
            }
            let max = L::largest(max);
            let mut factor = [0.0; LANES];
            L::store(factor.as_mut_ptr(), L::exp2(L::splat(state.max - max)));
            let mut sum = L::splat(0.0);
            for v in (0..used).step_by(LANES) {
                let at = scores.as_mut_ptr().add(v);
                let p = L::exp2(L::sub(L::load(at), L::splat(max)));
                L::store(at, p);
                sum = L::add(sum, p);
            }
            *state = QueryState { max, sum: state.sum * factor[0] + L::sum(sum) };
            factor[0]
        }
    }
}

//! Quest's scores: streams the summaries once for all query heads of a lane.

use rayon::prelude::*;

use crate::cpu::Isa;
use crate::kv::HostKv;
use crate::ops::attention::cpu::lanes::{Kernel, LANES, Lanes, launch};
use crate::ops::attention::cpu::shared::Shared;
use crate::{DType, KvView, Result, Tensor};

/// Blocks of a task.
const TASK_BLOCKS: usize = 128;

pub(super) fn quest_scores(
    isa: Isa,
    q: &Tensor,
    summary: &Tensor,
    kv: KvView<'_>,
    block: usize,
) -> Result<Tensor> {
    let (head_dim, blocks, heads) = (kv.head_dim, summary.dim(1), q.width() / kv.head_dim);
    let mut scores = Tensor::uninit(&[kv.sequences() * heads, blocks], DType::F32, q.device())?;
    let (host, group) = (HostKv::new(kv), heads / kv.kv_heads);
    let used = |lane: usize| host.len(lane).div_ceil(block).min(blocks);
    let tasks: Vec<_> = (0..kv.lanes())
        .flat_map(|lane| (0..blocks).step_by(TASK_BLOCKS).map(move |first| (lane, first)))
        .collect();
    let (queries, summary) = (q.f32s(), summary.f32s());
    let shared = Shared::new(scores.f32s_mut());
    tasks.par_iter().for_each(|&(lane, first)| {
        let end = (first + TASK_BLOCKS).min(blocks);
        let valid = first.max(used(lane).min(end));
        // Queries of a lane's group are consecutive rows: lanes and heads are both sequence-major.
        for row in lane * group..(lane + 1) * group {
            // SAFETY: every task has its own lane and blocks.
            let scores = unsafe { shared.range(row * blocks + first, end - first) };
            scores[valid - first..].fill(f32::NEG_INFINITY);
            let kernel = UpperBounds {
                query: &queries[row * head_dim..][..head_dim],
                bounds: &summary
                    [(lane * blocks + first) * 2 * head_dim..(lane * blocks + valid) * 2 * head_dim],
                scores: &mut scores[..valid - first],
            };
            // SAFETY: `isa` is one this processor has.
            unsafe { launch(isa, kernel) };
        }
    });
    Ok(scores)
}

/// One query against consecutive blocks.
struct UpperBounds<'a> {
    query: &'a [f32],
    /// [blocks, 2, head_dim]: minimum, then maximum.
    bounds: &'a [f32],
    scores: &'a mut [f32],
}

impl Kernel for UpperBounds<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let head_dim = self.query.len();
        assert_eq!(self.bounds.len(), self.scores.len() * 2 * head_dim, "bounds of every block");
        for (b, score) in self.scores.iter_mut().enumerate() {
            // SAFETY: both bounds of block `b` have `head_dim` elements, by the assertion.
            unsafe {
                let min = self.bounds.as_ptr().add(2 * b * head_dim);
                let max = min.add(head_dim);
                let mut sum = L::splat(0.0);
                for start in (0..head_dim).step_by(LANES) {
                    let n = LANES.min(head_dim - start);
                    let q = load::<L>(self.query.as_ptr().add(start), n);
                    let (min, max) = (load::<L>(min.add(start), n), load::<L>(max.add(start), n));
                    sum = L::add(sum, L::max(L::mul(q, min), L::mul(q, max)));
                }
                *score = L::sum(sum);
            }
        }
    }
}

/// The first `n` elements, then zeros.
#[inline(always)]
unsafe fn load<L: Lanes>(from: *const f32, n: usize) -> L::V {
    // SAFETY: the caller passes `n` readable elements.
    unsafe { if n == LANES { L::load(from) } else { L::load_first(from, n) } }
}

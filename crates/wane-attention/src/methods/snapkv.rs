//! SnapKV (arXiv 2404.14469, section 4): after the prompt, each KV head keeps `k` rows, namely the
//! last `window` and those that the window's queries attend to most:
//! `s_j = pool_m(sum over the window's queries i of softmax_j(q_i . k_j / sqrt d))`.
//!
//! `first` keeps the first rows too (attention sinks, arXiv 2309.17453), which the original does not: a head whose
//! decode queries rest on them, but not the window's, loses them otherwise (LOG.md, 2026-11-27).
//!
//! With grouped heads the sums of a group are added or averaged, then pooled. `share=q_head` is the
//! official code's behaviour: a set of rows per query head, which multiplies the cache. Positions
//! go on from the prompt's true length.

use std::sync::Arc;

use wane_kernels::ops::columns;
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::ops::window_scores::{Pooling, pool, window_scores};
use wane_kernels::{DType, Tensor};

use super::MethodEntry;
use crate::grammar::{Key, Kind, Preset, Settings};
use crate::phases::{EvictPhase, EvictStep, Kept, Phases};
use crate::selector::{
    BUDGET, DENSE_LAYERS, Draw, PRESETS, SEED, SELECTOR, SHARE_HELP, SHARES, Selector, Share,
};
use crate::{Phase, Result};

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "snapkv",
    summary: "after the prompt, keep what its last queries attend to",
    paper: "arXiv 2404.14469",
    phases: &[Phase::AfterPrefill],
    keys: &[
        Key {
            name: "k",
            kind: Kind::AtLeast(1),
            default: Some("1024"),
            help: "rows kept, the window included",
        },
        BUDGET,
        Key {
            name: "window",
            kind: Kind::AtLeast(1),
            default: Some("64"),
            help: "last queries of the prompt that score",
        },
        Key {
            name: "first",
            kind: Kind::AtLeast(1),
            default: None,
            help: "first rows kept whatever their scores, within k (sinks)",
        },
        Key {
            name: "pool",
            kind: Kind::Choice(&["avg", "max"]),
            default: Some("avg"),
            help: "how neighbours are pooled",
        },
        Key { name: "kernel", kind: Kind::AtLeast(1), default: Some("5"), help: "positions pooled, odd" },
        DENSE_LAYERS,
        Key { name: "share", kind: SHARES, default: Some("group_mean"), help: SHARE_HELP },
        SELECTOR,
        SEED,
        Key { name: "preset", kind: PRESETS, default: Some("paper"), help: "original: share=q_head, k=320" },
    ],
    presets: &[
        Preset { name: "paper", values: &[] },
        Preset { name: "original", values: &[("share", "q_head"), ("k", "320")] },
    ],
    budget: Some(|settings, tokens| {
        settings.set("k", Some(tokens.to_string()));
        Ok(())
    }),
    build,
};

#[derive(Debug)]
struct SnapKv {
    k: usize,
    window: usize,
    first: usize,
    kernel: usize,
    pooling: Pooling,
    dense_layers: usize,
    share: Share,
    selector: Selector,
}

fn build(settings: &Settings) -> Result<Phases> {
    let method = SnapKv {
        k: settings.count("k"),
        window: settings.count("window"),
        first: settings.count("first"),
        kernel: settings.count("kernel"),
        pooling: if settings.is("pool", "max") { Pooling::Max } else { Pooling::Average },
        dense_layers: settings.count("dense_layers"),
        share: Share::of(settings),
        selector: Selector::of(settings),
    };
    if method.window >= method.k {
        let expected = format!("the window counts within k = {}, so it must be smaller", method.k);
        return Err(settings.error("window", expected));
    }
    if method.first >= method.k - method.window {
        let expected = format!(
            "window and first count within k = {}, so together they must be smaller than it",
            method.k
        );
        return Err(settings.error("first", expected));
    }
    if method.kernel.is_multiple_of(2) {
        return Err(settings.error("kernel", "expected an odd number"));
    }
    Ok(Phases { evict: Some(Arc::new(method)), ..Phases::default() })
}

impl EvictPhase for SnapKv {
    fn query_window(&self) -> usize {
        self.window
    }

    fn keeps(&self, layer: usize, len: usize) -> Option<usize> {
        (layer >= self.dense_layers && len > self.k).then_some(self.k)
    }

    fn per_query_head(&self, layer: usize) -> bool {
        layer >= self.dense_layers && self.share == Share::QueryHead
    }

    fn keep(&self, step: &EvictStep<'_>) -> Result<Kept> {
        let dims = step.dims;
        let device = step.q.device();
        let heads = self.share.selectors(dims.heads, dims.kv_heads);
        let (first, window) = if self.selector.is_pure() { (0, 0) } else { (self.first, self.window) };
        let candidates = dims.keys - window;
        let scores = match self.selector {
            Selector::Own => {
                let scores = window_scores(step.q, step.k, dims)?;
                let scores = self.share.reduce(scores, [dims.heads, dims.kv_heads], 1)?;
                pool(&scores, self.kernel, self.pooling)?
            }
            Selector::Random { seed, .. } => {
                // One draw for the whole prompt: a position that no query has.
                let sequences = &[(step.sequence, u32::MAX as usize)];
                Draw { seed, layer: step.layer, heads, sequences, queries: 1 }.scores(candidates, device)?
            }
        };
        // The window has no scores, and needs none: it is forced.
        let mut all = Tensor::uninit(&[heads, dims.keys], DType::F32, device)?;
        columns::copy((&scores).into(), all.cols_mut(0, candidates))?;
        let forced = Forced { first, local: window, counted: true };
        let selection = top_k(&all, &step.lens.slice(0, heads)?, self.k, forced)?;
        Ok(Kept { selection, scores, newest: window })
    }
}

//! MoBA (arXiv 2502.13189, section 2): while the prompt is read, each query reads `k` blocks: its
//! own (causally), and the earlier ones with the largest gate `q . mean(keys of the block)`.
//!
//! Blocks after the query's own are never candidates, and earlier ones are always complete, so
//! the selection does not depend on how the prompt is cut into chunks. Decoding stays dense.
//! `preset=original` forces only the query's own block; with `k=1` that is all it reads (the official
//! code turns k = 1 into full attention).

use std::sync::Arc;

use wane_kernels::ops::attention::{AttentionDims, attention};
use wane_kernels::ops::block_attention;
use wane_kernels::ops::block_summary::{block_means, mean_scores};
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::{Selection, Tensor};

use super::{MethodEntry, budget_in_blocks, forced_blocks};
use crate::grammar::{Key, Kind, Preset, Settings};
use crate::phases::{Pairs, Phases, PrefillPhase, PrefillStep};
use crate::probe::{Probe, locked};
use crate::selector::{
    BUDGET, COUNT_FORCED, DENSE_LAYERS, Draw, PRESETS, SEED, SELECTOR, SHARE_HELP, SHARES, Selector, Share,
};
use crate::{Choice, Observation, Phase, PromptQueries, Result, Unit};

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "moba",
    summary: "prompt queries read the blocks whose mean key they match best",
    paper: "arXiv 2502.13189",
    phases: &[Phase::Prefill],
    keys: &[
        Key { name: "block", kind: Kind::AtLeast(1), default: Some("64"), help: "positions per block" },
        Key { name: "k", kind: Kind::AtLeast(1), default: Some("16"), help: "blocks each query reads" },
        BUDGET,
        Key { name: "first", kind: Kind::AtLeast(0), default: Some("1"), help: "first blocks, always read" },
        Key { name: "local", kind: Kind::AtLeast(1), default: Some("1"), help: "newest blocks, always read" },
        COUNT_FORCED,
        DENSE_LAYERS,
        Key { name: "share", kind: SHARES, default: Some("q_head"), help: SHARE_HELP },
        SELECTOR,
        SEED,
        Key {
            name: "preset",
            kind: PRESETS,
            default: Some("paper"),
            help: "original: first=0, block=4096, k=12",
        },
    ],
    presets: &[
        Preset { name: "paper", values: &[] },
        Preset { name: "original", values: &[("first", "0"), ("block", "4096"), ("k", "12")] },
    ],
    budget: Some(budget_in_blocks),
    build,
};

#[derive(Debug)]
struct Moba {
    block: usize,
    k: usize,
    forced: Forced,
    dense_layers: usize,
    share: Share,
    selector: Selector,
}

fn build(settings: &Settings) -> Result<Phases> {
    let selector = Selector::of(settings);
    let forced = forced_blocks(settings, selector)?;
    let method = Moba {
        block: settings.count("block"),
        k: settings.count("k"),
        forced,
        dense_layers: settings.count("dense_layers"),
        share: Share::of(settings),
        selector,
    };
    Ok(Phases { prefill: Some(Arc::new(method)), ..Phases::default() })
}

impl PrefillPhase for Moba {
    fn attend(&self, step: &PrefillStep<'_>) -> Result<Tensor> {
        let dims = step.dims;
        let blocks = dims.keys.div_ceil(self.block);
        if step.layer < self.dense_layers {
            return Ok(attention(step.q, step.k, step.v, dims)?.output);
        }
        if blocks <= self.k && step.probe.is_none() {
            return Ok(attention(step.q, step.k, step.v, dims)?.output);
        }
        let (selection, scores) = self.select(step, blocks)?;
        if let Some(probe) = step.probe {
            self.report(step, &selection, &scores, &mut *locked(probe))?;
        }
        if blocks <= self.k {
            return Ok(attention(step.q, step.k, step.v, dims)?.output);
        }
        Ok(block_attention::prefill(step.q, step.k, step.v, &selection, self.block, dims)?)
    }

    fn pairs(&self, layer: usize, len: usize) -> Pairs {
        if layer < self.dense_layers || len.div_ceil(self.block) <= self.k {
            return Pairs::causal(len);
        }
        let reads = if self.forced.counted { self.k } else { self.k + self.forced.first + self.forced.local };
        let mut pairs = Pairs::default();
        for (number, start) in (0..len).step_by(self.block).enumerate() {
            // Each query of a block reads it up to itself, and of the blocks before as many as it may.
            let queries = self.block.min(len - start);
            let before = number.min(reads - 1) * self.block;
            pairs.attended += (queries * before + queries * (queries + 1) / 2) as u64;
            if matches!(self.selector, Selector::Own) {
                pairs.scored += (queries * (number + 1)) as u64;
            }
        }
        pairs
    }
}

impl Moba {
    /// Tells a probe what was selected, and by which scores for the chunk's last query.
    fn report(
        &self,
        step: &PrefillStep<'_>,
        selection: &Selection,
        scores: &Tensor,
        probe: &mut dyn Probe,
    ) -> Result<()> {
        let AttentionDims { queries, keys, heads, .. } = step.dims;
        let skip = match probe.prompt_queries() {
            PromptQueries::All => 0,
            PromptQueries::Last => queries - 1,
        };
        let width = selection.indices.width();
        let (indices, counts) = (selection.indices.to_i32_vec()?, selection.counts.to_i32_vec()?);
        let row = |row: usize| indices[row * width..][..counts[row] as usize].to_vec();
        let rows = |head: usize| (skip..queries).map(|query| row(head * queries + query)).collect();
        let selectors = scores.rows() / queries;
        let last: Vec<Tensor> = (0..selectors)
            .map(|head| Ok(scores.slice((head + 1) * queries - 1, (head + 1) * queries)?))
            .collect::<Result<_>>()?;
        let candidates = (keys - 1) / self.block + 1;
        let mut choice =
            Choice { candidates, forced: [self.forced.first, self.forced.local], scores: Vec::new() };
        for row in &last {
            let selected = counts[queries - 1] as usize;
            choice.scores.extend(Choice::new(candidates, selected, choice.forced, row)?.scores);
        }
        probe.observe(Observation {
            sequence: step.sequence,
            layer: step.layer,
            phase: Phase::Prefill,
            position: keys - queries + skip,
            unit: Unit::Block(self.block),
            indices: (0..heads).map(rows).collect(),
            choice,
        });
        Ok(())
    }

    /// Rows (query head, query); and the scores behind it, rows (selecting head, query).
    fn select(&self, step: &PrefillStep<'_>, blocks: usize) -> Result<(Selection, Tensor)> {
        let dims = step.dims;
        let device = step.q.device();
        let heads = self.share.selectors(dims.heads, dims.kv_heads);
        let first = dims.keys - dims.queries;
        let scores = match self.selector {
            Selector::Own => {
                let means = block_means(step.k, dims.kv_heads, self.block)?;
                self.share.reduce(mean_scores(step.q, &means)?, [dims.heads, dims.kv_heads], dims.queries)?
            }
            Selector::Random { seed, .. } => {
                let sequences = &[(step.sequence, first)];
                Draw { seed, layer: step.layer, heads, sequences, queries: dims.queries }
                    .scores(blocks, device)?
            }
        };
        let visible: Vec<i32> =
            (0..heads).flat_map(|_| first..dims.keys).map(|p| (p / self.block + 1) as i32).collect();
        let visible = Tensor::from_i32(&visible, &[heads * dims.queries], device)?;
        let selection = top_k(&scores, &visible, self.k, self.forced)?;
        let selection = match heads == dims.heads {
            true => selection,
            false => repeat(&selection, dims.heads / heads, dims.queries)?,
        };
        Ok((selection, scores))
    }
}

/// A selection per KV head as one per query head: each run of `queries` rows `group` times.
fn repeat(selection: &Selection, group: usize, queries: usize) -> Result<Selection> {
    let device = selection.indices.device();
    let (indices, counts) = (selection.indices.to_i32_vec()?, selection.counts.to_i32_vec()?);
    let width = selection.indices.width();
    let spread = |values: &[i32], run: usize| -> Vec<i32> {
        values.chunks(run).flat_map(|chunk| (0..group).flat_map(|_| chunk.iter().copied())).collect()
    };
    let rows = counts.len() * group;
    Ok(Selection {
        indices: Tensor::from_i32(&spread(&indices, (queries * width).max(1)), &[rows, width], device)?,
        counts: Tensor::from_i32(&spread(&counts, queries), &[rows], device)?,
    })
}

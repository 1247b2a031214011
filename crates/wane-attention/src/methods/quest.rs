//! Quest (arXiv 2406.10774, section 3): at each decode step, read the `k` blocks of cached rows with
//! the largest upper bound of `q . key`, `U_b = sum_i max(q_i min_bi, q_i max_bi)`, where `min` and `max`
//! are taken per channel over the block's keys. The newest row is in the summaries before it is
//! scored. The prompt is read densely.
//!
//! Presets: `paper` forces the first and the newest block and applies to all layers (arXiv 2605.28640);
//! `original` is the official kernels' behaviour (newest block only, two dense layers, each query head
//! for itself); `original_python` is the official evaluation code: nothing is forced, and it reads
//! `max(3, floor(min(n, k block) / block))` blocks, which may leave rows out even when all would fit.

use std::sync::Arc;

use wane_kernels::ops::block_summary::{quest_scores, update_min_max};
use wane_kernels::ops::top_k::{Forced, top_k};
use wane_kernels::{DType, Selection, Tensor};

use super::{MethodEntry, budget_in_blocks, forced_blocks};
use crate::grammar::{Key, Kind, Preset, Settings};
use crate::phases::{BlockReads, DecodePhase, DecodeStep, LayerSelector, LayerStart, Phases};
use crate::probe::selection_rows;
use crate::selector::{
    BUDGET, COUNT_FORCED, DENSE_LAYERS, Draw, SEED, SELECTOR, SHARE_HELP, SHARES, Selector, Share,
};
use crate::{Phase, Result};

pub(super) const ENTRY: MethodEntry = MethodEntry {
    name: "quest",
    summary: "decode steps read the blocks with the largest bound on query-key products",
    paper: "arXiv 2406.10774",
    phases: &[Phase::Decode],
    keys: &[
        Key { name: "block", kind: Kind::AtLeast(1), default: Some("64"), help: "rows per block" },
        Key { name: "k", kind: Kind::AtLeast(1), default: Some("16"), help: "blocks each step reads" },
        BUDGET,
        Key { name: "first", kind: Kind::AtLeast(0), default: Some("1"), help: "first blocks, always read" },
        Key { name: "local", kind: Kind::AtLeast(0), default: Some("1"), help: "newest blocks, always read" },
        COUNT_FORCED,
        DENSE_LAYERS,
        Key { name: "share", kind: SHARES, default: Some("group_sum"), help: SHARE_HELP },
        Key {
            name: "sparse_from",
            kind: Kind::Choice(&["first_generated", "question"]),
            default: Some("first_generated"),
            help: "question: the question's tokens already go through sparse decode steps",
        },
        SELECTOR,
        SEED,
        Key {
            name: "preset",
            kind: Kind::Choice(&["paper", "original", "original_python"]),
            default: Some("paper"),
            help: "original: block=16, k=32, first=0, dense_layers=2, share=q_head; original_python: also local=0 and the evaluation code's k",
        },
    ],
    presets: &[
        Preset { name: "paper", values: &[] },
        Preset {
            name: "original",
            values: &[
                ("block", "16"),
                ("k", "32"),
                ("first", "0"),
                ("dense_layers", "2"),
                ("share", "q_head"),
            ],
        },
        Preset {
            name: "original_python",
            values: &[
                ("block", "16"),
                ("k", "32"),
                ("first", "0"),
                ("local", "0"),
                ("dense_layers", "2"),
                ("share", "q_head"),
            ],
        },
    ],
    budget: Some(budget_in_blocks),
    build,
};

#[derive(Debug, Clone, Copy)]
struct Quest {
    block: usize,
    k: usize,
    forced: Forced,
    dense_layers: usize,
    share: Share,
    selector: Selector,
    evaluation_code: bool,
}

fn build(settings: &Settings) -> Result<Phases> {
    let selector = Selector::of(settings);
    let evaluation_code = settings.is("preset", "original_python");
    if settings.count("local") == 0 && !evaluation_code {
        return Err(settings
            .error("local", "the newest block must be read (only preset=original_python does without)"));
    }
    let forced = forced_blocks(settings, selector)?;
    let method = Quest {
        block: settings.count("block"),
        k: settings.count("k"),
        forced,
        dense_layers: settings.count("dense_layers"),
        share: Share::of(settings),
        selector,
        evaluation_code,
    };
    Ok(Phases { decode: Some(Arc::new(method)), ..Phases::default() })
}

impl DecodePhase for Quest {
    fn start_layer(&self, start: &LayerStart<'_>) -> Result<Option<Box<dyn LayerSelector>>> {
        if start.layer < self.dense_layers {
            return Ok(None);
        }
        let (kv, schedule) = (start.kv, start.schedule);
        let device = kv.table.device();
        let max_blocks = schedule.max_len().div_ceil(self.block);
        let mut summary = Tensor::uninit(&[kv.lanes(), max_blocks, 2, kv.head_dim], DType::F32, device)?;
        if self.selector == Selector::Own {
            update_min_max(kv, self.block, &vec![0; kv.lanes()], &mut summary)?;
        }
        // Blocks of every selector at every coming step.
        let selectors = self.share.selectors(start.config.heads, kv.kv_heads);
        let valid = schedule.blocks(self.block, selectors / kv.kv_heads)?;
        Ok(Some(Box::new(QuestLayer { method: *self, summary, valid, selectors })))
    }
}

/// Quest in one layer of a batch.
#[derive(Debug)]
struct QuestLayer {
    method: Quest,
    // f32 [lanes, max_blocks, 2, head_dim]
    summary: Tensor,
    // I32 [steps, sequences * selectors]
    valid: Tensor,
    selectors: usize,
}

impl LayerSelector for QuestLayer {
    fn select(&mut self, step: &DecodeStep<'_>) -> Result<Option<BlockReads>> {
        let Quest { block, forced, selector, share, .. } = self.method;
        let kv = step.kv;
        if selector == Selector::Own {
            update_min_max(kv, block, step.from, &mut self.summary)?;
        }
        if !self.method.evaluation_code && step.lens.iter().all(|len| len.div_ceil(block) <= self.method.k) {
            return Ok(None);
        }
        let scores = match selector {
            Selector::Own => {
                let scores = quest_scores(step.q, &self.summary, kv, block)?;
                share.reduce(scores, [step.heads, kv.kv_heads], 1)?
            }
            Selector::Random { seed, .. } => {
                let sequences: Vec<_> =
                    step.sequences.iter().copied().zip(step.positions.iter().copied()).collect();
                let draw = Draw {
                    seed,
                    layer: step.layer,
                    heads: self.selectors,
                    sequences: &sequences,
                    queries: 1,
                };
                draw.scores(self.summary.dim(1), step.q.device())?
            }
        };
        let rows = step.sequences.len() * self.selectors;
        let valid = self.valid.slice(step.step, step.step + 1)?.reshape(&[rows])?;
        let selection = match self.method.evaluation_code {
            false => top_k(&scores, &valid, self.method.k, forced)?,
            true => self.select_each(step, &scores, &valid)?,
        };
        Ok(Some(BlockReads { selection, block, scores }))
    }

    fn block(&self) -> usize {
        self.method.block
    }

    fn forced(&self) -> [usize; 2] {
        [self.method.forced.first, self.method.forced.local]
    }

    fn summary_bytes(&self, len: usize) -> usize {
        match self.method.selector {
            Selector::Own => len.div_ceil(self.method.block) * 2 * self.summary.width() * DType::F32.size(),
            Selector::Random { .. } => 0,
        }
    }
}

impl QuestLayer {
    /// The evaluation code's k depends on the length; sequences that differ in it are selected
    /// for one by one and put together on the host.
    fn select_each(&self, step: &DecodeStep<'_>, scores: &Tensor, valid: &Tensor) -> Result<Selection> {
        let Quest { block, k, forced, .. } = self.method;
        let lanes = step.kv.kv_heads;
        let budgets: Vec<usize> =
            step.lens.chunks(lanes).map(|lens| (lens[0].min(k * block) / block).max(3)).collect();
        if budgets.iter().all(|&budget| budget == budgets[0]) {
            return Ok(top_k(scores, valid, budgets[0], forced)?);
        }
        let width = budgets.iter().copied().max().unwrap_or(0).min(scores.width());
        let (mut indices, mut counts) = (Vec::new(), Vec::new());
        for (i, &budget) in budgets.iter().enumerate() {
            let (from, to) = (i * self.selectors, (i + 1) * self.selectors);
            let part = top_k(&scores.slice(from, to)?, &valid.slice(from, to)?, budget, forced)?;
            for row in selection_rows(&part)? {
                indices.extend(row.iter().copied().chain(std::iter::repeat(-1)).take(width));
                counts.push(row.len() as i32);
            }
        }
        let device = scores.device();
        Ok(Selection {
            indices: Tensor::from_i32(&indices, &[counts.len(), width], device)?,
            counts: Tensor::from_i32(&counts, &[counts.len()], device)?,
        })
    }
}

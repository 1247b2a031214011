//! The end of a prompt in one layer: the plan's eviction, then the decode method's own rule, as one
//! copy of the surviving rows to fresh pages; the old pages go back to the pool.

use wane_kernels::ops::paged_kv;
use wane_kernels::{Selection, Tensor};

use super::lane::{Lane, PageTable, lane_tensor};
use super::ring::{Ring, RingRule, Rows};
use super::{LayerCache, SequenceCache};
use crate::phases::{EvictStep, Kept};
use crate::probe::locked;
use crate::{Choice, Error, Observation, Phase, Result, Unit};

impl SequenceCache {
    /// The rule by which the decode method drops rows of a layer.
    pub(super) fn ring(&self, layer: usize) -> Option<RingRule> {
        self.phases.decode.as_ref().and_then(|phase| phase.ring(layer))
    }

    /// Ends the prompt in `layer`; `k` [prompt, kv_heads * head_dim] holds all its keys.
    pub(super) fn end_prompt(&mut self, layer: usize, k: &Tensor) -> Result<()> {
        let len = self.layers[layer].seen;
        let mut keep = None;
        if let Some(phase) = self.phases.evict.clone().filter(|phase| phase.evicts(layer, len)) {
            let wanted = phase.query_window();
            let queries = self.layers[layer].last_queries.take();
            let q = match &queries {
                Some(q) if q.rows() >= wanted => q.slice(q.rows() - wanted, q.rows())?,
                _ => {
                    return Err(Error::State(format!(
                        "the eviction looks at the prompt's last {wanted} queries, and {} were kept: set \
                         `keep_queries` to {wanted} for the prefill",
                        queries.map_or(0, |q| q.rows())
                    )));
                }
            };
            let dims = self.dims(wanted, len);
            let kept = phase.keep(&EvictStep { layer, q: &q, k, dims, sequence: self.sequence })?;
            self.report_retained(layer, len, &kept)?;
            keep = Some(kept.rows);
            self.layers[layer].last_queries = queries;
        }
        let ring = self.ring(layer);
        let state = &mut self.layers[layer];
        state.prompt = len;
        state.complete = true;
        if self.config.keep_queries == 0 {
            state.last_queries = None;
        }
        if self.phases.evict.as_ref().is_some_and(|phase| phase.per_query_head(layer)) {
            // Shared pages: nothing is copied before something is written.
            let group = self.config.heads / self.config.kv_heads;
            state.lanes =
                state.lanes.iter().flat_map(|lane| std::iter::repeat_n(lane.clone(), group)).collect();
        }
        if keep.is_some() || ring.is_some() {
            self.compact(layer, keep.as_deref(), ring)?;
        }
        self.layers[layer].retained = keep;
        Ok(())
    }

    /// Copies what `keep` and the rule leave to fresh pages.
    fn compact(&mut self, layer: usize, keep: Option<&[Vec<i32>]>, rule: Option<RingRule>) -> Result<()> {
        let pool = &self.config.pool;
        let LayerCache { lanes, prompt, .. } = &self.layers[layer];
        let count = lanes.len();
        let (mut to, mut rows) = (vec![Lane::default(); count], Vec::with_capacity(count));
        for (i, lane) in to.iter_mut().enumerate() {
            let all = keep.map_or_else(|| (0..*prompt as i32).collect(), |keep| keep[i].clone());
            let held: Vec<i32> = match rule {
                Some(rule) => rule.held(all.len()).into_iter().map(|row| all[row]).collect(),
                None => all.clone(),
            };
            lane.reserve(pool, 0, held.len())?;
            lane.rows = Rows { len: held.len(), ring: rule.map(|rule| Ring::new(rule, all.len())) };
            rows.push(held);
        }
        let width = rows.iter().map(Vec::len).max().unwrap_or(0);
        let padded: Vec<i32> = rows
            .iter()
            .flat_map(|row| row.iter().copied().chain(std::iter::repeat(-1)).take(width))
            .collect();
        let counts = lane_tensor(rows.iter().map(Vec::len), pool.device())?;
        let selection = Selection {
            indices: Tensor::from_i32(&padded, &[count, width], pool.device())?,
            counts: counts.clone(),
        };
        let from_lens = lane_tensor(vec![*prompt; count], pool.device())?;
        let from = PageTable::new(lanes, count, pool)?;
        let to_table = PageTable::new(&to, count, pool)?;
        paged_kv::compact(from.view(&from_lens, *prompt), &selection, to_table.view(&counts, width))?;
        self.layers[layer].lanes = to;
        Ok(())
    }

    fn report_retained(&self, layer: usize, prompt: usize, kept: &Kept) -> Result<()> {
        let Some(probe) = &self.probe else { return Ok(()) };
        let group = self.config.heads / kept.rows.len();
        let observation = Observation {
            sequence: self.sequence,
            layer,
            phase: Phase::AfterPrefill,
            position: prompt,
            unit: Unit::Position,
            indices: (0..self.config.heads).map(|head| vec![kept.rows[head / group].clone()]).collect(),
            choice: Choice::new(prompt, kept.rows[0].len(), [0, kept.newest], &kept.scores)?,
        };
        locked(probe).observe(observation);
        Ok(())
    }
}

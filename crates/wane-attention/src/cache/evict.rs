//! The end of a prompt: the plan's eviction, then the decode method's own rule, as one copy of the
//! surviving rows of each layer to fresh pages; the old pages go back to the pool.
//!
//! How many rows survive is known before anything is computed, so the pages of all layers are taken first
//! and everything that operators need goes to the device in one copy. Nothing waits for the device, except
//! to tell a probe and where rows of an eviction are dropped by a rule (SnapKV with streaming).

use std::sync::Arc;

use wane_kernels::ops::cast::cast;
use wane_kernels::ops::paged_kv;
use wane_kernels::{Selection, Tensor};

use super::lane::{Lane, PageTable};
use super::retained::Retained;
use super::ring::{Ring, RingRule, Rows};
use super::words::{Part, Uploaded, Words};
use super::{LayerCache, SequenceCache};
use crate::phases::{EvictPhase, EvictStep, Kept};
use crate::probe::locked;
use crate::{Choice, Error, Observation, Phase, Result, Unit};

/// A layer that loses rows, worked out on the host.
#[derive(Debug)]
struct Ending {
    layer: usize,
    stays: Stays,
    to: Vec<Lane>,
    // Rows of each lane of `to`.
    count: usize,
    // I32 [lanes]: `count` for each, and [query heads]: the prompt's length for each.
    counts: Part,
    lens: Part,
    from_table: Part,
    to_table: Part,
    // One lane per KV head.
    key_table: Part,
}

/// What says which rows stay.
#[derive(Debug)]
enum Stays {
    /// The eviction chooses; of what it leaves, the rule leaves these row numbers.
    Chosen(Arc<dyn EvictPhase>, Option<Vec<usize>>),
    /// The rule alone: I32 [lanes, count].
    ByRule(Part),
}

impl SequenceCache {
    /// The rule by which the decode method drops rows of a layer.
    pub(super) fn ring(&self, layer: usize) -> Option<RingRule> {
        self.phases.decode.as_ref().and_then(|phase| phase.ring(layer))
    }

    /// Ends the prompt in these layers. `k` [prompt, kv_heads * head_dim] holds all keys if it is one layer
    /// whose keys are at hand; else they are taken from the pages.
    pub(super) fn end_prompt(&mut self, layers: &[usize], k: Option<&Tensor>) -> Result<()> {
        let mut words = Words::default();
        let mut endings = Vec::new();
        for &layer in layers {
            endings.extend(self.plan_ending(layer, &mut words)?);
        }
        if !endings.is_empty() {
            let uploaded = words.upload(self.config.pool.device())?;
            for ending in endings {
                self.end_layer(ending, &uploaded, k)?;
            }
        }
        if self.config.keep_queries == 0 {
            layers.iter().for_each(|&layer| self.layers[layer].last_queries = None);
        }
        Ok(())
    }

    /// Takes the pages that a layer needs, and says what the device must know; `None` if all rows stay.
    fn plan_ending(&mut self, layer: usize, words: &mut Words) -> Result<Option<Ending>> {
        let config = self.config.clone();
        let len = self.layers[layer].seen;
        let evict = self.phases.evict.clone();
        let per_query_head = evict.as_ref().is_some_and(|phase| phase.per_query_head(layer));
        // The eviction that takes place, and how many rows it leaves.
        let evict = evict.and_then(|phase| Some((phase.keeps(layer, len)?, phase)));
        if evict.is_some() {
            // Refused before anything changes if the queries are missing.
            self.window_queries(layer)?;
        }
        let rule = self.ring(layer);
        let state = &mut self.layers[layer];
        state.prompt = len;
        state.complete = true;
        state.retained = None;
        state.lanes.iter_mut().for_each(Lane::seal);
        let key_lanes = state.lanes.clone();
        if per_query_head {
            // Shared pages: nothing is copied before something is written.
            let group = config.heads / config.kv_heads;
            state.lanes =
                state.lanes.iter().flat_map(|lane| std::iter::repeat_n(lane.clone(), group)).collect();
        }
        let lanes = state.lanes.len();
        let kept = evict.as_ref().map_or(len, |(kept, _)| *kept);
        let held = rule.map(|rule| rule.held(kept));
        let count = held.as_ref().map_or(kept, Vec::len);
        let stays = match (evict, held) {
            (Some((_, phase)), held) => Stays::Chosen(phase, held),
            (None, Some(held)) => {
                let values = (0..lanes).flat_map(|_| held.iter().map(|&row| row as i32));
                Stays::ByRule(words.push(&[lanes, count], values))
            }
            (None, None) => return Ok(None),
        };
        let rows = Rows { len: count, ring: rule.map(|rule| Ring::new(rule, kept)) };
        let mut to = vec![Lane::with_rows(rows); lanes];
        for lane in &mut to {
            lane.extend(&config.pool, count)?;
        }
        let from_table = PageTable::part(&state.lanes, words);
        let key_table = if per_query_head { PageTable::part(&key_lanes, words) } else { from_table.clone() };
        Ok(Some(Ending {
            layer,
            stays,
            count,
            counts: words.push_equal(count, lanes),
            lens: words.push_equal(len, config.heads),
            from_table,
            to_table: PageTable::part(&to, words),
            key_table,
            to,
        }))
    }

    /// Selects and copies what stays in a layer.
    fn end_layer(&mut self, ending: Ending, uploaded: &Uploaded, k: Option<&Tensor>) -> Result<()> {
        let Ending { layer, count, .. } = ending;
        let (pool, lanes) = (self.config.pool.clone(), ending.to.len());
        let prompt = self.layers[layer].prompt;
        let lens = uploaded.part(&ending.lens)?;
        let counts = uploaded.part(&ending.counts)?;
        let selection = match &ending.stays {
            Stays::Chosen(phase, held) => {
                let k = match k {
                    Some(k) => k.clone(),
                    None => self.cached_keys(layer, uploaded.part(&ending.key_table)?, &lens)?,
                };
                let selected = self.select_kept(layer, &**phase, &k, &lens)?;
                match held {
                    None => selected,
                    Some(held) => self.compose(layer, held)?,
                }
            }
            Stays::ByRule(indices) => Selection { indices: uploaded.part(indices)?, counts: counts.clone() },
        };
        let lens = lens.slice(0, lanes)?;
        let from = PageTable::at(uploaded.part(&ending.from_table)?, lanes, &pool);
        let to = PageTable::at(uploaded.part(&ending.to_table)?, lanes, &pool);
        paged_kv::compact(from.view(&lens, prompt), &selection, to.view(&counts, count))?;
        self.layers[layer].lanes = ending.to;
        Ok(())
    }

    /// Asks the eviction what stays in a layer, notes it and tells the probe.
    fn select_kept(
        &mut self,
        layer: usize,
        phase: &dyn EvictPhase,
        k: &Tensor,
        lens: &Tensor,
    ) -> Result<Selection> {
        let q = self.window_queries(layer)?;
        let LayerCache { lanes, prompt, .. } = &self.layers[layer];
        let prompt = *prompt;
        let expected = [lanes.len(), phase.keeps(layer, prompt).unwrap_or(prompt)];
        let dims = self.dims(q.rows(), prompt);
        let kept = phase.keep(&EvictStep { layer, q: &q, k, dims, sequence: self.sequence, lens })?;
        if kept.selection.indices.shape() != expected {
            return Err(Error::State(format!(
                "expected an eviction that keeps {expected:?} [lanes, rows], got {:?}",
                kept.selection.indices
            )));
        }
        let retained = Arc::new(Retained::new(kept.selection.indices.clone()));
        self.report_retained(layer, &retained, &kept)?;
        self.layers[layer].retained = Some(retained);
        Ok(kept.selection)
    }

    /// What is left where a rule drops rows of an eviction. Waits for the device.
    fn compose(&self, layer: usize, held: &[usize]) -> Result<Selection> {
        let retained = self.layers[layer].retained.as_ref().map_or(Ok(&[][..]), |kept| kept.rows())?;
        let mut words = Words::default();
        let rows = retained.iter().flat_map(|row| held.iter().map(|&place| row[place]));
        let indices = words.push(&[retained.len(), held.len()], rows);
        let counts = words.push_equal(held.len(), retained.len());
        let uploaded = words.upload(self.config.pool.device())?;
        Ok(Selection { indices: uploaded.part(&indices)?, counts: uploaded.part(&counts)? })
    }

    /// All keys of a layer out of its pages, [prompt, kv_heads * head_dim] in the queries' type.
    fn cached_keys(&self, layer: usize, table: Tensor, lens: &Tensor) -> Result<Tensor> {
        let LayerCache { prompt, last_queries, .. } = &self.layers[layer];
        let kv_heads = self.config.kv_heads;
        let lens = lens.slice(0, kv_heads)?;
        let table = PageTable::at(table, kv_heads, &self.config.pool);
        let (k, _) = paged_kv::gather(table.view(&lens, *prompt), 0, *prompt)?;
        let dtype = last_queries.as_ref().map_or(k.dtype(), Tensor::dtype);
        Ok(cast(&k, dtype)?)
    }

    /// The queries that the eviction looks at, [window, heads * head_dim].
    fn window_queries(&self, layer: usize) -> Result<Tensor> {
        let wanted = self.phases.evict.as_ref().map_or(0, |phase| phase.query_window());
        match &self.layers[layer].last_queries {
            Some(q) if q.rows() >= wanted => Ok(q.slice(q.rows() - wanted, q.rows())?),
            queries => Err(Error::State(format!(
                "the eviction looks at the prompt's last {wanted} queries, and {} were kept: set \
                 `keep_queries` to {wanted} for the prefill",
                queries.as_ref().map_or(0, Tensor::rows)
            ))),
        }
    }

    fn report_retained(&self, layer: usize, retained: &Retained, kept: &Kept) -> Result<()> {
        let Some(probe) = &self.probe else { return Ok(()) };
        let (rows, prompt) = (retained.rows()?, self.layers[layer].prompt);
        let group = self.config.heads / rows.len();
        let observation = Observation {
            sequence: self.sequence,
            layer,
            phase: Phase::AfterPrefill,
            position: prompt,
            unit: Unit::Position,
            indices: (0..self.config.heads).map(|head| vec![rows[head / group].clone()]).collect(),
            choice: Choice::new(prompt, retained.count(), [0, kept.newest], &kept.scores)?,
        };
        locked(probe).observe(observation);
        Ok(())
    }
}

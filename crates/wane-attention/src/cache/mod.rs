//! The cache of one sequence: pages of keys and values per layer and KV head, the memory state of
//! each layer, the sequence's true position (kept apart from the number of cached rows), and the
//! plan that decides what is read and kept.
//!
//! A prompt comes in one chunk or several, layer by layer ([`SequenceCache::prefill_layer`]); with
//! its last chunk each layer evicts at once, so that the cache never holds more than one dense
//! layer of an evicting plan. Forks share pages until one of them writes. Keys arrive rotated.

mod evict;
mod fork;
pub(crate) mod lane;
mod prefill;
mod retained;
pub mod ring;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::sync::Arc;

use wane_kernels::{DType, PagePool, Tensor};

use crate::phases::Phases;
use crate::{Error, Plan, Result, SharedProbe};
use lane::Lane;
use retained::Retained;

pub use prefill::Outputs;

/// The shape of the model as the cache sees it.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Factor of the scores, usually `head_dim^-0.5`.
    pub scale: f32,
    /// Tokens that budgets such as `1/16` are fractions of (prompt and generated ones).
    pub context: usize,
    /// How many of a prompt's last queries to keep so that plans which need them can fork from
    /// this prefill; 0 unless such forks are planned.
    pub keep_queries: usize,
    /// Where the pages come from: decides device, dtype and head_dim.
    pub pool: Arc<PagePool>,
}

impl CacheConfig {
    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.pool.head_dim()
    }

    fn check(&self) -> Result<()> {
        if self.kv_heads == 0 || !self.heads.is_multiple_of(self.kv_heads) || self.head_dim() == 0 {
            return Err(Error::State(format!(
                "expected KV heads that divide the query heads, got {} and {} of {} elements",
                self.kv_heads,
                self.heads,
                self.head_dim()
            )));
        }
        Ok(())
    }
}

/// Queries, keys and values of one layer, after the rotation.
#[derive(Debug, Clone, Copy)]
pub struct Qkv<'a> {
    /// [n, heads * head_dim].
    pub q: &'a Tensor,
    /// [n, kv_heads * head_dim].
    pub k: &'a Tensor,
    /// [n, kv_heads * head_dim].
    pub v: &'a Tensor,
}

/// Whether more of the prompt follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// More chunks follow.
    More,
    /// The prompt ends here: what the plan evicts goes now.
    Last,
}

/// One layer of a sequence's cache.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerCache {
    // One per KV head, or one per query head after an eviction with `share=q_head`.
    pub(crate) lanes: Vec<Lane>,
    // Tokens that went through this layer.
    pub(crate) seen: usize,
    // [<= window, heads * head_dim]
    pub(crate) last_queries: Option<Tensor>,
    // Positions that an eviction kept, for each lane.
    pub(crate) retained: Option<Arc<Retained>>,
    // f32 [1, 2, width]
    pub(crate) memory: Option<Tensor>,
    // Tokens of the prompt when it ended.
    pub(crate) prompt: usize,
    // Whether the prompt is over.
    pub(crate) complete: bool,
}

impl LayerCache {
    /// True positions of the rows that lane `lane` holds, ascending. Waits for the device after an eviction.
    pub(crate) fn positions(&self, lane: usize, rows: &[usize]) -> Result<Vec<i32>> {
        let Some(retained) = &self.retained else {
            return Ok(rows.iter().map(|&row| row as i32).collect());
        };
        let kept = &retained.rows()?[lane];
        // Rows after the retained ones are the tokens after the prompt, in order.
        let beyond = |row: usize| (self.prompt + row - kept.len()) as i32;
        Ok(rows.iter().map(|&row| kept.get(row).copied().unwrap_or_else(|| beyond(row))).collect())
    }
}

/// The cache of one sequence; see the module.
#[derive(Debug, Clone)]
pub struct SequenceCache {
    pub(crate) config: Arc<CacheConfig>,
    pub(crate) plan: Plan,
    pub(crate) phases: Phases,
    pub(crate) sequence: u32,
    pub(crate) layers: Vec<LayerCache>,
    pub(crate) probe: Option<SharedProbe>,
    // Decode steps taken.
    pub(crate) decoded: usize,
}

impl SequenceCache {
    /// An empty cache. `sequence` numbers the sequence for random selectors and probes (a sample's
    /// index, say), so that draws do not depend on the batch it runs in.
    ///
    /// # Errors
    /// Head counts that do not fit; a budget that is too small for the context.
    pub fn new(plan: &Plan, config: &Arc<CacheConfig>, sequence: u32) -> Result<Self> {
        config.check()?;
        let plan = plan.resolve(config.context)?;
        let phases = plan.phases()?;
        let layer = LayerCache { lanes: vec![Lane::default(); config.kv_heads], ..LayerCache::default() };
        Ok(Self {
            config: config.clone(),
            plan,
            phases,
            sequence,
            layers: vec![layer; config.layers],
            probe: None,
            decoded: 0,
        })
    }

    /// Shape of the model.
    pub fn config(&self) -> &Arc<CacheConfig> {
        &self.config
    }

    /// The plan, budgets resolved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The sequence's number.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Tokens that went through all layers: the position of the next one. Evictions don't change it.
    pub fn position(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.seen)
    }

    /// Reports selections to `probe` from now on.
    pub fn set_probe(&mut self, probe: Option<SharedProbe>) {
        self.probe = probe;
    }

    /// The memory after the last token, f32 [1, 2, width] before the rotation; `None` at the start.
    pub fn memory_state(&self, layer: usize) -> Option<&Tensor> {
        self.layers[layer].memory.as_ref()
    }

    /// Replaces the memory, f32 [1, 2, width]. No eviction touches it.
    pub fn set_memory_state(&mut self, layer: usize, state: Tensor) {
        self.layers[layer].memory = Some(state);
    }

    /// Cached rows of each KV head (query head after an eviction with `share=q_head`).
    pub fn cached_rows(&self, layer: usize) -> Vec<usize> {
        self.layers[layer].lanes.iter().map(|lane| lane.rows.len).collect()
    }

    /// Positions that an eviction kept, for each lane of the layer; `None` if none took place. They are on
    /// the device: the first call waits for it.
    ///
    /// # Errors
    /// The copy failed.
    pub fn retained(&self, layer: usize) -> Result<Option<&[Vec<i32>]>> {
        self.layers[layer].retained.as_ref().map(|retained| retained.rows()).transpose()
    }

    /// The prompt's last queries in a layer, [at least `keep_queries` if there were so many, heads * head_dim];
    /// `None` before the prompt and if none were to be kept.
    pub fn last_queries(&self, layer: usize) -> Option<&Tensor> {
        self.layers[layer].last_queries.as_ref()
    }

    /// All keys of a layer, after the rotation, f32 [position, kv_heads * head_dim].
    ///
    /// # Errors
    /// Rows were dropped.
    pub fn keys(&self, layer: usize) -> Result<Tensor> {
        let LayerCache { lanes, seen, .. } = &self.layers[layer];
        if lanes.len() != self.config.kv_heads || lanes.iter().any(|lane| lane.rows.len < *seen) {
            return Err(Error::State(format!("`{}` has dropped some of the keys", self.plan)));
        }
        Ok(self.gather(layer, *seen, DType::F32)?.0)
    }

    /// Bytes of the pages of this sequence, those shared with forks included.
    pub fn resident_bytes(&self) -> usize {
        let pages: usize = self.layers.iter().flat_map(|layer| &layer.lanes).map(Lane::num_pages).sum();
        pages * self.config.pool.page_bytes()
    }
}

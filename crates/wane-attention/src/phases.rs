//! The three questions a sparse method may answer, as traits. Each is optional, so that methods
//! compose: whoever answers none of them leaves the computation dense.
//!
//! | phase | question |
//! |---|---|
//! | prefill | which blocks may each query of the prompt read? |
//! | after prefill | which entries stay in the cache? |
//! | decode | which entries does this step read (and may drop)? |

use std::fmt;
use std::sync::Arc;

use wane_kernels::ops::attention::AttentionDims;
use wane_kernels::{KvView, Selection, Tensor};

use crate::batch::schedule::Schedule;
use crate::cache::ring::RingRule;
use crate::{CacheConfig, Result, SharedProbe};

/// When a method decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// While the prompt is read.
    Prefill,
    /// Once, at the end of the prompt.
    AfterPrefill,
    /// At every generated token.
    Decode,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefill => "prefill",
            Self::AfterPrefill => "after-prefill",
            Self::Decode => "decode",
        })
    }
}

/// The phases that a plan's methods answer.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    /// Which blocks the prompt's queries read.
    pub prefill: Option<Arc<dyn PrefillPhase>>,
    /// What stays after the prompt.
    pub evict: Option<Arc<dyn EvictPhase>>,
    /// What a decode step reads.
    pub decode: Option<Arc<dyn DecodePhase>>,
}

/// One layer's attention over a chunk of the prompt.
#[derive(Debug)]
pub struct PrefillStep<'a> {
    /// Layer.
    pub layer: usize,
    /// [queries, heads * head_dim]: the chunk.
    pub q: &'a Tensor,
    /// [keys, kv_heads * head_dim]: everything so far, the chunk included.
    pub k: &'a Tensor,
    /// As `k`.
    pub v: &'a Tensor,
    /// Sizes; the pattern is causal.
    pub dims: AttentionDims,
    /// Number of the sequence, for random selectors.
    pub sequence: u32,
    /// Who watches.
    pub probe: Option<&'a SharedProbe>,
}

/// Decides what the prompt's queries read.
pub trait PrefillPhase: fmt::Debug + Send + Sync {
    /// Attention output [queries, heads * head_dim].
    ///
    /// # Errors
    /// An operator failed.
    fn attend(&self, step: &PrefillStep<'_>) -> Result<Tensor>;

    /// What one query head multiplies in one layer while a prompt of `len` tokens is read.
    fn pairs(&self, layer: usize, len: usize) -> Pairs;
}

/// Products of vectors of one head over a whole prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairs {
    /// (query, key) pairs that are attended: a product with the key and one with the value.
    pub attended: u64,
    /// Products with summaries (or keys) that serve selection alone.
    pub scored: u64,
}

impl Pairs {
    /// Of dense causal attention.
    pub fn causal(len: usize) -> Self {
        let n = len as u64;
        Self { attended: n * (n + 1) / 2, scored: 0 }
    }
}

/// The end of the prompt in one layer.
#[derive(Debug)]
pub struct EvictStep<'a> {
    /// Layer.
    pub layer: usize,
    /// [window, heads * head_dim]: the last queries of the prompt.
    pub q: &'a Tensor,
    /// [keys, kv_heads * head_dim]: the whole prompt.
    pub k: &'a Tensor,
    /// Sizes of attention of `q` over `k`.
    pub dims: AttentionDims,
    /// Number of the sequence, for random selectors.
    pub sequence: u32,
    /// I32 \[heads]: the prompt's length for each query head.
    pub lens: &'a Tensor,
}

/// Decides what stays in the cache after the prompt.
pub trait EvictPhase: fmt::Debug + Send + Sync {
    /// How many of the prompt's last queries [`Self::keep`] wants to see.
    fn query_window(&self) -> usize;

    /// How many rows of a prompt of `len` tokens stay in this layer, the same for each head; `None` if it
    /// would not lose any. Pages are taken before [`Self::keep`] has said which rows.
    fn keeps(&self, layer: usize, len: usize) -> Option<usize>;

    /// Whether [`Self::keep`] gives a set of rows per query head. The cache of the layer then has
    /// one for each of them, also where nothing was evicted, so that sequences can decode together.
    fn per_query_head(&self, layer: usize) -> bool;

    /// What to keep for each KV head (or each query head). Must not wait for the device.
    ///
    /// # Errors
    /// An operator failed.
    fn keep(&self, step: &EvictStep<'_>) -> Result<Kept>;
}

/// What stays in the cache after the prompt.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Positions for each KV head (or each query head): [`EvictPhase::keeps`] of them, ascending.
    pub selection: Selection,
    /// f32 [heads that selected, positions that were scored].
    pub scores: Tensor,
    /// How many of the newest positions stay whatever their scores.
    pub newest: usize,
}

/// Decides what a decode step reads.
pub trait DecodePhase: fmt::Debug + Send + Sync {
    /// A rule by which rows really leave the cache, if the method has one.
    fn ring(&self, _layer: usize) -> Option<RingRule> {
        None
    }

    /// What selects in one layer, with its summaries built over the cached rows; `None` reads all.
    ///
    /// # Errors
    /// An operator failed.
    fn start_layer(&self, _start: &LayerStart<'_>) -> Result<Option<Box<dyn LayerSelector>>> {
        Ok(None)
    }
}

/// One layer of a batch whose decoding begins.
#[derive(Debug)]
pub struct LayerStart<'a> {
    /// Layer.
    pub layer: usize,
    /// Shape of the model.
    pub config: &'a CacheConfig,
    /// The cached rows.
    pub kv: KvView<'a>,
    /// Lengths at every coming step.
    pub schedule: &'a Schedule,
}

/// One decode step in one layer; the newest row is already cached.
#[derive(Debug)]
pub struct DecodeStep<'a> {
    /// Layer.
    pub layer: usize,
    /// Number of the step since [`LayerStart`].
    pub step: usize,
    /// [sequences, heads * head_dim].
    pub q: &'a Tensor,
    /// Cached rows, the newest included.
    pub kv: KvView<'a>,
    /// First new row of each lane.
    pub from: &'a [usize],
    /// Rows of each lane, the newest included.
    pub lens: &'a [usize],
    /// Query heads.
    pub heads: usize,
    /// Numbers of the sequences, for random selectors.
    pub sequences: &'a [u32],
    /// True position of each sequence's query.
    pub positions: &'a [usize],
}

/// Blocks that a decode step reads.
#[derive(Debug, Clone)]
pub struct BlockReads {
    /// Rows are (sequence, query head) or (sequence, KV head).
    pub selection: Selection,
    /// Rows per block.
    pub block: usize,
    /// f32 [rows of the selection, blocks]: what it was selected by.
    pub scores: Tensor,
}

/// A decode method at work in one layer of one batch.
pub trait LayerSelector: fmt::Debug + Send {
    /// Takes the newest row into the summaries and selects; `None` reads all rows.
    ///
    /// # Errors
    /// An operator failed.
    fn select(&mut self, step: &DecodeStep<'_>) -> Result<Option<BlockReads>>;

    /// Rows per block.
    fn block(&self) -> usize;

    /// How many of the first and of the newest blocks are always selected.
    fn forced(&self) -> [usize; 2];

    /// Bytes of summaries that a selection over a lane of `len` rows reads.
    fn summary_bytes(&self, len: usize) -> usize;
}

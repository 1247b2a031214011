//! A chunk of the prompt in one layer: append, attend over everything cached, keep the last
//! queries for whoever wants them, and end the prompt with its last chunk.

use wane_kernels::ops::attention::{AttentionDims, Pattern, attention};
use wane_kernels::ops::cast::cast;
use wane_kernels::ops::paged_kv;
use wane_kernels::{DType, Tensor};

use super::lane::{PageCopies, PageTable};
use super::{Chunk, Qkv, SequenceCache};
use crate::phases::PrefillStep;
use crate::{Error, Result};

/// Which of a chunk's positions are of interest beyond their keys and values, which are always cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// All of them.
    All,
    /// The last one: of the last layer, when only the token that follows is asked for.
    LastRow,
}

impl SequenceCache {
    /// Attention of a chunk of the prompt in one layer, by the plan's prefill phase, over everything
    /// cached so far and itself. Layers come in order; the chunks of a layer give the same result as
    /// one chunk. Result [n, heads * head_dim].
    ///
    /// # Errors
    /// Shapes that do not fit; a prompt that goes on after its last chunk under an evicting plan.
    pub fn prefill_layer(&mut self, layer: usize, qkv: Qkv<'_>, chunk: Chunk) -> Result<Tensor> {
        self.prefill_outputs(layer, qkv, chunk, Outputs::All)
    }

    /// Like [`Self::prefill_layer`], but returns the attention of these positions only: with
    /// [`Outputs::LastRow`] [1, heads * head_dim].
    ///
    /// # Errors
    /// As [`Self::prefill_layer`].
    pub fn prefill_outputs(
        &mut self,
        layer: usize,
        qkv: Qkv<'_>,
        chunk: Chunk,
        outputs: Outputs,
    ) -> Result<Tensor> {
        self.check_chunk(layer, qkv)?;
        let queries = qkv.q.rows();
        let before = self.layers[layer].seen;
        let keys = before + queries;
        self.append(layer, qkv, before, keys)?;
        // What is attended to is what later steps will find in the cache, rounding included.
        let (k, v) = match before {
            0 => (self.as_cached(qkv.k)?, self.as_cached(qkv.v)?),
            _ => self.gather(layer, keys, qkv.q.dtype())?,
        };
        let dims = AttentionDims { pattern: Pattern::Causal, ..self.dims(queries, keys) };
        let last = |rows: &Tensor| rows.slice(queries - 1, queries);
        let output = match (&self.phases.prefill, outputs) {
            (None, Outputs::All) => attention(qkv.q, &k, &v, dims)?.output,
            (None, Outputs::LastRow) => {
                attention(&last(qkv.q)?, &k, &v, AttentionDims { queries: 1, ..dims })?.output
            }
            // A method chooses for whole chunks, and a probe may watch what it chooses for each query.
            (Some(phase), _) => phase.attend(&PrefillStep {
                layer,
                q: qkv.q,
                k: &k,
                v: &v,
                dims,
                sequence: self.sequence,
                probe: self.probe.as_ref(),
            })?,
        };
        self.layers[layer].seen = keys;
        self.keep_queries(layer, qkv.q)?;
        if chunk == Chunk::Last {
            self.end_prompt(&[layer], Some(&k))?;
        }
        match outputs {
            Outputs::LastRow if output.rows() > 1 => Ok(last(&output)?),
            _ => Ok(output),
        }
    }

    /// Sizes of attention of the last `queries` of `keys` positions.
    pub(super) fn dims(&self, queries: usize, keys: usize) -> AttentionDims {
        AttentionDims {
            batch: 1,
            queries,
            keys,
            heads: self.config.heads,
            kv_heads: self.config.kv_heads,
            head_dim: self.config.head_dim(),
            scale: self.config.scale,
            pattern: Pattern::Causal,
        }
    }

    /// The first `keys` rows of a layer, contiguous, in `dtype`.
    pub(super) fn gather(&self, layer: usize, keys: usize, dtype: DType) -> Result<(Tensor, Tensor)> {
        let (lanes, pool) = (&self.layers[layer].lanes, &self.config.pool);
        let (table, lens) = PageTable::with_counts(lanes, keys, &PageCopies::default(), pool)?;
        let (k, v) = paged_kv::gather(table.view(&lens, keys), 0, keys)?;
        Ok((cast(&k, dtype)?, cast(&v, dtype)?))
    }

    fn append(&mut self, layer: usize, qkv: Qkv<'_>, before: usize, keys: usize) -> Result<()> {
        let pool = &self.config.pool;
        let lanes = &mut self.layers[layer].lanes;
        let mut copies = PageCopies::default();
        for lane in lanes.iter_mut() {
            lane.reserve(pool, before, keys, &mut copies)?;
            lane.rows.len = keys;
        }
        let (table, start) = PageTable::with_counts(lanes, before, &copies, pool)?;
        Ok(paged_kv::append(table.view(&start, keys), qkv.k, qkv.v, &start)?)
    }

    fn as_cached(&self, x: &Tensor) -> Result<Tensor> {
        Ok(cast(&cast(x, self.config.pool.dtype())?, x.dtype())?)
    }

    fn check_chunk(&self, layer: usize, qkv: Qkv<'_>) -> Result<()> {
        let config = &self.config;
        let (queries, keys) = (config.heads * config.head_dim(), config.kv_heads * config.head_dim());
        let rows = qkv.q.rows();
        let widths = [qkv.q.width(), qkv.k.width(), qkv.v.width()];
        if layer >= config.layers
            || rows == 0
            || [qkv.k.rows(), qkv.v.rows()] != [rows; 2]
            || widths != [queries, keys, keys]
        {
            return Err(Error::State(format!(
                "expected a layer below {} and q [n, {queries}], k and v [n, {keys}], got layer {layer}, {:?}, {:?}, {:?}",
                config.layers, qkv.q, qkv.k, qkv.v
            )));
        }
        let state = &self.layers[layer];
        let evicts = self.phases.evict.is_some() || self.ring(layer).is_some();
        if state.complete && (evicts || self.decoded > 0) {
            return Err(Error::State(format!(
                "the prompt of sequence {} ended at position {}: feed later tokens through decode steps",
                self.sequence, state.seen
            )));
        }
        Ok(())
    }

    /// Keeps the last queries of the prompt, as many as the plan or a later fork wants.
    fn keep_queries(&mut self, layer: usize, q: &Tensor) -> Result<()> {
        let wanted = self.phases.evict.as_ref().map_or(0, |phase| phase.query_window());
        let wanted = wanted.max(self.config.keep_queries);
        if wanted == 0 {
            return Ok(());
        }
        let slot = &mut self.layers[layer].last_queries;
        let rows = q.rows();
        *slot = Some(match slot.take() {
            _ if rows >= wanted => q.slice(rows - wanted, rows)?.duplicate()?,
            None => q.duplicate()?,
            Some(earlier) => {
                // Only when a chunk is shorter than the window.
                let skip = (earlier.rows() + rows).saturating_sub(wanted);
                let mut bytes = earlier.slice(skip, earlier.rows())?.to_bytes()?;
                bytes.extend(q.to_bytes()?);
                let kept = earlier.rows() + rows - skip;
                Tensor::from_bytes(&bytes, &[kept, q.width()], q.dtype(), q.device())?
            }
        });
        Ok(())
    }
}

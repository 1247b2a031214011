//! Prefill of one prompt, one decode step of many sequences, and logits of whole sequences.

use std::sync::Arc;

use wane_attention::{CacheConfig, Chunk, DecodeBatch, Outputs, SequenceCache};
use wane_kernels::ops::attention::Pattern;
use wane_kernels::ops::embedding;
use wane_kernels::ops::linear::linear;
use wane_kernels::ops::rms_norm::rms_norm;
use wane_kernels::{DType, PagePool, Tensor};

use super::Decoder;
use super::block::Attending;
use crate::{Error, Result};

/// Rows of one prefill chunk if nothing else is asked for: large enough for the products to be
/// efficient, small enough that activations stay far below the weights of a large model.
pub const DEFAULT_CHUNK: usize = 4096;

// Rows whose logits exist at once.
const LOGIT_ROWS: usize = 256;

/// Settings of the caches of one model, shared by all its sequences.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// Type of the cached keys and values; `None` is the type of the activations.
    pub dtype: Option<DType>,
    /// Tokens that budgets such as `1/16` are fractions of; `None` is the model's context.
    pub context: Option<usize>,
    /// Last queries of each prompt to keep, so that a dense prefill can be forked into methods
    /// that evict by them (SnapKV's window); 0 if there are no such forks.
    pub keep_queries: usize,
}

impl Decoder {
    /// The shape of this model's caches, and the pool that counts their pages.
    pub fn cache_config(&self, options: CacheOptions) -> Arc<CacheConfig> {
        let config = &self.config;
        let dtype = options.dtype.unwrap_or(self.activation_dtype());
        Arc::new(CacheConfig {
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            scale: (config.head_dim as f32).powf(-0.5),
            context: options.context.unwrap_or(config.max_position_embeddings),
            keep_queries: options.keep_queries,
            pool: PagePool::new(&self.device, dtype, config.head_dim),
        })
    }

    /// Reads a prompt into `cache`, in chunks of at most `chunk` tokens. Returns the logits that
    /// follow its last token, [1, vocabulary].
    ///
    /// # Errors
    /// An empty prompt, a token outside the vocabulary, more tokens than the context.
    pub fn prefill(&self, cache: &mut SequenceCache, ids: &[u32], chunk: usize) -> Result<Tensor> {
        let mut last = None;
        self.prefill_chunks(cache, ids, chunk, Outputs::LastRow, &mut |hidden| {
            last = Some(hidden.slice(hidden.rows() - 1, hidden.rows())?);
            Ok(())
        })?;
        self.head_logits(&last.ok_or_else(empty_prompt)?)
    }

    /// Like [`Self::prefill`], but returns the logits of every position, f32 [tokens, vocabulary] on
    /// the host.
    ///
    /// # Errors
    /// As [`Self::prefill`].
    pub fn prefill_logits(&self, cache: &mut SequenceCache, ids: &[u32], chunk: usize) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(ids.len() * self.config.vocab_size);
        self.prefill_chunks(cache, ids, chunk, Outputs::All, &mut |hidden| {
            for start in (0..hidden.rows()).step_by(LOGIT_ROWS) {
                let rows = hidden.slice(start, (start + LOGIT_ROWS).min(hidden.rows()))?;
                all.extend(self.head_logits(&rows)?.to_f32_vec()?);
            }
            Ok(())
        })?;
        Ok(all)
    }

    // Calls back with the wanted hidden states of every chunk (before the last norm).
    fn prefill_chunks(
        &self,
        cache: &mut SequenceCache,
        ids: &[u32],
        chunk: usize,
        outputs: Outputs,
        on_chunk: &mut dyn FnMut(Tensor) -> Result<()>,
    ) -> Result<()> {
        if ids.is_empty() {
            return Err(empty_prompt());
        }
        self.check_length(cache.position() + ids.len())?;
        let chunks = ids.len().div_ceil(chunk.max(1));
        for (number, ids) in ids.chunks(chunk.max(1)).enumerate() {
            let place = if number + 1 == chunks { Chunk::Last } else { Chunk::More };
            on_chunk(self.on_worker(|| self.chunk_hidden_states(cache, ids, place, outputs))?)?;
        }
        Ok(())
    }

    fn chunk_hidden_states(
        &self,
        cache: &mut SequenceCache,
        ids: &[u32],
        chunk: Chunk,
        outputs: Outputs,
    ) -> Result<Tensor> {
        let start = cache.position();
        let positions: Vec<i32> = (start..start + ids.len()).map(|p| p as i32).collect();
        let positions = Tensor::from_i32(&positions, &[ids.len()], &self.device)?;
        let ids_tensor = self.ids_tensor(ids)?;
        let mut x = embedding::embedding(&ids_tensor, self.weight(self.embedding), self.activation_dtype())?;
        for layer in 0..self.layers.len() {
            let outputs = if layer + 1 == self.layers.len() { outputs } else { Outputs::All };
            let mut attending = Attending::Prefill { cache, chunk, outputs };
            x = self.block_forward(layer, &x, &positions, &mut attending, None)?;
        }
        Ok(x)
    }

    /// One token of every sequence: `tokens[i]` is consumed by sequence `i`. Returns the logits
    /// that follow, [sequences, vocabulary].
    ///
    /// # Errors
    /// Token counts that do not fit, a full context.
    pub fn decode(&self, batch: &mut DecodeBatch, tokens: &[u32]) -> Result<Tensor> {
        self.on_worker(|| self.decode_observed(batch, tokens, &mut |_| {}))
    }

    /// As [`Self::decode`]; `observe` sees the batch after the last layer and before it advances, when
    /// [`DecodeBatch::step_bytes`] tells what the step touched.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_observed(
        &self,
        batch: &mut DecodeBatch,
        tokens: &[u32],
        observe: &mut dyn FnMut(&DecodeBatch),
    ) -> Result<Tensor> {
        if tokens.len() != batch.len() {
            return Err(Error::Invalid(format!("expected {} tokens, got {}", batch.len(), tokens.len())));
        }
        self.check_length(batch.host_positions().iter().max().map_or(0, |p| p + 1))?;
        let x = self.on_worker(|| self.step_hidden_states(batch, tokens))?;
        observe(batch);
        batch.advance()?;
        self.on_worker(|| self.head_logits(&x))
    }

    fn step_hidden_states(&self, batch: &mut DecodeBatch, tokens: &[u32]) -> Result<Tensor> {
        let positions = batch.positions()?;
        let ids = self.ids_tensor(tokens)?;
        let mut x = embedding::embedding(&ids, self.weight(self.embedding), self.activation_dtype())?;
        for layer in 0..self.layers.len() {
            x = self.block_forward(layer, &x, &positions, &mut Attending::Decode { batch }, None)?;
        }
        Ok(x)
    }

    /// Runs `work` on one of the threads that share the operators' work, if the model is on the CPU: an
    /// operator that is called from outside must wake two threads and wait, one that is called from among
    /// them does its part itself.
    pub(super) fn on_worker<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        if self.device.is_cpu() { wane_kernels::on_worker(work) } else { work() }
    }

    /// Logits of every position of one sequence under dense attention, f32 [tokens, vocabulary] on
    /// the host, computed in chunks of rows.
    ///
    /// # Errors
    /// An empty sequence, a token outside the vocabulary, more tokens than the context.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        if ids.is_empty() {
            return Err(Error::Invalid("the sequence is empty: it needs at least one token".into()));
        }
        let ids_tensor = self.ids_tensor(ids)?;
        let hidden = self.hidden_states(&ids_tensor, 1, ids.len(), Pattern::Causal)?;
        let mut all = Vec::with_capacity(ids.len() * self.config.vocab_size);
        for start in (0..ids.len()).step_by(LOGIT_ROWS) {
            let rows = hidden.slice(start, (start + LOGIT_ROWS).min(ids.len()))?;
            all.extend(linear(&rows, self.weight(self.head), None)?.to_f32_vec()?);
        }
        Ok(all)
    }

    /// Last norm and output head: `x` [n, hidden] to logits [n, vocabulary].
    fn head_logits(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = rms_norm(x.into(), self.dense(self.final_norm)?, self.config.rms_norm_eps as f32)?;
        Ok(linear(&hidden, self.weight(self.head), None)?)
    }
}

fn empty_prompt() -> Error {
    Error::Invalid("the prompt is empty: it needs at least one token".into())
}

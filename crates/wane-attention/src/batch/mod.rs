//! Decoding many sequences at once under one plan. The prompts may differ in length, and heads may
//! hold different numbers of rows; everything a step needs besides q, k and v (page tables, row
//! numbers, lengths, positions) is on the device before the first step, so no step waits for the
//! host (random selectors upload their coordinates; a probe reads selections back).
//!
//! A step: for each layer in order [`DecodeBatch::memory_state`], [`DecodeBatch::decode_layer`] and
//! [`DecodeBatch::set_memory_state`]; then [`DecodeBatch::advance`].

mod account;
mod observe;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use wane_kernels::ops::block_attention::{self, Reads};
use wane_kernels::ops::embedding::embedding;
use wane_kernels::ops::paged_kv;
use wane_kernels::{Tensor, Weight};

use crate::cache::lane::{Lane, PageTable, lane_tensor};
use crate::phases::{BlockReads, DecodeStep, LayerSelector, LayerStart};
use crate::{CacheConfig, Error, Qkv, Result, SequenceCache};
use schedule::Schedule;

pub use account::StepBytes;

/// How many steps are prepared when those asked for are used up.
const MORE_STEPS: usize = 64;

/// Sequences that take their decode steps together; see the module.
#[derive(Debug)]
pub struct DecodeBatch {
    config: Arc<CacheConfig>,
    caches: Vec<SequenceCache>,
    layers: Vec<BatchLayer>,
    // Steps taken since the tables were built, and steps they hold.
    step: usize,
    steps: usize,
    // I32 [steps, sequences]
    positions: Tensor,
    // Of the first step in the tables.
    first_positions: Vec<usize>,
    numbers: Vec<u32>,
}

/// One layer of all sequences.
#[derive(Debug)]
struct BatchLayer {
    table: PageTable,
    schedule: Arc<Schedule>,
    selector: Option<Box<dyn LayerSelector>>,
    // Copies each KV head's row to its query heads, after an eviction per query head.
    repeat: Option<Tensor>,
    // f32 [sequences, 2, width]
    memory: Option<Tensor>,
    // What the last step read besides everything.
    last_reads: Option<BlockReads>,
}

impl DecodeBatch {
    /// Takes over sequences whose prompts are in, all under the same plan, and reserves pages for
    /// `max_new_tokens` steps (more are added when they are used up).
    ///
    /// # Errors
    /// No sequence, an unfinished prompt, different plans or model shapes, out of memory.
    pub fn new(caches: Vec<SequenceCache>, max_new_tokens: usize) -> Result<Self> {
        let Some(first) = caches.first() else {
            return Err(Error::State("expected at least one sequence to decode, got none".to_owned()));
        };
        let config = first.config.clone();
        for cache in &caches {
            if !(Arc::ptr_eq(&cache.config, &config) && cache.plan == first.plan) {
                return Err(Error::State(format!(
                    "sequences decoded together share one configuration and plan, got `{}` and `{}`",
                    first.plan, cache.plan
                )));
            }
            if cache.layers.iter().any(|layer| !layer.complete || layer.seen != cache.position()) {
                return Err(Error::State(format!(
                    "the prompt of sequence {} is not complete: its last chunk must be Chunk::Last in every layer",
                    cache.sequence
                )));
            }
        }
        let empty = Tensor::from_i32(&[], &[0], config.pool.device())?;
        let mut batch = Self {
            config,
            caches,
            layers: Vec::new(),
            step: 0,
            steps: 0,
            positions: empty,
            first_positions: Vec::new(),
            numbers: Vec::new(),
        };
        batch.build(max_new_tokens.max(1))?;
        Ok(batch)
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.caches.len()
    }

    /// Whether all sequences have left.
    pub fn is_empty(&self) -> bool {
        self.caches.is_empty()
    }

    /// Shape of the model.
    pub fn config(&self) -> &Arc<CacheConfig> {
        &self.config
    }

    /// `[sequences]` I32: the true positions of this step's tokens, on the device.
    ///
    /// # Errors
    /// All sequences have left.
    pub fn positions(&self) -> Result<Tensor> {
        Ok(self.positions.slice(self.step, self.step + 1)?.reshape(&[self.len()])?)
    }

    /// The same on the host.
    pub fn host_positions(&self) -> Vec<usize> {
        self.first_positions.iter().map(|position| position + self.step).collect()
    }

    /// Numbers of the sequences, in order.
    pub fn sequences(&self) -> &[u32] {
        &self.numbers
    }

    /// The memory after the last token, f32 [sequences, 2, width]; `None` for a model without.
    pub fn memory_state(&self, layer: usize) -> Option<&Tensor> {
        self.layers[layer].memory.as_ref()
    }

    /// Replaces the memory, f32 [sequences, 2, width].
    pub fn set_memory_state(&mut self, layer: usize, state: Tensor) {
        self.layers[layer].memory = Some(state);
    }

    /// One layer of a step: caches the new rows, updates summaries, selects and attends.
    /// `qkv` has one row per sequence; result [sequences, heads * head_dim].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn decode_layer(&mut self, layer: usize, qkv: Qkv<'_>) -> Result<Tensor> {
        let positions = self.host_positions();
        let (step, heads) = (self.step, self.config.heads);
        let Some(state) = self.layers.get_mut(layer) else {
            return Err(Error::State(format!("expected a layer below {}, got {layer}", self.config.layers)));
        };
        if [qkv.q.rows(), qkv.k.rows(), qkv.v.rows()] != [self.caches.len(); 3] {
            return Err(Error::State(format!(
                "expected one row for each of {} sequences, got q {:?}, k {:?}, v {:?}",
                self.caches.len(),
                qkv.q,
                qkv.k,
                qkv.v
            )));
        }
        let schedule = state.schedule.clone();
        let (lens, from) = (&schedule.lens()[step], &schedule.starts()[step]);
        let device_lens = schedule.lens_at(step)?;
        let kv = state.table.view(&device_lens, lens.iter().copied().max().unwrap_or(0));
        let start = schedule.starts_at(step)?;
        match &state.repeat {
            None => paged_kv::append(kv, qkv.k, qkv.v, &start)?,
            Some(rows) => {
                let spread = |x: &Tensor| -> Result<Tensor> {
                    let by_head = x.reshape(&[x.len() / kv.head_dim, kv.head_dim])?;
                    let spread = embedding(rows, &Weight::Dense(by_head), x.dtype())?;
                    Ok(spread.reshape(&[x.rows(), heads * kv.head_dim])?)
                };
                paged_kv::append(kv, &spread(qkv.k)?, &spread(qkv.v)?, &start)?;
            }
        }
        let sequences = &self.numbers;
        state.last_reads = match &mut state.selector {
            None => None,
            Some(selector) => {
                let q = qkv.q;
                let positions = &positions;
                selector.select(&DecodeStep {
                    layer,
                    step,
                    q,
                    kv,
                    from,
                    lens,
                    heads,
                    sequences,
                    positions,
                })?
            }
        };
        let reads = match &state.last_reads {
            None => Reads::All,
            Some(BlockReads { selection, block, .. }) => Reads::Blocks { selection, block: *block },
        };
        let output = block_attention::decode(qkv.q, kv, heads, self.config.scale, reads)?;
        self.observe(layer, qkv)?;
        Ok(output)
    }

    /// Ends the step. Adds pages when the reserved ones are used up.
    ///
    /// # Errors
    /// Out of memory.
    pub fn advance(&mut self) -> Result<()> {
        self.step += 1;
        if self.step == self.steps {
            self.settle()?;
            self.build(MORE_STEPS)?;
        }
        Ok(())
    }

    /// Takes the sequences at these places out (ascending); the others close up. Dropping what
    /// comes back frees its pages.
    ///
    /// # Errors
    /// Places out of order or out of range, out of memory.
    pub fn retire(&mut self, places: &[usize]) -> Result<Vec<SequenceCache>> {
        if !places.is_sorted_by(|a, b| a < b) || places.last().is_some_and(|&last| last >= self.len()) {
            return Err(Error::State(format!(
                "expected ascending places below {}, got {places:?}",
                self.len()
            )));
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let left = (self.steps - self.step).max(1);
        self.settle()?;
        let mut retired = Vec::with_capacity(places.len());
        for &place in places.iter().rev() {
            retired.push(self.caches.remove(place));
        }
        retired.reverse();
        self.build(left)?;
        Ok(retired)
    }

    /// Ends the batch and hands the sequences back, in order.
    ///
    /// # Errors
    /// Copying the memory states failed.
    pub fn finish(mut self) -> Result<Vec<SequenceCache>> {
        self.settle()?;
        Ok(self.caches)
    }

    /// Writes the steps taken into the sequences' own state and drops the tables.
    fn settle(&mut self) -> Result<()> {
        let layers = std::mem::take(&mut self.layers);
        for (place, cache) in self.caches.iter_mut().enumerate() {
            for (state, layer) in cache.layers.iter_mut().zip(&layers) {
                for lane in &mut state.lanes {
                    (0..self.step).for_each(|_| {
                        lane.rows.place();
                    });
                }
                state.seen += self.step;
                if let Some(memory) = &layer.memory {
                    state.memory = Some(memory.slice(place, place + 1)?.duplicate()?);
                }
            }
            cache.decoded += self.step;
        }
        self.step = 0;
        Ok(())
    }

    /// Reserves pages for `steps` steps and builds every table.
    fn build(&mut self, steps: usize) -> Result<()> {
        self.step = 0;
        self.steps = steps;
        self.layers.clear();
        self.numbers = self.caches.iter().map(|cache| cache.sequence).collect();
        self.first_positions = self.caches.iter().map(SequenceCache::position).collect();
        if self.caches.is_empty() {
            return Ok(());
        }
        let device = self.config.pool.device().clone();
        let positions: Vec<i32> = (0..steps)
            .flat_map(|step| self.first_positions.iter().map(move |position| (position + step) as i32))
            .collect();
        self.positions = Tensor::from_i32(&positions, &[steps, self.len()], &device)?;
        let mut schedules: Vec<(Vec<crate::cache::ring::Rows>, Arc<Schedule>)> = Vec::new();
        for layer in 0..self.config.layers {
            let rows: Vec<_> = lanes(&self.caches, layer).map(|lane| lane.rows.clone()).collect();
            let schedule = match schedules.iter().find(|(same, _)| *same == rows) {
                Some((_, schedule)) => schedule.clone(),
                None => {
                    let schedule = Arc::new(Schedule::new(rows.clone(), steps, &device)?);
                    schedules.push((rows, schedule.clone()));
                    schedule
                }
            };
            let built = self.build_layer(layer, schedule)?;
            self.layers.push(built);
        }
        Ok(())
    }

    fn build_layer(&mut self, layer: usize, schedule: Arc<Schedule>) -> Result<BatchLayer> {
        let pool = self.config.pool.clone();
        let device = pool.device();
        let last_lens = &schedule.lens()[self.steps - 1];
        let all = self.caches.iter_mut().flat_map(|cache| &mut cache.layers[layer].lanes);
        for (lane, &len) in all.zip(last_lens) {
            let first_written = if lane.rows.ring.is_some() { 0 } else { lane.rows.len };
            lane.reserve(&pool, first_written, len)?;
        }
        let lane_heads = self.caches[0].layers[layer].lanes.len();
        let table = PageTable::new(lanes(&self.caches, layer), lane_heads, &pool)?;
        let lens: Vec<usize> = lanes(&self.caches, layer).map(|lane| lane.rows.len).collect();
        let device_lens = lane_tensor(lens.iter().copied(), device)?;
        let kv = table.view(&device_lens, lens.iter().copied().max().unwrap_or(0));
        let selector = match &self.caches[0].phases.decode {
            Some(phase) => {
                phase.start_layer(&LayerStart { layer, config: &self.config, kv, schedule: &schedule })?
            }
            None => None,
        };
        let repeat = match lane_heads / self.config.kv_heads {
            1 => None,
            group => Some(lane_tensor((0..self.len() * lane_heads).map(|row| row / group), device)?),
        };
        let memory = self.stack_memory(layer)?;
        Ok(BatchLayer { table, schedule, selector, repeat, memory, last_reads: None })
    }

    /// The memory states of one layer side by side.
    fn stack_memory(&self, layer: usize) -> Result<Option<Tensor>> {
        let states: Vec<&Tensor> =
            self.caches.iter().filter_map(|cache| cache.layers[layer].memory.as_ref()).collect();
        let Some(first) = states.first() else { return Ok(None) };
        let mut bytes = Vec::with_capacity(states.len() * first.num_bytes());
        for state in &states {
            bytes.extend(state.to_bytes()?);
        }
        let shape = [self.len(), 2, first.width()];
        Ok(Some(Tensor::from_bytes(&bytes, &shape, first.dtype(), first.device())?))
    }
}

/// The lanes of one layer, sequence-major.
fn lanes(caches: &[SequenceCache], layer: usize) -> impl Iterator<Item = &Lane> {
    caches.iter().flat_map(move |cache| &cache.layers[layer].lanes)
}

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
use wane_kernels::{DType, Tensor, Weight};

use crate::cache::lane::{Lane, PageCopies, PageTable, lane_tensor};
use crate::cache::ring::Rows;
use crate::cache::words::{Part, Uploaded, Words};
use crate::phases::{BlockReads, DecodeStep, LayerSelector, LayerStart};
use crate::{CacheConfig, Error, Qkv, Result, SequenceCache};
use schedule::{Coming, Schedule};

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

/// What one layer has among the words that a build uploads.
#[derive(Debug)]
struct LayerPlan {
    // Number of its schedule.
    schedule: usize,
    table: Part,
    repeat: Option<Part>,
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
        let empty = Tensor::uninit(&[0], DType::I32, config.pool.device())?;
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
        batch.build(max_new_tokens.max(1), None)?;
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
            let memory = self.settle();
            self.build(MORE_STEPS, Some(memory))?;
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
        let mut memory = self.settle();
        let mut retired = Vec::with_capacity(places.len());
        for &place in places.iter().rev() {
            let mut cache = self.caches.remove(place);
            hand_back(&mut cache, place, &memory)?;
            retired.push(cache);
        }
        retired.reverse();
        keep_rows(&mut memory, places)?;
        self.build(left, Some(memory))?;
        Ok(retired)
    }

    /// Ends the batch and hands the sequences back, in order.
    ///
    /// # Errors
    /// Copying the memory states failed.
    pub fn finish(mut self) -> Result<Vec<SequenceCache>> {
        let memory = self.settle();
        for (place, cache) in self.caches.iter_mut().enumerate() {
            hand_back(cache, place, &memory)?;
        }
        Ok(self.caches)
    }

    /// Writes the steps taken into the sequences' own state and drops the tables. Every layer's memory,
    /// which stays the batch's, comes back.
    fn settle(&mut self) -> Vec<Option<Tensor>> {
        let memory = std::mem::take(&mut self.layers).into_iter().map(|layer| layer.memory).collect();
        for cache in &mut self.caches {
            for state in &mut cache.layers {
                for lane in &mut state.lanes {
                    (0..self.step).for_each(|_| {
                        lane.rows.place();
                    });
                }
                state.seen += self.step;
            }
            cache.decoded += self.step;
        }
        self.step = 0;
        memory
    }

    /// Reserves pages for `steps` steps and builds every table: one copy to the device for all layers.
    /// Without `memory`, every layer's, it is the sequences' own.
    fn build(&mut self, steps: usize, memory: Option<Vec<Option<Tensor>>>) -> Result<()> {
        self.step = 0;
        self.steps = steps;
        self.layers.clear();
        self.numbers = self.caches.iter().map(|cache| cache.sequence).collect();
        self.first_positions = self.caches.iter().map(SequenceCache::position).collect();
        if self.caches.is_empty() {
            return Ok(());
        }
        let mut words = Words::default();
        let steps_positions = (0..steps)
            .flat_map(|step| self.first_positions.iter().map(move |position| (position + step) as i32));
        let positions = words.push(&[steps, self.len()], steps_positions);
        let mut coming: Vec<(Vec<Rows>, Coming, Part)> = Vec::new();
        let mut copies = PageCopies::default();
        let mut plans = Vec::with_capacity(self.config.layers);
        for layer in 0..self.config.layers {
            let rows: Vec<_> = lanes(&self.caches, layer).map(|lane| lane.rows.clone()).collect();
            let number = match coming.iter().position(|(same, ..)| *same == rows) {
                Some(number) => number,
                None => {
                    let schedule = Coming::new(rows.clone(), steps, &mut words);
                    let lens = words.push(&[rows.len()], rows.iter().map(|rows| rows.len as i32));
                    coming.push((rows, schedule, lens));
                    coming.len() - 1
                }
            };
            plans.push(self.plan_layer(layer, (number, &coming[number].1), &mut copies, &mut words)?);
        }
        let copies = copies.part(&mut words);
        let uploaded = words.upload(self.config.pool.device())?;
        paged_kv::copy_pages(&uploaded.part(&copies)?, &self.config.pool)?;
        self.positions = uploaded.part(&positions)?;
        let mut schedules = Vec::with_capacity(coming.len());
        for (_, schedule, lens) in coming {
            schedules.push((Arc::new(schedule.placed(&uploaded)?), uploaded.part(&lens)?));
        }
        let mut memory = memory.map(Vec::into_iter);
        for (layer, plan) in plans.into_iter().enumerate() {
            let memory = match &mut memory {
                Some(memory) => memory.next().flatten(),
                None => self.stack_memory(layer)?,
            };
            let (schedule, lens) = &schedules[plan.schedule];
            let built = self.build_layer(layer, (schedule, lens), (&plan, &uploaded), memory)?;
            self.layers.push(built);
        }
        Ok(())
    }

    /// Takes the pages of a layer's coming steps, and says what the device must know.
    fn plan_layer(
        &mut self,
        layer: usize,
        (schedule, coming): (usize, &Coming),
        copies: &mut PageCopies,
        words: &mut Words,
    ) -> Result<LayerPlan> {
        let pool = self.config.pool.clone();
        let all = self.caches.iter_mut().flat_map(|cache| &mut cache.layers[layer].lanes);
        for (lane, &len) in all.zip(&coming.lens()[self.steps - 1]) {
            let first_written = if lane.rows.ring.is_some() { 0 } else { lane.rows.len };
            lane.reserve(&pool, first_written, len, copies)?;
        }
        let lane_heads = self.caches[0].layers[layer].lanes.len();
        let table = PageTable::part(lanes(&self.caches, layer), words);
        let repeat = match lane_heads / self.config.kv_heads {
            1 => None,
            group => {
                let rows = self.len() * lane_heads;
                Some(words.push(&[rows], (0..rows).map(|row| (row / group) as i32)))
            }
        };
        Ok(LayerPlan { schedule, table, repeat })
    }

    fn build_layer(
        &self,
        layer: usize,
        (schedule, device_lens): (&Arc<Schedule>, &Tensor),
        (plan, uploaded): (&LayerPlan, &Uploaded),
        memory: Option<Tensor>,
    ) -> Result<BatchLayer> {
        let lane_heads = self.caches[0].layers[layer].lanes.len();
        let table = PageTable::at(uploaded.part(&plan.table)?, lane_heads, &self.config.pool);
        let longest = lanes(&self.caches, layer).map(|lane| lane.rows.len).max().unwrap_or(0);
        let kv = table.view(device_lens, longest);
        let selector = match &self.caches[0].phases.decode {
            Some(phase) => phase.start_layer(&LayerStart { layer, config: &self.config, kv, schedule })?,
            None => None,
        };
        let repeat = plan.repeat.as_ref().map(|part| uploaded.part(part)).transpose()?;
        Ok(BatchLayer { table, schedule: schedule.clone(), selector, repeat, memory, last_reads: None })
    }

    /// Takes the memory states of one layer out of the sequences, side by side.
    fn stack_memory(&mut self, layer: usize) -> Result<Option<Tensor>> {
        let states: Vec<Tensor> =
            self.caches.iter_mut().filter_map(|cache| cache.layers[layer].memory.take()).collect();
        let Some(first) = states.first() else { return Ok(None) };
        let width = first.width();
        let mut memory = Tensor::uninit(&[states.len(), 2, width], first.dtype(), first.device())?;
        for (place, state) in states.iter().enumerate() {
            memory.copy_rows_from(2 * place..2 * place + 2, state)?;
        }
        Ok(Some(memory))
    }
}

/// Gives a sequence that leaves its memory states back.
fn hand_back(cache: &mut SequenceCache, place: usize, memory: &[Option<Tensor>]) -> Result<()> {
    for (state, memory) in cache.layers.iter_mut().zip(memory) {
        if let Some(memory) = memory {
            state.memory = Some(memory.slice(place, place + 1)?.duplicate()?);
        }
    }
    Ok(())
}

/// Drops the rows of sequences that left, at these places, from every layer's memory.
fn keep_rows(memory: &mut [Option<Tensor>], left: &[usize]) -> Result<()> {
    let Some(first) = memory.iter().flatten().next() else { return Ok(()) };
    let stay: Vec<usize> = (0..first.dim(0)).filter(|place| !left.contains(place)).collect();
    if stay.is_empty() {
        return Ok(());
    }
    let rows = lane_tensor(stay, first.device())?;
    for state in memory.iter_mut().flatten() {
        let (pairs, dtype) = (state.reshape(&[state.dim(0), 2 * state.width()])?, state.dtype());
        let kept = embedding(&rows, &Weight::Dense(pairs), dtype)?;
        *state = kept.reshape(&[rows.len(), 2, state.width()])?;
    }
    Ok(())
}

/// The lanes of one layer, sequence-major.
fn lanes(caches: &[SequenceCache], layer: usize) -> impl Iterator<Item = &Lane> {
    caches.iter().flat_map(move |cache| &cache.layers[layer].lanes)
}

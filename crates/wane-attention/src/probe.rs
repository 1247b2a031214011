//! Watching what is selected, without changing what is computed. Attaching a probe makes every
//! selecting step wait for the device; without one nothing waits.

use std::sync::{Arc, Mutex, MutexGuard};

use wane_kernels::{Selection, Tensor};

use crate::{Phase, Result};

/// What the indices of an observation count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Blocks of that many rows (after an eviction: of retained rows).
    Block(usize),
    /// Positions in the sequence.
    Position,
}

/// What was selected for one sequence in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// Number of the sequence.
    pub sequence: u32,
    /// Layer.
    pub layer: usize,
    /// Phase.
    pub phase: Phase,
    /// True position of the first query (prefill), of the query (decode), or the prompt's length.
    pub position: usize,
    /// What the indices count.
    pub unit: Unit,
    /// `[query head][query]`: ascending indices, forced parts included. Heads that share a
    /// selection repeat it; outside a prefill there is one query.
    pub indices: Vec<Vec<Vec<i32>>>,
    /// What the last query's selection was made from.
    pub choice: Choice,
}

/// What a query's entries were selected from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choice {
    /// Entries that exist: blocks that the query sees, rows, or positions of the prompt.
    pub candidates: usize,
    /// How many of the first and of the newest entries are selected whatever their scores.
    pub forced: [usize; 2],
    /// `[selector][entry]`: the scores by which the others were selected, the higher the better, ties to the
    /// lower entry (the newest entries may be missing if they are forced). A selector is a query head, or a
    /// KV head if the heads of a group select together. Without scores if nothing had to be left out.
    pub scores: Vec<Vec<f32>>,
}

impl Choice {
    /// From scores [selectors, entries], of which every head selected `selected`. They are left out if that
    /// is everything: a batch computes them as soon as one of its sequences needs them.
    pub(crate) fn new(
        candidates: usize,
        selected: usize,
        forced: [usize; 2],
        scores: &Tensor,
    ) -> Result<Self> {
        if selected >= candidates {
            return Ok(Self { candidates, forced, scores: Vec::new() });
        }
        let width = scores.width().max(1);
        let rows = scores.to_f32_vec()?;
        let scores = rows.chunks(width).map(|row| row[..candidates.min(width)].to_vec()).collect();
        Ok(Self { candidates, forced, scores })
    }
}

/// The query and the new key of one sequence's decode step in one layer, after the rotation, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct StepVectors {
    /// Number of the sequence.
    pub sequence: u32,
    /// Layer.
    pub layer: usize,
    /// True position of the query.
    pub position: usize,
    /// [heads * head_dim].
    pub query: Vec<f32>,
    /// [kv_heads * head_dim].
    pub key: Vec<f32>,
}

/// Which queries of a prompt a probe hears about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptQueries {
    /// All of them.
    All,
    /// The last one of each chunk.
    Last,
}

/// Receives every selection.
pub trait Probe: Send + std::fmt::Debug {
    /// Called after the selection is made.
    fn observe(&mut self, observation: Observation);

    /// Which of a prompt's queries to report.
    fn prompt_queries(&self) -> PromptQueries {
        PromptQueries::All
    }

    /// Whether [`Self::step`] is to be called.
    fn wants_steps(&self) -> bool {
        false
    }

    /// Called at every decode step in every layer, under whatever method.
    fn step(&mut self, _vectors: StepVectors) {}
}

/// A probe that a cache or batch reports to.
pub type SharedProbe = Arc<Mutex<dyn Probe>>;

/// The probe behind its lock.
pub(crate) fn locked(probe: &SharedProbe) -> MutexGuard<'_, dyn Probe + 'static> {
    probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Rows of a selection on the host, padding removed.
pub(crate) fn selection_rows(selection: &Selection) -> Result<Vec<Vec<i32>>> {
    let (indices, counts) = (selection.indices.to_i32_vec()?, selection.counts.to_i32_vec()?);
    let width = selection.indices.width();
    Ok(counts.iter().enumerate().map(|(r, &n)| indices[r * width..][..n as usize].to_vec()).collect())
}

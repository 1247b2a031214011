//! Watching what is selected, without changing what is computed. Attaching a probe makes every
//! selecting step wait for the device; without one nothing waits.

use std::sync::{Arc, Mutex};

use wane_kernels::Selection;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Receives every selection.
pub trait Probe: Send + std::fmt::Debug {
    /// Called after the selection is made.
    fn observe(&mut self, observation: Observation);
}

/// A probe that a cache or batch reports to.
pub type SharedProbe = Arc<Mutex<dyn Probe>>;

/// Hands an observation to a probe.
pub(crate) fn report(probe: &SharedProbe, observation: Observation) {
    probe.lock().unwrap_or_else(std::sync::PoisonError::into_inner).observe(observation);
}

/// Rows of a selection on the host, padding removed.
pub(crate) fn selection_rows(selection: &Selection) -> Result<Vec<Vec<i32>>> {
    let (indices, counts) = (selection.indices.to_i32_vec()?, selection.counts.to_i32_vec()?);
    let width = selection.indices.width();
    Ok(counts.iter().enumerate().map(|(r, &n)| indices[r * width..][..n as usize].to_vec()).collect())
}

//! The probe behind a measurement: keeps what the methods of a batch told, by sequence.

use std::sync::{Arc, Mutex, PoisonError};

use wane_attention::{Observation, Phase, Probe, PromptQueries, SharedProbe, StepVectors};

#[derive(Debug, Default)]
pub(crate) struct Collector {
    observations: Vec<Observation>,
    vectors: Vec<StepVectors>,
}

impl Probe for Collector {
    fn observe(&mut self, observation: Observation) {
        self.observations.push(observation);
    }

    fn prompt_queries(&self) -> PromptQueries {
        PromptQueries::Last
    }

    fn wants_steps(&self) -> bool {
        true
    }

    fn step(&mut self, vectors: StepVectors) {
        self.vectors.push(vectors);
    }
}

/// A collector that caches can report to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Collector>>);

/// What one sequence told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    observations: Vec<Observation>,
    vectors: Vec<StepVectors>,
}

impl Shared {
    pub(crate) fn probe(&self) -> SharedProbe {
        self.0.clone()
    }

    /// Takes out what a sequence told.
    pub(crate) fn take(&self, sequence: u32) -> Told {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let observations = all.observations.extract_if(.., |o| o.sequence == sequence).collect();
        let vectors = all.vectors.extract_if(.., |v| v.sequence == sequence).collect();
        Told { observations, vectors }
    }
}

impl Told {
    /// The selection of a phase in a layer at a position.
    pub(crate) fn selection(&self, phase: Phase, layer: usize, position: usize) -> Option<&Observation> {
        self.observations.iter().find(|o| (o.phase, o.layer, o.position) == (phase, layer, position))
    }

    /// The vectors of the decode steps in a layer, in order.
    pub(crate) fn vectors(&self, layer: usize) -> Vec<&StepVectors> {
        let mut found: Vec<&StepVectors> = self.vectors.iter().filter(|v| v.layer == layer).collect();
        found.sort_by_key(|v| v.position);
        found
    }
}

//! Many plans from one prefill: a fork shares the pages and ends the prompt by its own plan.

use super::{LayerCache, SequenceCache};
use crate::{Error, Plan, Result};

impl SequenceCache {
    /// A cache with the same content under another plan. Pages are shared until one side writes.
    ///
    /// The plans must read the prompt in the same way, and this cache must not have dropped
    /// anything yet. What `plan` evicts after a prompt goes now if the prompt is over.
    ///
    /// # Errors
    /// The plans' prefills differ; rows were dropped; too few of the prompt's queries were kept.
    pub fn fork(&self, plan: &Plan) -> Result<Self> {
        let plan = plan.resolve(self.config.context)?;
        if plan == self.plan {
            return Ok(self.clone());
        }
        let (from, to) = (self.plan.prefill_plan(), plan.prefill_plan());
        if from != to {
            return Err(Error::State(format!(
                "`{plan}` cannot fork from this cache: its prompt was read with `{from}`, not `{to}`"
            )));
        }
        let dropped = |layer: usize| {
            let LayerCache { lanes, seen, .. } = &self.layers[layer];
            lanes.len() != self.config.kv_heads || lanes.iter().any(|lane| lane.rows.len < *seen)
        };
        if (0..self.layers.len()).any(dropped) {
            return Err(Error::State(format!(
                "`{plan}` cannot fork from this cache: `{}` has already rearranged its rows",
                self.plan
            )));
        }
        let phases = plan.phases()?;
        let mut fork = Self { plan, phases, ..self.clone() };
        let mut ending = Vec::new();
        for layer in 0..fork.layers.len() {
            let state = &mut fork.layers[layer];
            // Rows that a ring holds in another order are all there, but not in order.
            for lane in &mut state.lanes {
                lane.rows.ring = None;
            }
            let len = state.seen;
            let evicts = fork.phases.evict.as_ref().is_some_and(|phase| phase.keeps(layer, len).is_some());
            let repeats = fork.phases.evict.as_ref().is_some_and(|phase| phase.per_query_head(layer));
            if !state.complete || !(evicts || repeats || fork.ring(layer).is_some()) {
                continue;
            }
            if fork.decoded > 0 {
                return Err(Error::State(format!(
                    "`{}` evicts at the end of the prompt, and {} tokens were decoded since: fork before decoding",
                    fork.plan, fork.decoded
                )));
            }
            ending.push(layer);
        }
        fork.end_prompt(&ending, None)?;
        Ok(fork)
    }
}

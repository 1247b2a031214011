//! What a decode step read, told to the sequences' probes.

use super::DecodeBatch;
use crate::cache::ring::Rows;
use crate::probe::{report, selection_rows};
use crate::{Observation, Phase, Result, Unit};

impl DecodeBatch {
    /// Reports what the present step reads in `layer`: blocks of a selecting method, positions of one
    /// that drops rows, nothing of a dense one.
    pub(super) fn observe(&self, layer: usize) -> Result<()> {
        if self.caches.iter().all(|cache| cache.probe.is_none()) {
            return Ok(());
        }
        let state = &self.layers[layer];
        let heads = self.config.heads;
        let selected = state.last_reads.as_ref().map(|reads| selection_rows(&reads.selection)).transpose()?;
        for (place, cache) in self.caches.iter().enumerate() {
            let Some(probe) = &cache.probe else { continue };
            let lanes = &cache.layers[layer].lanes;
            let (unit, indices) = if let (Some(rows), Some(reads)) = (&selected, &state.last_reads) {
                let own = &rows[place * rows.len() / self.len()..(place + 1) * rows.len() / self.len()];
                let group = heads / own.len();
                (Unit::Block(reads.block), (0..heads).map(|head| vec![own[head / group].clone()]).collect())
            } else if let Some(block) = state.selector.as_ref().map(|selector| selector.block()) {
                // All blocks fit the budget.
                let lens = &state.schedule.lens()[self.step];
                let blocks = |head: usize| {
                    let len = lens[place * lanes.len() + head * lanes.len() / heads];
                    vec![(0..len.div_ceil(block) as i32).collect()]
                };
                (Unit::Block(block), (0..heads).map(blocks).collect())
            } else if lanes.iter().any(|lane| lane.rows.ring.is_some()) {
                let held: Vec<Vec<i32>> = (0..lanes.len())
                    .map(|lane| {
                        let mut rows: Rows = lanes[lane].rows.clone();
                        (0..=self.step).for_each(|_| {
                            rows.place();
                        });
                        cache.layers[layer].positions(lane, &rows.numbers())
                    })
                    .collect();
                let group = heads / held.len();
                (Unit::Position, (0..heads).map(|head| vec![held[head / group].clone()]).collect())
            } else {
                continue;
            };
            let position = self.first_positions[place] + self.step;
            let (sequence, phase) = (cache.sequence, Phase::Decode);
            report(probe, Observation { sequence, layer, phase, position, unit, indices });
        }
        Ok(())
    }
}

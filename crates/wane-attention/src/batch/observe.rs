//! What a decode step read, told to the sequences' probes.

use super::DecodeBatch;
use crate::cache::ring::Rows;
use crate::probe::{StepVectors, locked, selection_rows};
use crate::{Choice, Observation, Phase, Qkv, Result, Unit};

impl DecodeBatch {
    /// Reports what the present step reads in `layer`: blocks of a selecting method, positions of one
    /// that drops rows, nothing of a dense one; and its vectors to probes that want them.
    pub(super) fn observe(&self, layer: usize, qkv: Qkv<'_>) -> Result<()> {
        if self.caches.iter().all(|cache| cache.probe.is_none()) {
            return Ok(());
        }
        let state = &self.layers[layer];
        let heads = self.config.heads;
        let selected = state.last_reads.as_ref().map(|reads| selection_rows(&reads.selection)).transpose()?;
        for (place, cache) in self.caches.iter().enumerate() {
            let Some(probe) = &cache.probe else { continue };
            let sequence = cache.sequence;
            let position = self.first_positions[place] + self.step;
            if locked(probe).wants_steps() {
                let query = qkv.q.slice(place, place + 1)?.to_f32_vec()?;
                let key = qkv.k.slice(place, place + 1)?.to_f32_vec()?;
                locked(probe).step(StepVectors { sequence, layer, position, query, key });
            }
            let lanes = &cache.layers[layer].lanes;
            let lens = &state.schedule.lens()[self.step];
            let longest = lens[place * lanes.len()..][..lanes.len()].iter().copied().max().unwrap_or(0);
            let forced = state.selector.as_ref().map_or([0; 2], |selector| selector.forced());
            let (unit, indices, choice) = if let (Some(rows), Some(reads)) = (&selected, &state.last_reads) {
                let count = rows.len() / self.len();
                let (from, to) = (place * count, (place + 1) * count);
                let indices =
                    (0..heads).map(|head| vec![rows[from + head * count / heads].clone()]).collect();
                let scores = reads.scores.slice(from, to)?;
                let candidates = longest.div_ceil(reads.block);
                let choice = Choice::new(candidates, rows[from].len(), forced, &scores)?;
                (Unit::Block(reads.block), indices, choice)
            } else if let Some(block) = state.selector.as_ref().map(|selector| selector.block()) {
                // All blocks fit the budget.
                let blocks = |head: usize| {
                    let len = lens[place * lanes.len() + head * lanes.len() / heads];
                    vec![(0..len.div_ceil(block) as i32).collect()]
                };
                let choice = Choice { candidates: longest.div_ceil(block), forced, scores: Vec::new() };
                (Unit::Block(block), (0..heads).map(blocks).collect(), choice)
            } else if lanes.iter().any(|lane| lane.rows.ring.is_some()) {
                let held = (0..lanes.len())
                    .map(|lane| {
                        let mut rows: Rows = lanes[lane].rows.clone();
                        (0..=self.step).for_each(|_| {
                            rows.place();
                        });
                        cache.layers[layer].positions(lane, &rows.numbers())
                    })
                    .collect::<Result<Vec<Vec<i32>>>>()?;
                let group = heads / held.len();
                let indices = (0..heads).map(|head| vec![held[head / group].clone()]).collect();
                (Unit::Position, indices, Choice { candidates: position + 1, ..Choice::default() })
            } else {
                continue;
            };
            let phase = Phase::Decode;
            let seen = Observation { sequence, layer, phase, position, unit, indices, choice };
            locked(probe).observe(seen);
        }
        Ok(())
    }
}

//! Watching for runs that go wrong: gradients that are not finite, and losses that jump.
//!
//! A step whose global gradient norm is not finite never reaches the weights (the AdamW kernel leaves
//! everything unchanged); the guard counts such steps when the norms are read back, at log steps. A
//! spike is a logged loss above `spike_factor` times the median of the last 32 logged losses.

use std::collections::VecDeque;

use crate::config::{GuardTable, OnTrouble};
use crate::{Error, Result};

const RECENT: usize = 32;
/// Spikes are not judged before so many losses are known.
const ENOUGH: usize = 8;

/// The guard's memory.
#[derive(Debug, Clone)]
pub struct Guard {
    table: GuardTable,
    losses: VecDeque<f64>,
    // Bad steps since the last good one, and over the whole run.
    in_a_row: u64,
    skipped: u64,
}

impl Guard {
    /// A guard that has seen nothing.
    pub fn new(table: &GuardTable) -> Self {
        Self { table: table.clone(), losses: VecDeque::new(), in_a_row: 0, skipped: 0 }
    }

    /// Optimizer steps skipped so far because of gradients that were not finite.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Judges the gradient norms of the optimizer steps since the last call; `step` is named in messages.
    /// Returns a warning, if there is one.
    ///
    /// # Errors
    /// A norm that is not finite under `non_finite = "stop"`, or too many in a row.
    pub fn norms(&mut self, step: u64, norms: &[f32]) -> Result<Option<String>> {
        let before = self.skipped;
        for norm in norms {
            if norm.is_finite() {
                self.in_a_row = 0;
                continue;
            }
            self.in_a_row += 1;
            self.skipped += 1;
            if self.table.non_finite == OnTrouble::Stop {
                return Err(stop(
                    step,
                    "the gradients are not finite (guard.non_finite = \"stop\"); the weights are unchanged",
                ));
            }
            if self.in_a_row > self.table.max_skipped {
                return Err(stop(
                    step,
                    format!(
                        "{} steps in a row had gradients that are not finite (guard.max_skipped); a lower learning rate, \
                         a longer warm-up or an earlier checkpoint may help",
                        self.in_a_row
                    ),
                ));
            }
        }
        let new = self.skipped - before;
        Ok((new > 0)
            .then(|| format!("{new} step(s) skipped: gradients not finite ({} so far)", self.skipped)))
    }

    /// Judges a logged loss. Returns a warning, if there is one.
    ///
    /// # Errors
    /// A spike under `spike = "stop"`.
    pub fn loss(&mut self, step: u64, loss: f64) -> Result<Option<String>> {
        if !loss.is_finite() {
            // Its gradients are not finite either, and judged there.
            return Ok(Some(format!("the loss is {loss}")));
        }
        let mut warning = None;
        if self.table.spike_factor > 0.0 && self.losses.len() >= ENOUGH {
            let mut sorted: Vec<f64> = self.losses.iter().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let median = sorted[sorted.len() / 2];
            if loss > self.table.spike_factor * median {
                let message = format!("loss spike: {loss:.4}, the recent median is {median:.4}");
                if self.table.spike == OnTrouble::Stop {
                    return Err(stop(step, format!("{message} (guard.spike = \"stop\")")));
                }
                warning = Some(message);
            }
        }
        self.losses.push_back(loss);
        if self.losses.len() > RECENT {
            self.losses.pop_front();
        }
        Ok(warning)
    }
}

fn stop(step: u64, message: impl ToString) -> Error {
    Error::Diverged { step, message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_steps_are_counted_and_end_the_run_when_they_do_not_stop() {
        let mut guard = Guard::new(&GuardTable { max_skipped: 2, ..GuardTable::default() });
        assert_eq!(guard.norms(1, &[1.0, 2.0]).expect("fine"), None);
        let warning = guard.norms(2, &[f32::NAN, f32::INFINITY, 1.0, f32::NAN]).expect("warns");
        assert_eq!(warning.as_deref(), Some("3 step(s) skipped: gradients not finite (3 so far)"));
        let message = guard.norms(3, &[f32::NAN, f32::NAN]).expect_err("three in a row").to_string();
        assert!(message.starts_with("step 3: 3 steps in a row"), "{message}");
        let mut strict = Guard::new(&GuardTable { non_finite: OnTrouble::Stop, ..GuardTable::default() });
        assert!(strict.norms(1, &[f32::NAN]).is_err());
    }

    #[test]
    fn a_spike_is_a_jump_over_the_recent_median() {
        let mut guard = Guard::new(&GuardTable::default());
        for i in 0..8 {
            assert_eq!(guard.loss(i, 3.0 - 0.1 * i as f64).expect("fine"), None);
        }
        assert!(guard.loss(9, 5.5).expect("warns").is_some_and(|w| w.contains("loss spike: 5.5")));
        assert_eq!(guard.loss(10, 4.9).expect("fine"), None);
        let mut strict = Guard::new(&GuardTable { spike: OnTrouble::Stop, ..GuardTable::default() });
        (0..8).for_each(|i| assert!(strict.loss(i, 1.0).is_ok()));
        assert!(strict.loss(8, 2.1).is_err());
    }
}

//! Watching for runs that go wrong: gradients that are not finite, and losses that jump.
//!
//! A step whose global gradient norm is not finite never reaches the weights (the AdamW kernel leaves
//! everything unchanged); the guard counts such steps when the norms are read back, at log steps. A
//! spike is a logged loss above `spike_factor` times the median of the last 32 logged ones and at least
//! half a nat above it. Text and answers are judged apart: the mean of a batch jumps with its share of text.

use std::collections::VecDeque;

use crate::config::{GuardTable, OnTrouble};
use crate::losses::LossSums;
use crate::{Error, Result};

const RECENT: usize = 32;
/// Spikes are not judged before so many losses are known.
const ENOUGH: usize = 8;
/// Small losses double by chance.
const LEAST_JUMP: f64 = 0.5;

/// The guard's memory.
#[derive(Debug, Clone)]
pub struct Guard {
    table: GuardTable,
    text: VecDeque<f64>,
    answers: VecDeque<f64>,
    // Bad steps since the last good one, and over the whole run.
    in_a_row: u64,
    skipped: u64,
}

impl Guard {
    /// A guard that has seen nothing.
    pub fn new(table: &GuardTable) -> Self {
        Self {
            table: table.clone(),
            text: VecDeque::new(),
            answers: VecDeque::new(),
            in_a_row: 0,
            skipped: 0,
        }
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

    /// Judges logged losses. Returns a warning, if there is one.
    ///
    /// # Errors
    /// A spike under `spike = "stop"`.
    pub fn losses(&mut self, step: u64, sums: &LossSums) -> Result<Option<String>> {
        if !sums.weighted().is_finite() {
            // Its gradients are not finite either, and judged there.
            return Ok(Some(format!("the loss is {}", sums.weighted())));
        }
        let factor = self.table.spike_factor;
        let judged = [("text", sums.text(), &mut self.text), ("answer", sums.answer(), &mut self.answers)];
        let spikes: Vec<String> = judged
            .into_iter()
            .filter_map(|(kind, loss, recent)| {
                let loss = loss?;
                let median = spike(recent, loss, factor)?;
                Some(format!("loss spike: {kind} {loss:.4}, the recent median is {median:.4}"))
            })
            .collect();
        if spikes.is_empty() {
            return Ok(None);
        }
        let message = spikes.join("; ");
        if self.table.spike == OnTrouble::Stop {
            return Err(stop(step, format!("{message} (guard.spike = \"stop\")")));
        }
        Ok(Some(message))
    }
}

/// The median of the recent losses if `loss` is a spike over it; `loss` becomes the latest of them.
fn spike(recent: &mut VecDeque<f64>, loss: f64, factor: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = recent.iter().copied().collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied();
    recent.push_back(loss);
    if recent.len() > RECENT {
        recent.pop_front();
    }
    median.filter(|median| {
        factor > 0.0 && sorted.len() >= ENOUGH && loss > (factor * median).max(median + LEAST_JUMP)
    })
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

    fn text(loss: f64) -> LossSums {
        LossSums::from_values([loss, 1.0, loss, 1.0, 0.0, 0.0, 0.0, 0.0])
    }

    // Answers at `loss` in a batch whose mean is far above it, as one with much text has.
    fn answers(loss: f64, mean: f64) -> LossSums {
        LossSums::from_values([mean, 1.0, 0.0, 0.0, 0.0, 0.0, loss, 1.0])
    }

    #[test]
    fn a_spike_is_a_jump_over_the_recent_median() {
        let mut guard = Guard::new(&GuardTable::default());
        for i in 0..8 {
            assert_eq!(guard.losses(i, &text(3.0 - 0.1 * i as f64)).expect("fine"), None);
        }
        let warning = guard.losses(9, &text(5.5)).expect("warns").expect("a spike");
        assert_eq!(warning, "loss spike: text 5.5000, the recent median is 2.7000");
        assert_eq!(guard.losses(10, &text(4.9)).expect("fine"), None);
        let mut strict = Guard::new(&GuardTable { spike: OnTrouble::Stop, ..GuardTable::default() });
        (0..8).for_each(|i| assert!(strict.losses(i, &text(1.0)).is_ok()));
        assert!(strict.losses(8, &text(2.1)).is_err());
    }

    #[test]
    fn the_share_of_text_in_a_batch_and_small_losses_are_no_spikes() {
        let mut guard = Guard::new(&GuardTable::default());
        for i in 0..20 {
            let mean = if i % 3 == 0 { 3.0 } else { 0.6 };
            let loss = if i % 5 == 0 { 0.3 } else { 0.01 };
            assert_eq!(guard.losses(i, &answers(loss, mean)).expect("fine"), None);
            if i % 3 == 0 {
                assert_eq!(guard.losses(i, &text(3.0)).expect("fine"), None);
            }
        }
        assert!(
            guard.losses(21, &answers(0.6, 0.6)).expect("warns").is_some_and(|w| w.contains("answer 0.6"))
        );
    }
}

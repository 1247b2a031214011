//! The trainer's view of the other processes: with one process everything here does nothing.

use wane_kernels::{Device, Tensor};

use super::{Collective, Ranks, failed, join};
use crate::config::RunConfig;
use crate::losses::LossSums;
use crate::{Error, Result};

/// All processes of a run, as one of them sees them.
#[derive(Debug, Default)]
pub(crate) struct Team {
    others: Option<(Box<dyn Collective>, Ranks)>,
}

impl Team {
    /// Meets the other ranks, if there are any, and checks that a batch can be shared out.
    pub(crate) fn join(ranks: Option<&Ranks>, config: &RunConfig, device: &Device) -> Result<Self> {
        let Some(ranks) = ranks else { return Ok(Self::default()) };
        let training = &config.training;
        if !training.batch.is_multiple_of(training.accumulation * ranks.size) {
            return Err(Error::setting(format!(
                "training.batch {} is not divisible by {} processes times training.accumulation {}",
                training.batch, ranks.size, training.accumulation
            )));
        }
        Ok(Self { others: Some((join(ranks, device)?, ranks.clone())) })
    }

    /// Number of processes.
    pub(crate) fn size(&self) -> usize {
        self.others.as_ref().map_or(1, |(others, _)| others.size())
    }

    /// Whether this process writes: checkpoints, records, progress.
    pub(crate) fn is_main(&self) -> bool {
        self.others.as_ref().is_none_or(|(others, _)| others.rank() == 0)
    }

    /// This process's rows of a batch.
    pub(crate) fn rows(&self, batch: usize) -> std::ops::Range<usize> {
        self.others.as_ref().map_or(0..batch, |(_, ranks)| ranks.rows(batch))
    }

    /// What rank 0 has.
    pub(crate) fn of_main(&mut self, text: String) -> Result<String> {
        let Some((others, _)) = &mut self.others else { return Ok(text) };
        let mut bytes = text.into_bytes();
        others.broadcast(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| failed("rank 0 sent no text"))
    }

    /// The sum of a number over all ranks.
    pub(crate) fn sum(&mut self, value: f64) -> Result<f64> {
        let mut values = [value];
        if let Some((others, _)) = &mut self.others {
            others.sum(&mut values)?;
        }
        Ok(values[0])
    }

    /// The losses of all ranks together.
    pub(crate) fn sum_losses(&mut self, sums: LossSums) -> Result<LossSums> {
        let Some((others, _)) = &mut self.others else { return Ok(sums) };
        let mut values = sums.to_values();
        others.sum(&mut values)?;
        Ok(LossSums::from_values(values))
    }

    /// Replaces gradients by their sums over all ranks.
    pub(crate) fn sum_tensors(&mut self, tensors: &mut [Tensor]) -> Result<()> {
        self.others.as_mut().map_or(Ok(()), |(others, _)| others.sum_tensors(tensors))
    }

    /// Waits for all ranks.
    pub(crate) fn barrier(&mut self) -> Result<()> {
        self.others.as_mut().map_or(Ok(()), |(others, _)| others.barrier())
    }

    /// Tells the others why this rank ends, if it does.
    pub(crate) fn tell_if_failed<T>(&mut self, outcome: Result<T>) -> Result<T> {
        if let (Some((others, ranks)), Err(error)) = (&mut self.others, &outcome) {
            let text = error.to_string();
            // A reason that came from another rank is passed on as it is.
            let reason = match error {
                Error::Parallel(_) => text,
                _ => format!("rank {} has ended: {text}", ranks.rank),
            };
            others.tell(&reason);
        }
        outcome
    }
}

//! One step: the passes over one batch.

use wane_kernels::Tensor;
use wane_kernels::ops::attention::Pattern;
use wane_model::decoder::{Batch, Keep, TrainOptions};

use super::Trainer;
use crate::data::HostBatch;
use crate::losses::LossSums;
use crate::validation::{Apart, upload};
use crate::{Error, Result};

/// What a step leaves on the device.
#[derive(Debug)]
pub(crate) struct Stepped {
    /// Losses of the last pass, one tensor a micro-batch.
    pub(super) losses: Vec<Tensor>,
    /// Global gradient norm of every optimizer step, f32 [1].
    pub(super) norms: Vec<Tensor>,
}

impl Trainer {
    /// Trains on one batch. Nothing waits for the device.
    pub(crate) fn train_step(&mut self, batch: &HostBatch) -> Result<Stepped> {
        let total = self.team.sum(batch.total_weight())?;
        if total <= 0.0 {
            return Err(Error::Samples("a batch has no token with a loss weight above 0".to_owned()));
        }
        let apart = Apart::of(&self.config.data);
        let micro = self.micro_batches(batch);
        let micro = micro.iter().map(|b| upload(b, &self.decoder, apart)).collect::<Result<Vec<_>>>()?;
        let factor = self.config.schedule.factor(self.step, self.config.steps());
        let mut passes: Vec<Pattern> = Vec::new();
        if self.config.is_joint_step(self.step) {
            passes.extend(self.config.joint.as_ref().map(|joint| joint.pattern()));
        }
        passes.push(self.base_pattern());
        let mut stepped = Stepped { losses: Vec::new(), norms: Vec::new() };
        for pattern in passes {
            stepped.losses = self.pass(&micro, pattern, (1.0 / total) as f32)?;
            stepped.norms.push(self.optimizer.step(&mut self.decoder, &self.gradients, factor)?);
        }
        self.step += 1;
        Ok(stepped)
    }

    /// Gradients of all micro-batches under one mask.
    fn pass(&mut self, micro: &[Batch], pattern: Pattern, scale: f32) -> Result<Vec<Tensor>> {
        self.gradients.clear()?;
        let keep = if self.config.training.recompute { Keep::BlockInputs } else { Keep::Everything };
        let options = TrainOptions { pattern, keep, scale };
        let mut losses = Vec::with_capacity(micro.len());
        for batch in micro {
            losses.push(self.decoder.loss_and_gradients(batch, &options, &mut self.gradients)?);
        }
        self.team.sum_tensors(self.gradients.tensors_mut())?;
        Ok(losses)
    }

    /// The batch in `training.accumulation` equal parts.
    pub(super) fn micro_batches(&self, batch: &HostBatch) -> Vec<HostBatch> {
        let rows = batch.rows / self.config.training.accumulation;
        (0..self.config.training.accumulation).map(|i| batch.rows(i * rows, (i + 1) * rows)).collect()
    }

    /// Losses of a step, read back, of all processes.
    pub(super) fn read_losses(&mut self, batch: &HostBatch, losses: &[Tensor]) -> Result<LossSums> {
        let mut sums = LossSums::default();
        for (part, losses) in self.micro_batches(batch).iter().zip(losses) {
            sums.add(part, &losses.to_f32_vec()?);
        }
        self.team.sum_losses(sums)
    }
}

//! From the first step to the last: batches, log steps, validation, samples, checkpoints, the end.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Instant;

use wane_kernels::{CpuBuffer, Device, Tensor};

use super::Trainer;
use super::step::Stepped;
use crate::checkpoint::weights::{write_model, write_optimizer};
use crate::checkpoint::{TrainingState, write_folder};
use crate::cost::step_flops;
use crate::data::{HostBatch, Prefetcher};
use crate::generation::sample_text;
use crate::observe::{CurvePoint, RunRecord};
use crate::{Error, Result};

/// Time of the current stretch between two log steps.
struct Clock {
    start: Instant,
    last: Instant,
    last_step: u64,
    first_step: u64,
    // Norms not read back yet.
    norms: Vec<Tensor>,
}

impl Trainer {
    /// Trains to the end, or until asked to stop. The record says which, also after an error.
    ///
    /// # Errors
    /// Anything that fails; the last checkpoint stays.
    pub fn run(mut self) -> Result<RunRecord> {
        let outcome = self.run_steps().map_err(explain_memory).map_err(explain_full);
        let outcome = self.team.tell_if_failed(outcome);
        self.progress.finish();
        self.record.status = match &outcome {
            Ok(()) if self.step == self.config.steps() => "finished".to_owned(),
            Ok(()) => "interrupted".to_owned(),
            Err(error) => error.to_string(),
        };
        self.record.steps = self.step;
        self.record.skipped = self.guard.skipped();
        self.record.measured_bytes = Some(match self.decoder.device() {
            Device::Cpu => CpuBuffer::peak() as u64,
            Device::Cuda(cuda) => cuda.memory().peak as u64,
        });
        let written = match self.team.is_main() {
            true => self.record.write(&self.config.output).map_err(explain_full),
            false => Ok(()),
        };
        outcome?;
        written?;
        Ok(self.record)
    }

    fn run_steps(&mut self) -> Result<()> {
        let steps = self.config.steps();
        let mut batches = Prefetcher::start(
            &self.mixture,
            self.step..steps,
            self.team.rows(self.config.training.batch),
            (self.config.data.threads, self.config.data.ahead),
        )?;
        let now = Instant::now();
        let mut clock =
            Clock { start: now, last: now, last_step: self.step, first_step: self.step, norms: Vec::new() };
        while self.step < steps && !self.should_stop()? {
            let batch = batches.next_batch()?;
            let stepped = self.train_step(&batch)?;
            self.progress.step(self.step);
            let is_last = self.step == steps;
            if self.step.is_multiple_of(self.config.log.every) || is_last {
                self.log(&batch, stepped, &mut clock)?;
            } else {
                clock.norms.extend(stepped.norms);
            }
            self.observe(is_last)?;
            let every = self.config.checkpoint.every;
            if every > 0 && self.step.is_multiple_of(every) && !is_last {
                self.read_norms(&mut clock)?;
                self.save_or_warn(&clock);
            }
        }
        self.read_norms(&mut clock)?;
        if !self.config.checkpoint.at_end {
            return Ok(());
        }
        if self.team.is_main() {
            self.save_all(&clock, steps)?;
        }
        // Nobody ends before everything is saved, or it is known why it is not.
        self.team.barrier()
    }

    /// Whether somebody asked this or another process to stop.
    pub(crate) fn should_stop(&mut self) -> Result<bool> {
        let is_asked = self.surroundings.stop.load(Ordering::Relaxed);
        Ok(self.team.sum(f64::from(u8::from(is_asked)))? > 0.0)
    }

    /// The last checkpoint, and the model if the run is complete.
    fn save_all(&mut self, clock: &Clock, steps: u64) -> Result<()> {
        self.save(clock)?;
        if self.step == steps {
            let path = self.config.output.join("model");
            let tokenizer = self.built.tokenizer_folder.as_deref();
            write_folder(&path, |folder| write_model(folder, &self.decoder, tokenizer))?;
            self.progress.note(&format!("the model is in {}", path.display()));
        } else {
            self.progress.note(&format!("stopped after step {}; go on with --resume", self.step));
        }
        Ok(())
    }

    /// Reads losses and norms back, judges them, shows and writes them.
    fn log(&mut self, batch: &HostBatch, stepped: Stepped, clock: &mut Clock) -> Result<()> {
        let sums = self.read_losses(batch, &stepped.losses)?;
        clock.norms.extend(stepped.norms);
        let norm = self.read_norms(clock)?;
        let loss = sums.weighted();
        let warning = self.guard.losses(self.step, &sums)?;
        self.warn(warning);

        let seconds = clock.last.elapsed().as_secs_f64().max(1e-9);
        let steps = (self.step - clock.last_step) as f64;
        let rate = steps * self.config.tokens_per_step() as f64 / seconds;
        let lr = self.config.optimizer.lr * self.config.schedule.factor(self.step - 1, self.config.steps());
        let utilization = self.utilization(clock.last_step..self.step, seconds);
        (clock.last, clock.last_step) = (Instant::now(), self.step);
        let point = CurvePoint {
            step: self.step,
            loss,
            answer_loss: sums.answer(),
            text_loss: sums.text(),
            norm: f64::from(norm),
            lr,
            tokens_per_second: rate,
        };
        let mut scalars = vec![("loss/weighted", loss), ("optimizer/norm", point.norm), ("optimizer/lr", lr)];
        scalars.push(("speed/tokens_per_second", rate));
        scalars.extend(utilization.map(|u| ("speed/utilization", u)));
        scalars.extend(sums.answer().map(|x| ("loss/answer", x)));
        scalars.extend(sums.context().map(|x| ("loss/context", x)));
        scalars.extend(sums.text().map(|x| ("loss/text", x)));
        self.write_scalars(&scalars);

        let mut text = format!("loss {loss:.4}");
        for (name, value) in [("answer", sums.answer()), ("text", sums.text())] {
            if let Some(value) = value {
                text += &format!(" {name} {value:.4}");
            }
        }
        text += &format!(" norm {norm:.2} lr {lr:.2e} {:.1}k tok/s", rate / 1000.0);
        if let Some(utilization) = utilization {
            text += &format!(" MFU {:.1}%", 100.0 * utilization);
        }
        let elapsed = clock.start.elapsed().as_secs_f64();
        let left = elapsed / (self.step - clock.first_step) as f64 * (self.config.steps() - self.step) as f64;
        self.progress.log(self.step, &text, left);

        self.record.curve.push(point);
        self.record.steps = self.step;
        self.record.seconds = self.earlier_seconds + elapsed;
        self.record.tokens_per_second =
            (self.step * self.config.tokens_per_step()) as f64 / self.record.seconds.max(1e-9);
        self.record.utilization = utilization;
        self.record.skipped = self.guard.skipped();
        if self.team.is_main() {
            let written = self.record.write(&self.config.output);
            self.note_unwritten(written);
        }
        Ok(())
    }

    /// Appends to the event file; the other processes have none.
    fn write_scalars(&mut self, scalars: &[(&str, f64)]) {
        let step = self.step;
        let written = self.events.as_mut().map_or(Ok(()), |events| events.scalars(step, scalars));
        self.note_unwritten(written);
    }

    /// Curves and records that cannot be written (the disk is full) stop no training; said once.
    fn note_unwritten(&mut self, written: Result<()>) {
        if let Err(error) = written
            && !std::mem::replace(&mut self.is_unwritten, true)
        {
            self.warn(Some(format!("{}; training goes on without", explain_full(error))));
        }
    }

    /// Waits for the norms of all steps so far and judges them; the last one is returned.
    fn read_norms(&mut self, clock: &mut Clock) -> Result<f32> {
        let mut norms = Vec::with_capacity(clock.norms.len());
        for norm in clock.norms.drain(..) {
            norms.extend(norm.to_f32_vec()?);
        }
        let warning = self.guard.norms(self.step, &norms)?;
        self.warn(warning);
        Ok(norms.last().copied().unwrap_or(0.0))
    }

    /// Model FLOPs of the steps over what the device could have done; `None` if its peak is unknown.
    fn utilization(&self, steps: std::ops::Range<u64>, seconds: f64) -> Option<f64> {
        let peak = self.config.log.peak_tflops.or_else(|| peak_tflops(self.decoder.device()))?;
        let model = self.decoder.config();
        let joint = steps.clone().filter(|step| self.config.is_joint_step(*step)).count() as f64;
        let second = self.config.joint.as_ref().map_or(0.0, |j| step_flops(&self.config, model, j.pattern()));
        let first = step_flops(&self.config, model, self.base_pattern());
        let flops = (steps.end - steps.start) as f64 * first + joint * second;
        Some(flops / seconds / (peak * 1e12 * self.team.size() as f64))
    }

    /// Validation, samples and memory statistics, where due.
    fn observe(&mut self, is_last: bool) -> Result<()> {
        if !self.team.is_main() {
            return Ok(());
        }
        let step = self.step;
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || is_last);
        if due(self.config.validation.every) && !self.validation.is_empty() {
            let result = self.validation.run(&self.decoder, self.base_pattern(), self.step)?;
            self.progress.note(&result.to_string());
            let mut scalars: Vec<(String, f64)> = Vec::new();
            scalars.extend(result.text_loss.map(|x| ("validation/text".to_owned(), x)));
            for task in &result.tasks {
                scalars.push((format!("validation/solved/{}", task.task), task.solved));
                scalars.push((format!("validation/answer/{}", task.task), task.answer_loss));
            }
            let borrowed: Vec<(&str, f64)> = scalars.iter().map(|(tag, x)| (tag.as_str(), *x)).collect();
            self.write_scalars(&borrowed);
            let mut value = serde_json::to_value(&result).expect("a validation is plain data");
            if let Some(memory) = crate::memory_stats::measure(&self.decoder, &self.mixture)? {
                self.progress.note(&memory.to_string());
                value["memory"] = serde_json::to_value(&memory).expect("statistics are plain data");
            }
            self.record.validations.push(value);
        }
        if due(self.config.samples.every)
            && let Some(encoder) = &self.built.encoder
        {
            for prompt in &self.config.samples.prompts {
                let text = sample_text(&self.decoder, encoder, prompt, self.config.samples.tokens)?;
                self.progress.note(&format!("sample at {}: {prompt:?} -> {text:?}", self.step));
            }
        }
        Ok(())
    }

    fn warn(&mut self, warning: Option<String>) {
        if let Some(warning) = warning {
            let line = format!("step {}: {warning}", self.step);
            self.progress.note(&format!("warning: {line}"));
            self.record.warnings.push(line);
        }
    }

    /// A checkpoint on the way: if it cannot be written (the disk is full), training goes on and the next one
    /// tries again.
    fn save_or_warn(&mut self, clock: &Clock) {
        if !self.team.is_main() {
            return;
        }
        if let Err(error) = self.save(clock) {
            self.warn(Some(format!(
                "no checkpoint was written ({error}); older ones are intact, training goes on"
            )));
        }
    }

    fn save(&self, clock: &Clock) -> Result<()> {
        self.save_after(self.earlier_seconds + clock.start.elapsed().as_secs_f64())
    }

    /// Writes a checkpoint after `seconds` of training.
    pub(super) fn save_after(&self, seconds: f64) -> Result<()> {
        let state = TrainingState {
            step: self.step,
            optimizer_step: self.optimizer.steps(),
            seconds,
            skipped: self.guard.skipped(),
            tokenizer: self.built.tokenizer.to_string(),
        };
        let saved = self.checkpoints.save(self.step, |folder| {
            write_model(folder, &self.decoder, self.built.tokenizer_folder.as_deref())?;
            write_optimizer(folder, &self.decoder, &self.optimizer)?;
            state.write(folder, &self.config)
        });
        saved.map(|_| ()).map_err(explain_full)
    }
}

/// Says what is kept and what to do when the disk is full.
fn explain_full(error: Error) -> Error {
    let hint = "the disk is full; finished checkpoints are intact: free some space and pass --resume";
    let (path, kind) = match &error {
        Error::Io { path, source } => (path, source.kind()),
        Error::Model(wane_model::Error::Io { path, cause, .. }) => (path, cause.kind()),
        _ => return error,
    };
    match kind {
        ErrorKind::StorageFull => {
            Error::Io { path: path.clone(), source: std::io::Error::new(ErrorKind::StorageFull, hint) }
        }
        _ => error,
    }
}

/// Adds the settings that help to an out-of-memory error.
fn explain_memory(error: Error) -> Error {
    use wane_kernels::Error::OutOfMemory;
    match error {
        Error::Kernel(OutOfMemory { device, bytes, .. })
        | Error::Model(wane_model::Error::Kernel(OutOfMemory { device, bytes, .. })) => {
            let hint = "raise training.accumulation, set training.recompute = true, or lower training.batch"
                .to_owned();
            Error::Kernel(OutOfMemory { device, bytes, hint })
        }
        other => other,
    }
}

/// Dense bf16 rate of known GPUs in TFLOP/s.
fn peak_tflops(device: &Device) -> Option<f64> {
    let Device::Cuda(cuda) = device else { return None };
    let known = [
        ("H100 PCIe", 756.0),
        ("H100", 989.0),
        ("H200", 989.0),
        ("A100", 312.0),
        ("4090", 165.0),
        ("L40S", 362.0),
    ];
    known.iter().find(|(name, _)| cuda.name().contains(name)).map(|(_, peak)| *peak)
}

/// Trains a run from its configuration.
///
/// # Errors
/// As [`Trainer::new`] and [`Trainer::run`].
pub fn train(config: &crate::RunConfig, surroundings: super::Surroundings) -> Result<RunRecord> {
    let trainer = Trainer::new(config, surroundings)?;
    trainer.run()
}

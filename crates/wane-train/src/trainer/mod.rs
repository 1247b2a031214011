//! The training loop.
//!
//! A step takes one batch. Its passes are one (dense, or the adaptation's mask) or, in joint training, two
//! (first the restricted mask, then dense), each with its own gradients, clipping and AdamW step; the
//! learning rate moves once a step. Losses and gradient norms stay on the device and are read back at log
//! steps only. A run is a function of configuration and seed; on the CPU it is the same to the bit however
//! often it is interrupted and resumed.

mod resume;
mod run;
mod step;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wane_kernels::Device;
use wane_kernels::ops::attention::Pattern;
use wane_model::decoder::{Decoder, Gradients};

use crate::Result;
use crate::build::Built;
use crate::checkpoint::{Changes, CheckpointFolder};
use crate::config::RunConfig;
use crate::cost::{Cost, Elements};
use crate::data::tokenizer::TokenizerHash;
use crate::data::{Mixture, SampleSource};
use crate::guard::Guard;
use crate::observe::{EventWriter, Progress, ProgressOutput, RunRecord};
use crate::optimizer::Optimizer;
use crate::parallel::{Ranks, Team};
use crate::validation::ValidationSet;

pub use run::train;

/// Whether a run starts or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From step 0; an output folder that holds checkpoints is an error.
    New,
    /// From the newest checkpoint; from step 0 if there is none.
    Resume(Changes),
}

/// What a run needs besides its configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// Start or resume.
    pub start: Start,
    /// The processes of a data parallel run; `None` for one.
    pub ranks: Option<Ranks>,
    /// Generator of samples, if the configuration asks for any.
    pub source: Option<Arc<dyn SampleSource>>,
    /// Where progress goes.
    pub progress: ProgressOutput,
    /// Set (by Ctrl-C): finish the step, save, end.
    pub stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surroundings({:?}, {:?})", self.start, self.progress)
    }
}

/// A run, ready to go on at [`Trainer::step`].
#[derive(Debug)]
pub struct Trainer {
    config: RunConfig,
    surroundings: Surroundings,
    cost: Cost,
    decoder: Decoder,
    built: Extras,
    optimizer: Optimizer,
    gradients: Gradients,
    pub(crate) mixture: Arc<Mixture>,
    validation: ValidationSet,
    checkpoints: CheckpointFolder,
    guard: Guard,
    record: RunRecord,
    // Rank 0's; the others write nothing.
    events: Option<EventWriter>,
    team: Team,
    progress: Progress,
    // Completed steps.
    step: u64,
    // Seconds of earlier parts of the run.
    earlier_seconds: f64,
    // Whether a curve or record could not be written, which is said once.
    is_unwritten: bool,
}

/// The model's tokenizer.
#[derive(Debug)]
struct Extras {
    encoder: Option<crate::data::tokenizer::Encoder>,
    tokenizer_folder: Option<std::path::PathBuf>,
    tokenizer: TokenizerHash,
}

impl Trainer {
    /// Checks everything, opens data and model, and restores the newest checkpoint if asked to.
    ///
    /// # Errors
    /// Anything wrong with configuration, data, checkpoint or device.
    pub fn new(config: &RunConfig, surroundings: Surroundings) -> Result<Self> {
        config.check()?;
        let device = open_device(config, surroundings.ranks.as_ref())?;
        let mut team = Team::join(surroundings.ranks.as_ref(), config, &device)?;
        let outcome = Self::open(config, surroundings, device, &mut team);
        let mut trainer = team.tell_if_failed(outcome)?;
        trainer.team = team;
        Ok(trainer)
    }

    /// The run of one process; its `team` is put in by the caller.
    fn open(config: &RunConfig, surroundings: Surroundings, device: Device, team: &mut Team) -> Result<Self> {
        let (checkpoints, from) = resume::agree(config, &surroundings, team)?;
        let Built { mut decoder, encoder, tokenizer_folder } =
            resume::build(config, from.as_deref(), &device)?;
        let tokenizer = encoder.as_ref().map_or(TokenizerHash([0; 32]), |e| *e.hash());
        // Toy models without a tokenizer end documents with their last id.
        let end = encoder.as_ref().map_or(decoder.config().vocab_size as u32 - 1, |e| e.end());
        let mixture = Arc::new(Mixture::new(config, surroundings.source.clone(), &tokenizer, end)?);
        let validation = ValidationSet::new(config, &mixture, &tokenizer)?;
        let mut optimizer = Optimizer::new(&mut decoder, &config.optimizer)?;
        let gradients = Gradients::zeros(&decoder)?;
        let mut cost = Cost::of(config, decoder.config(), Elements::of(&device));
        cost.bytes = Cost::bytes_of_part(config, decoder.config(), Elements::of(&device), team.size());
        let mut record = new_record(config, &cost, &device, &tokenizer);
        let mut step = 0;
        let mut earlier_seconds = 0.0;
        if let Some(folder) = &from {
            let state =
                resume::restore(folder, config, &mut decoder, &mut optimizer, (&tokenizer, &surroundings))?;
            step = state.step;
            earlier_seconds = state.seconds;
            record.take_over(RunRecord::read(&config.output), step);
        }
        let progress = Progress::start(surroundings.progress, step, config.steps());
        Ok(Self {
            events: match team.is_main() {
                true => Some(EventWriter::create(&config.output.join("events"))?),
                false => None,
            },
            team: Team::default(),
            guard: Guard::new(&config.guard),
            config: config.clone(),
            built: Extras { encoder, tokenizer_folder, tokenizer },
            surroundings,
            cost,
            decoder,
            optimizer,
            gradients,
            mixture,
            validation,
            checkpoints,
            record,
            progress,
            step,
            earlier_seconds,
            is_unwritten: false,
        })
    }

    /// What the run costs.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Completed steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Mask of the main pass.
    fn base_pattern(&self) -> Pattern {
        self.config.adaptation.as_ref().map_or(Pattern::Causal, |a| a.pattern())
    }
}

/// The configured device; with several processes `cuda` is the GPU of the local rank.
fn open_device(config: &RunConfig, ranks: Option<&Ranks>) -> Result<Device> {
    match ranks {
        Some(ranks) if config.device == "cuda" => Ok(Device::cuda(ranks.local_rank)?),
        _ => Ok(Device::parse(&config.device)?),
    }
}

fn new_record(config: &RunConfig, cost: &Cost, device: &Device, tokenizer: &TokenizerHash) -> RunRecord {
    let name = match device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(cuda) => format!("{device}: {}", cuda.name()),
    };
    RunRecord {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: "running".to_owned(),
        device: name,
        parameters: cost.parameters,
        predicted_bytes: cost.bytes,
        measured_bytes: None,
        total_flops: cost.flops,
        tokenizer: tokenizer.to_string(),
        resumed_from: Vec::new(),
        steps: 0,
        seconds: 0.0,
        tokens_per_second: 0.0,
        utilization: None,
        skipped: 0,
        warnings: Vec::new(),
        curve: Vec::new(),
        validations: Vec::new(),
        config: config.clone(),
    }
}

#[cfg(test)]
mod parity;
#[cfg(test)]
pub(crate) mod tests;

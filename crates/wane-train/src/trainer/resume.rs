//! Where a run starts: from nothing, or from its newest checkpoint.

use std::path::{Path, PathBuf};

use wane_kernels::{DType, Device};
use wane_model::checkpoint;
use wane_model::decoder::{Decoder, LoadOptions};

use super::{Start, Surroundings};
use crate::build::{self, Built, open_encoder};
use crate::checkpoint::weights::read_optimizer;
use crate::checkpoint::{CheckpointFolder, TrainingState};
use crate::config::RunConfig;
use crate::data::tokenizer::TokenizerHash;
use crate::optimizer::Optimizer;
use crate::{Error, Result};

/// The checkpoint to go on from, if any.
pub(super) fn choose(checkpoints: &CheckpointFolder, surroundings: &Surroundings) -> Result<Option<PathBuf>> {
    let newest = checkpoints.newest()?;
    match (surroundings.start, newest) {
        (Start::New, Some(path)) => Err(Error::checkpoint(
            &path,
            "the output folder already holds a run; pass --resume to go on with it, or choose another output",
        )),
        (_, newest) => Ok(newest),
    }
}

/// The model: as configured, or with the sizes of the checkpoint.
pub(super) fn build(config: &RunConfig, from: Option<&Path>, device: &Device) -> Result<Built> {
    let Some(folder) = from else { return build::build(config, device) };
    let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
    let found = checkpoint::open(folder)?;
    let decoder = Decoder::load(&found, device, LoadOptions { dtype: Some(dtype) })?;
    let (encoder, tokenizer_folder) = open_encoder(&config.model)?;
    Ok(Built { decoder, encoder, tokenizer_folder })
}

/// Takes over weights, moments and position.
pub(super) fn restore(
    folder: &Path,
    config: &RunConfig,
    decoder: &mut Decoder,
    optimizer: &mut Optimizer,
    (tokenizer, surroundings): (&TokenizerHash, &Surroundings),
) -> Result<TrainingState> {
    let state = TrainingState::read(folder)?;
    if let Start::Resume(changes) = surroundings.start {
        state.check(folder, config, &tokenizer.to_string(), changes)?;
    }
    if state.step > config.steps() {
        return Err(Error::checkpoint(
            folder,
            format!("has {} steps, the configuration only {}", state.step, config.steps()),
        ));
    }
    let states = read_optimizer(folder, decoder, optimizer)?;
    optimizer.restore(decoder, states, state.optimizer_step)?;
    Ok(state)
}

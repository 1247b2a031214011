//! Where a run starts: from nothing, or from its newest checkpoint.

use std::path::{Path, PathBuf};

use wane_kernels::{DType, Device};
use wane_model::decoder::{Decoder, LoadOptions};
use wane_model::{ModelConfig, checkpoint};

use super::{Start, Surroundings};
use crate::build::{self, Built, new_model, open_encoder};
use crate::checkpoint::weights::read_optimizer;
use crate::checkpoint::{CheckpointFolder, TrainingState};
use crate::config::RunConfig;
use crate::data::tokenizer::TokenizerHash;
use crate::optimizer::Optimizer;
use crate::parallel::Team;
use crate::{Error, Result};

/// The run's checkpoints and the one to go on from: rank 0 chooses, for all, once it is sure that all have the same
/// configuration.
pub(super) fn agree(
    config: &RunConfig,
    surroundings: &Surroundings,
    team: &mut Team,
) -> Result<(CheckpointFolder, Option<PathBuf>)> {
    let own = toml::to_string(config).map_err(Error::setting)?;
    if team.of_main(own.clone())? != own {
        return Err(Error::setting("this rank's configuration differs from that of rank 0"));
    }
    let keep = config.checkpoint.keep;
    let mut chosen = String::new();
    let mut checkpoints = CheckpointFolder::of(&config.output, keep);
    if team.is_main() {
        checkpoints = CheckpointFolder::open(&config.output, keep)?;
        chosen =
            choose(&checkpoints, surroundings)?.map_or(String::new(), |p| p.to_string_lossy().into_owned());
    }
    let chosen = team.of_main(chosen)?;
    Ok((checkpoints, (!chosen.is_empty()).then(|| PathBuf::from(chosen))))
}

/// The checkpoint to go on from, if any.
fn choose(checkpoints: &CheckpointFolder, surroundings: &Surroundings) -> Result<Option<PathBuf>> {
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
    let (encoder, tokenizer_folder) = open_encoder(&config.model)?;
    if config.model.init.is_none() {
        check_shapes(folder, &found.config, &new_model(config, encoder.as_ref())?)?;
    }
    let decoder = Decoder::load(&found, device, LoadOptions { dtype: Some(dtype) })?;
    Ok(Built { decoder, encoder, tokenizer_folder })
}

/// Refuses a checkpoint whose tensors are not those of the configured model, also under `--allow-changes`.
fn check_shapes(folder: &Path, found: &ModelConfig, wanted: &ModelConfig) -> Result<()> {
    let (found, wanted) = (found.parameters(), wanted.parameters());
    let differing = found.iter().zip(&wanted).find(|(a, b)| a != b);
    let (is, should) = match differing {
        Some(((name, shape), (other, needed))) => {
            (format!("{name} {shape:?}"), format!("{other} {needed:?}"))
        }
        None if found.len() == wanted.len() => return Ok(()),
        None => (format!("{} tensors", found.len()), format!("{} tensors", wanted.len())),
    };
    Err(Error::checkpoint(
        folder,
        format!(
            "holds a model of other shapes ({is}; the configuration needs {should}): restore [model], or start anew in \
             another output folder; to continue from its weights, name it as model.init"
        ),
    ))
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

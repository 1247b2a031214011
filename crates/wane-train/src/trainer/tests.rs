//! The training loop on toy models: loss falls, resume is exact, a stop loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wane_kernels::{Device, Tensor};

use super::run::train;
use super::{Start, Surroundings, Trainer};
use crate::checkpoint::Changes;
use crate::data::ShardWriter;
use crate::data::tokenizer::TokenizerHash;
use crate::observe::{ProgressOutput, RunRecord};
use crate::{Error, RunConfig};

/// A shard of squares modulo 40 again and again, which a small model learns at once.
pub(super) fn write_toy_shard(folder: &Path) -> PathBuf {
    let shard = folder.join("toy.tokens");
    if !shard.exists() {
        let mut writer = ShardWriter::create(&shard, 48, &TokenizerHash([0; 32])).expect("writes");
        let ids: Vec<u32> = (0..2000).map(|i| i * i % 40).collect();
        writer.document(&ids, 47).expect("writes");
        writer.finish().expect("writes");
    }
    shard
}

pub(crate) fn toy(folder: &Path, extra: &str) -> RunConfig {
    let shard = write_toy_shard(folder);
    let text = format!(
        "name = \"toy\"\noutput = {:?}\nseed = 5\n[model]\nbackbone = \"memory\"\ngate_bias = \"spread\"\nvocab_size = 48\n\
         hidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 2\nintermediate_size = 64\n\
         [data]\nthreads = 2\n[[data.text]]\nshards = {:?}\n\
         [training]\nsequence = 24\nbatch = 4\nsteps = 12\naccumulation = 2\n[optimizer]\nlr = 1e-2\nmemory_lr = 2e-2\n\
         [schedule]\nwarmup_steps = 2\n[log]\nevery = 1\n[checkpoint]\nevery = 4\n[joint]\npass = \"dilated\"\ndilation = 4\nevery = 2\n\
         [validation]\nevery = 6\nshards = {:?}\ntext_rows = 3\n{extra}",
        folder.join("out"),
        shard,
        shard
    );
    RunConfig::parse(&text, Path::new("toy.toml")).expect("valid")
}

pub(crate) fn surroundings(start: Start) -> Surroundings {
    Surroundings {
        start,
        ranks: None,
        source: None,
        progress: ProgressOutput::Silent,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

fn losses(record: &RunRecord) -> Vec<f64> {
    record.curve.iter().map(|p| p.loss).collect()
}

fn model_bytes(config: &RunConfig) -> Vec<u8> {
    fs::read(config.output.join("model/model.safetensors")).expect("the model")
}

#[test]
fn a_toy_model_learns_and_leaves_a_record() {
    let folder = tempfile::tempdir().expect("folder");
    let config = toy(folder.path(), "");
    let record = train(&config, surroundings(Start::New)).expect("trains");
    let losses = losses(&record);
    assert_eq!((losses.len(), record.status.as_str()), (12, "finished"));
    assert!(losses[0] > 3.5 && losses[11] < losses[0] - 0.5, "{losses:?}");
    // Validated at 6 and 12, with the reach of the memory.
    assert_eq!(record.validations.len(), 2);
    assert_eq!(record.validations[1]["memory"]["layers"].as_array().map(Vec::len), Some(2));
    let read = RunRecord::read(&config.output).expect("the record");
    assert_eq!((read.curve.len(), &read.config, read.status.as_str()), (12, &config, "finished"));
    // 12 steps, 6 of them with a second pass.
    let newest =
        fs::read_to_string(config.output.join("checkpoints/step-00000012/training.json")).expect("state");
    assert!(newest.contains("\"optimizer_step\": 18"), "{newest}");
    let found = wane_model::checkpoint::open(&config.output.join("model")).expect("loads");
    assert!(found.config.memory.is_some_and(|m| m.gate_bias));
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bits() {
    let whole = tempfile::tempdir().expect("folder");
    let config = toy(whole.path(), "");
    let record = train(&config, surroundings(Start::New)).expect("trains");

    let parts = tempfile::tempdir().expect("folder");
    let config_parts = toy(parts.path(), "");
    // "kill -9" after step 6: the checkpoint of step 4 is the newest.
    let mut trainer = Trainer::new(&config_parts, surroundings(Start::New)).expect("opens");
    let mixture = Arc::clone(&trainer.mixture);
    for step in 0..6 {
        trainer.train_step(&mixture.batch(step, 0..4).expect("rows")).expect("steps");
        if step == 3 {
            trainer.save_after(1.0).expect("saves");
        }
    }
    drop(trainer);
    let resumed = train(&config_parts, surroundings(Start::Resume(Changes::Refuse))).expect("resumes");
    assert_eq!(resumed.resumed_from, [4]);
    assert_eq!(losses(&resumed), losses(&record)[4..]);
    assert_eq!(model_bytes(&config_parts), model_bytes(&config));
}

#[test]
fn ctrl_c_finishes_the_step_and_saves() {
    let folder = tempfile::tempdir().expect("folder");
    let config = toy(folder.path(), "");
    let around = surroundings(Start::New);
    around.stop.store(true, Ordering::Relaxed);
    let record = train(&config, around).expect("stops");
    assert_eq!((record.status.as_str(), record.steps), ("interrupted", 0));
    let record = train(&config, surroundings(Start::Resume(Changes::Refuse))).expect("resumes");
    assert_eq!((record.status.as_str(), record.steps), ("finished", 12));
}

#[test]
fn a_second_run_into_the_same_folder_and_a_changed_configuration_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = toy(folder.path(), "");
    config.training.steps = Some(2);
    train(&config, surroundings(Start::New)).expect("trains");
    let message = train(&config, surroundings(Start::New)).expect_err("refused").to_string();
    assert!(message.contains("already holds a run; pass --resume"), "{message}");
    config.optimizer.lr = 3e-3;
    config.training.steps = Some(4);
    let message =
        train(&config, surroundings(Start::Resume(Changes::Refuse))).expect_err("refused").to_string();
    assert!(message.contains("optimizer.lr: 0.01 -> 0.003; training.steps: 2 -> 4"), "{message}");
    let record = train(&config, surroundings(Start::Resume(Changes::Allow))).expect("goes on");
    assert_eq!((record.steps, record.resumed_from), (4, vec![2]));
}

#[test]
fn a_checkpoint_of_other_shapes_is_refused_whatever_is_allowed() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = toy(folder.path(), "");
    config.training.steps = Some(1);
    train(&config, surroundings(Start::New)).expect("trains");
    config.training.steps = Some(2);
    config.model.intermediate_size = Some(80);
    let message =
        train(&config, surroundings(Start::Resume(Changes::Allow))).expect_err("refused").to_string();
    assert!(message.contains("mlp.gate_proj.weight [64, 32]; the configuration needs"), "{message}");
    config.model.intermediate_size = Some(64);
    config.model.backbone = Some(crate::config::Backbone::Attention);
    (config.model.gate_bias, config.optimizer.memory_lr) = (None, None);
    let message =
        train(&config, surroundings(Start::Resume(Changes::Allow))).expect_err("refused").to_string();
    assert!(message.contains("holds a model of other shapes"), "{message}");
}

#[test]
fn a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = toy(folder.path(), "");
    config.guard.max_skipped = 2;
    let mut trainer = Trainer::new(&config, surroundings(Start::New)).expect("opens");
    trainer.save_after(1.0).expect("saves");
    // Weights that were ruined: every loss is not a number from here on.
    let weight = trainer.decoder.parameter_mut(0).expect("dense");
    *weight = Tensor::from_f32(&vec![f32::NAN; weight.len()], weight.shape(), &Device::Cpu).expect("floats");
    let message = trainer.run().expect_err("stops").to_string();
    assert!(message.contains("3 steps in a row had gradients that are not finite"), "{message}");
    let record = RunRecord::read(&config.output).expect("the record");
    assert!(record.status.contains("not finite"), "{}", record.status);
    assert!(record.warnings.iter().any(|w| w.contains("the loss is NaN")), "{:?}", record.warnings);
    // The checkpoint from before is whole, and the run goes on from it.
    let resumed = train(&config, surroundings(Start::Resume(Changes::Refuse))).expect("resumes");
    assert_eq!((resumed.status.as_str(), resumed.resumed_from), ("finished", vec![0]));
}

#[test]
fn gradients_that_are_not_finite_never_reach_the_weights() {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = toy(folder.path(), "");
    config.guard.non_finite = crate::config::OnTrouble::Skip;
    let mut trainer = Trainer::new(&config, surroundings(Start::New)).expect("opens");
    let mut batch = trainer.mixture.batch(0, 0..4).expect("rows");
    let before = trainer.optimizer.states()[1].master.f32s().to_vec();
    batch.weights[0] = f32::INFINITY;
    let stepped = trainer.train_step(&batch).expect("steps");
    assert!(!stepped.norms[0].f32s()[0].is_finite());
    assert_eq!(trainer.optimizer.states()[1].master.f32s(), before);
    let good = trainer.mixture.batch(1, 0..4).expect("rows");
    trainer.train_step(&good).expect("steps");
    assert_ne!(trainer.optimizer.states()[1].master.f32s(), before);
}

#[test]
fn accumulation_and_recomputation_change_nothing_but_rounding() {
    let folder = tempfile::tempdir().expect("folder");
    let mut curves = Vec::new();
    for (i, (accumulation, recompute)) in [(1, false), (4, false), (1, true)].into_iter().enumerate() {
        let mut config = toy(folder.path(), "");
        config.output = folder.path().join(i.to_string());
        config.training.accumulation = accumulation;
        config.training.recompute = recompute;
        config.validation.every = 0;
        config.training.steps = Some(5);
        curves.push(losses(&train(&config, surroundings(Start::New)).expect("trains")));
    }
    for other in &curves[1..] {
        for (a, b) in curves[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-4, "{curves:?}");
        }
    }
    assert_eq!(curves[0], curves[2], "recomputation is exact");
}

#[test]
fn the_memory_is_added_to_a_trained_model_without_a_jump() {
    let folder = tempfile::tempdir().expect("folder");
    let mut first = toy(folder.path(), "");
    first.model.backbone = Some(crate::config::Backbone::Attention);
    first.model.gate_bias = None;
    first.optimizer.memory_lr = None;
    first.joint = None;
    let attention = train(&first, surroundings(Start::New)).expect("trains");
    let text = format!(
        "name = \"added\"\noutput = {:?}\nseed = 5\n[model]\ninit = {:?}\nbackbone = \"memory\"\n[data]\n[[data.text]]\nshards = {:?}\n\
         [training]\nsequence = 24\nbatch = 4\nsteps = 3\n[optimizer]\nlr = 1e-4\nmemory_lr = 1e-2\n[log]\nevery = 1\n",
        folder.path().join("added"),
        first.output.join("model"),
        folder.path().join("toy.tokens"),
    );
    let second = RunConfig::parse(&text, Path::new("added.toml")).expect("valid");
    let record = train(&second, surroundings(Start::New)).expect("trains");
    let (before, after) = (losses(&attention)[11], losses(&record)[0]);
    assert!((after - before).abs() < 0.25, "{before} {after}");
}

#[test]
fn a_disk_that_is_full_for_the_record_stops_no_training() {
    let folder = tempfile::tempdir().expect("folder");
    let config = toy(folder.path(), "");
    fs::create_dir_all(&config.output).expect("makes");
    // The record is written under this name first: into the device file that is always full.
    let partial = config.output.join("record.json.partial");
    std::os::unix::fs::symlink("/dev/full", &partial).expect("links");
    let trainer = Trainer::new(&config, surroundings(Start::New)).expect("opens");
    let message = trainer.run().expect_err("the last record cannot be written").to_string();
    assert!(message.contains("record.json.partial") && message.contains("free some space"), "{message}");
    // Everything else is there.
    let checkpoints = super::CheckpointFolder::open(&config.output, 2).expect("opens");
    assert!(checkpoints.newest().expect("reads").is_some_and(|p| p.ends_with("step-00000012")));
    assert!(config.output.join("model/model.safetensors").is_file());
}

#[test]
fn a_full_disk_is_an_error_that_keeps_older_checkpoints() {
    // The device file that is always full stands in for the disk.
    let folder = tempfile::tempdir().expect("folder");
    let config = toy(folder.path(), "");
    let trainer = Trainer::new(&config, surroundings(Start::New)).expect("opens");
    let checkpoints = trainer.checkpoints.clone();
    trainer.save_after(1.0).expect("saves");
    let failed = checkpoints.save(9, |path| {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").map_err(Error::io(path))?;
        std::io::Write::write_all(&mut &full, b"x").map_err(Error::io(path))
    });
    assert!(failed.is_err());
    assert_eq!(checkpoints.list().expect("lists").len(), 1);
}

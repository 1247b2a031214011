//! Loss parity with PyTorch (`reference/torch_train.py`): the same weights and batches from integer formulas,
//! 200 steps in f32 on the CPU, both backbones and joint training. The whole trainer's step is compared:
//! forward, backward, clipping, AdamW with its groups, schedule.

use std::path::Path;

use wane_kernels::ops::adamw::AdamwState;
use wane_kernels::{DType, Device, Tensor};

use super::Trainer;
use super::tests::{surroundings, write_toy_shard};
use crate::RunConfig;
use crate::data::HostBatch;
use crate::data::batch::TargetKind;
use crate::trainer::Start;

const VOCAB: u64 = 48;
const TOKENS: u64 = 40;
const ROWS: u64 = 4;

fn splitmix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

fn uniform(index: usize, n: usize) -> Vec<f32> {
    let value = |i: usize| {
        let bits = splitmix(((index as u64) << 32).wrapping_add(i as u64));
        let unit = (bits >> 40) as f64 / f64::from(1 << 24);
        ((unit * 2.0 - 1.0) * 0.08 * 3.0f64.sqrt()) as f32
    };
    (0..n).map(value).collect()
}

fn batch(step: u64) -> HostBatch {
    let mut batch = HostBatch {
        rows: ROWS as usize,
        tokens: TOKENS as usize,
        ids: Vec::new(),
        targets: Vec::new(),
        weights: Vec::new(),
        kinds: vec![TargetKind::Text; (ROWS * TOKENS) as usize],
        starts: vec![Vec::new(); ROWS as usize],
    };
    for row in 0..ROWS {
        let [a, b] = [0, 1].map(|i| splitmix((7 << 40) + step * 64 + row * 2 + i) % VOCAB);
        batch.ids.extend((0..TOKENS).map(|t| ((a * t + b) % VOCAB) as i32));
        batch.targets.extend((1..=TOKENS).map(|t| ((a * t + b) % VOCAB) as i32));
        batch.weights.extend((0..TOKENS).map(|t| if t % 4 == 0 { 1.0 } else { 0.1 }));
    }
    batch
}

/// Replaces the weights by those of the formula: parameter `i` in the canonical order of the configuration.
fn set_weights(trainer: &mut Trainer) {
    let mut states = Vec::new();
    let canonical = trainer.decoder.config().parameters();
    for parameter in trainer.decoder.parameters() {
        let index = canonical.iter().position(|(name, _)| *name == parameter.name).expect("a canonical name");
        let shape = &canonical[index].1;
        let n = shape.iter().product();
        let values = if shape.len() == 1 { vec![1.0; n] } else { uniform(index, n) };
        let zeros = || Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("memory");
        let master = Tensor::from_f32(&values, shape, &Device::Cpu).expect("memory");
        states.push(AdamwState { master, m: zeros(), v: zeros() });
    }
    trainer.optimizer.restore(&mut trainer.decoder, states, 0).expect("restores");
}

fn check(name: &str, settings: &str) {
    let folder = tempfile::tempdir().expect("folder");
    let text = format!(
        "name = \"parity\"\noutput = {:?}\n{settings}vocab_size = 48\nhidden_size = 32\nnum_hidden_layers = 2\n\
         num_attention_heads = 2\nintermediate_size = 48\n[data]\n[[data.text]]\nshards = {:?}\n\
         [training]\nsequence = 40\nbatch = 4\nsteps = 200\n[schedule]\nwarmup_steps = 20\nend = 0.1\n",
        folder.path().join("out"),
        write_toy_shard(folder.path()),
    );
    let config = RunConfig::parse(&text, Path::new("parity.toml")).expect("valid");
    let mut trainer = Trainer::new(&config, surroundings(Start::New)).expect("opens");
    set_weights(&mut trainer);
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/torch_losses.json");
    let fixture = std::fs::read_to_string(fixture).expect("the fixture");
    let fixture: serde_json::Value = serde_json::from_str(&fixture).expect("JSON");
    let expected: Vec<f64> = serde_json::from_value(fixture[name].clone()).expect("a curve");
    let mut worst = 0.0f64;
    for (step, expected) in expected.iter().enumerate() {
        let batch = batch(step as u64);
        let stepped = trainer.train_step(&batch).expect("steps");
        let loss = trainer.read_losses(&batch, &stepped.losses).expect("losses").weighted();
        worst = worst.max((loss - expected).abs());
        assert!((loss - expected).abs() <= 1e-3, "{name}, step {step}: {loss}, PyTorch {expected}");
    }
    println!("{name}: largest difference to PyTorch over {} steps: {worst:.2e}", expected.len());
}

#[test]
fn attention_follows_pytorch_for_200_steps() {
    check("attention", "[optimizer]\nlr = 3e-3\n[model]\nbackbone = \"attention\"\n");
}

#[test]
fn memory_follows_pytorch_for_200_steps() {
    check("memory", "[optimizer]\nlr = 3e-3\nmemory_lr = 6e-3\n[model]\nbackbone = \"memory\"\n");
}

#[test]
fn joint_training_follows_pytorch_for_200_steps() {
    check(
        "memory_joint",
        "[optimizer]\nlr = 3e-3\nmemory_lr = 6e-3\n[joint]\npass = \"dilated\"\ndilation = 8\nevery = 2\n\
         [model]\nbackbone = \"memory\"\n",
    );
}

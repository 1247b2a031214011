//! The configurations that the project ships under `runs/` are valid, and the two halves of the pair
//! differ in nothing but the lines marked PAIR.

use std::path::PathBuf;

use super::RunConfig;
use super::differences::differences;

fn runs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../runs"))
}

#[test]
fn every_shipped_configuration_is_valid() {
    let mut found = 0;
    for entry in std::fs::read_dir(runs()).expect("runs/").flatten() {
        if entry.path().extension().is_some_and(|e| e == "toml") {
            RunConfig::load(&entry.path()).expect("valid");
            found += 1;
        }
    }
    assert!(found >= 7, "{found} configurations");
}

fn differing(a: &str, b: &str) -> Vec<String> {
    let load = |name: &str| RunConfig::load(&runs().join(name)).expect("valid");
    let key = |change: &String| change.split(':').next().unwrap_or("").to_owned();
    differences(&load(a), &load(b)).iter().map(key).collect()
}

#[test]
fn the_pair_differs_in_the_backbone_only() {
    let keys = differing("pair-attention.toml", "pair-memory.toml");
    assert_eq!(keys, ["model.backbone", "model.gate_bias", "name"]);
}

#[test]
fn the_control_of_an_added_memory_differs_in_the_memory_only() {
    let keys = differing("memory-added-control.toml", "memory-added.toml");
    let added = [
        "joint.dilation",
        "joint.pass",
        "joint.window",
        "model.backbone",
        "model.gate_bias",
        "name",
        "optimizer.memory_lr",
    ];
    assert_eq!(keys, added);
}

#[test]
fn second_passes_of_the_joint_pair_cost_about_the_same() {
    for (attention, memory) in [
        ("pair-attention-joint.toml", "pair-memory-joint.toml"),
        ("joint-attention.toml", "joint-memory.toml"),
    ] {
        let keys = differing(attention, memory);
        assert_eq!(
            keys,
            ["joint.dilation", "joint.pass", "joint.window", "model.backbone", "model.gate_bias", "name"]
        );
    }
    // The later pair is the first one but for its length, the second passes and how data is prepared.
    let keys = differing("pair-memory.toml", "joint-memory.toml");
    let may = |key: &String| key == "name" || key == "training.tokens" || key.starts_with("joint.");
    assert!(keys.iter().all(may), "{keys:?}");
    // What the second pass of either half may see of a long row.
    let visible = |name: &str| {
        let config = RunConfig::load(&runs().join(name)).expect("valid");
        crate::cost::mean_visible(config.joint.expect("a second pass").pattern(), config.training.sequence)
    };
    let (attention, memory) = (visible("joint-attention.toml"), visible("joint-memory.toml"));
    assert!((attention - memory).abs() < 40.0, "{attention} {memory}");
}

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

#[test]
fn the_pair_differs_in_the_backbone_and_its_second_pass_only() {
    let load = |name: &str| RunConfig::load(&runs().join(name)).expect("valid");
    let changed = differences(&load("pair-attention.toml"), &load("pair-memory.toml"));
    let keys: Vec<&str> = changed.iter().map(|c| c.split(':').next().unwrap_or("")).collect();
    let expected = ["joint.pass", "joint.window", "model.backbone", "model.gate_bias", "name"];
    assert_eq!(keys, expected);
    // What the second pass of either half may see of a long row, and so its cost, is alike.
    let cost = |name: &str| {
        let config = load(name);
        crate::cost::mean_visible(config.joint.expect("a second pass").pattern(), config.training.sequence)
    };
    let (attention, memory) = (cost("pair-attention.toml"), cost("pair-memory.toml"));
    assert!((attention - memory).abs() < 40.0, "{attention} {memory}");
}

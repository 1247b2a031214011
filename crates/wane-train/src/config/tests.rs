//! Configurations: what is read, what is refused, and what the messages say.

use std::path::Path;

use super::RunConfig;
use super::differences::differences;

pub(crate) const TOY: &str = r#"
name = "toy"
output = "out"

[model]
backbone = "memory"
vocab_size = 64
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 64

[data]
[[data.text]]
shards = "x.tokens"

[training]
sequence = 32
batch = 4
steps = 10

[optimizer]
lr = 1e-3
"#;

fn error_of(text: &str) -> String {
    RunConfig::parse(text, Path::new("toy.toml")).expect_err("must be refused").to_string()
}

#[test]
fn a_minimal_file_is_enough() {
    let config = RunConfig::parse(TOY, Path::new("toy.toml")).expect("valid");
    assert_eq!((config.steps(), config.tokens_per_step()), (10, 128));
    assert_eq!(config.optimizer.betas, [0.9, 0.95]);
}

#[test]
fn an_unknown_key_names_its_line_and_the_nearest_key() {
    let text = TOY.replace("hidden_size = 32", "hiden_size = 32");
    assert_eq!(error_of(&text), "toy.toml:8: unknown key `hiden_size`; did you mean `hidden_size`?");
    let text = TOY.replace("\"memory\"", "\"memori\"");
    assert_eq!(error_of(&text), "toy.toml:6: unknown value `memori`; did you mean `memory`?");
}

#[test]
fn contradictions_say_what_to_change() {
    for (from, to, expected) in [
        ("steps = 10", "steps = 10\ntokens = 5", "exclude each other"),
        ("steps = 10", "", "steps or training.tokens is missing"),
        ("batch = 4", "batch = 4\naccumulation = 3", "not divisible by training.accumulation 3"),
        ("[model]", "[model]\ninit = \"m\"", "contradicts model.init"),
        ("\"memory\"", "\"attention\"\ngate_bias = 1.0", "gate_bias needs"),
        (
            "\"memory\"",
            "\"memory\"\nmax_position_embeddings = 16",
            "longer than model.max_position_embeddings 16",
        ),
        ("lr = 1e-3", "lr = nan", "lr must be above 0"),
    ] {
        let message = error_of(&TOY.replace(from, to));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn contradictions_name_their_line() {
    let lines =
        |text: &str, what: &str| 1 + text.lines().position(|line| line.contains(what)).expect("there");
    let stages =
        "\n[[stages]]\nuntil = 0.5\nlengths = [4, 8]\n[[stages]] # 2\nuntil = 0.4\nlengths = [4, 8]\n";
    for (text, place, message) in [
        (TOY.replace("batch = 4", "batch = 4\naccumulation = 3"), "batch = 4", "is not divisible by"),
        (TOY.replace("steps = 10", ""), "[training]", "steps or training.tokens is missing"),
        (format!("{TOY}{stages}"), "until = 0.4", "stages[1].until 0.4 is not after 0.5"),
        (
            format!("{TOY}[joint]\npass = \"window\"\ndilation = 64\n"),
            "dilation = 64",
            "joint.dilation has no effect",
        ),
    ] {
        let error = error_of(&text);
        assert!(error.starts_with(&format!("toy.toml:{}: ", lines(&text, place))), "{error}");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn tokens_round_up_to_steps() {
    let config = RunConfig::parse(&TOY.replace("steps = 10", "tokens = 129"), Path::new("t")).expect("valid");
    assert_eq!(config.steps(), 2);
}

#[test]
fn joint_steps_follow_every_from_and_until() {
    let text = format!("{TOY}\n[joint]\npass = \"dilated\"\nevery = 2\nfrom = 0.2\nuntil = 0.8\n");
    let config = RunConfig::parse(&text, Path::new("t")).expect("valid");
    let steps: Vec<u64> = (0..10).filter(|s| config.is_joint_step(*s)).collect();
    assert_eq!(steps, [2, 4, 6]);
}

#[test]
fn differences_name_what_changed_and_leave_out_what_is_free() {
    let old = RunConfig::parse(TOY, Path::new("t")).expect("valid");
    let mut new = old.clone();
    new.log.every = 99;
    new.output = "elsewhere".into();
    assert!(differences(&old, &new).is_empty());
    new.optimizer.lr = 2e-3;
    new.training.steps = Some(11);
    assert_eq!(differences(&old, &new), ["optimizer.lr: 0.001 -> 0.002", "training.steps: 10 -> 11"]);
}

#[test]
fn one_setting_can_be_replaced_on_the_command_line() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("toy.toml");
    let stages = "[[stages]]\nuntil = 1.0\nlengths = [4, 8]\n";
    std::fs::write(&path, format!("{TOY}{stages}")).expect("writes");
    let load = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        RunConfig::load_with(&path, &settings)
    };
    let config = load(&["optimizer.lr=2e-3", "joint.pass=window", "stages.0.lengths=[5, 9]", "output=a b"]);
    let config = config.expect("valid");
    assert_eq!((config.optimizer.lr, config.stages[0].lengths), (2e-3, [5, 9]));
    assert_eq!(config.joint.map(|j| j.pass), Some(crate::config::PassKind::Window));
    assert_eq!(config.output, Path::new("a b"));
    for (setting, expected) in [
        ("optimizer.lr", "expected KEY=VALUE"),
        ("optimiser.lr=1", "unknown key `optimiser`; did you mean `optimizer`?"),
        ("optimizer.lr.x=1", "`lr` is no table"),
        ("stages.1.full=1.0", "`1` is no entry of that list (0 to 0)"),
        ("optimizer.lr=-1.0", "lr must be above 0"),
        ("training.batch=many", "invalid type"),
    ] {
        let message = load(&[setting]).expect_err("refused").to_string();
        assert!(message.contains(expected), "{message}");
    }
}

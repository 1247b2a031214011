//! `wane train` as a process: kill -9 at any moment loses nothing but time, Ctrl-C finishes the step.
//! `runs/kill-resume.sh` does the same with a larger run and random moments.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const MODELS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/memory");

/// A run of `steps` small steps on generated samples that saves every second one.
fn write_config(folder: &Path, steps: u32) -> PathBuf {
    let path = folder.join("run.toml");
    let text = format!(
        "name = \"kill\"\noutput = \"unused\"\nseed = 7\n[model]\nbackbone = \"memory\"\ngate_bias = \"spread\"\n\
         tokenizer = {MODELS:?}\nhidden_size = 32\nnum_hidden_layers = 2\nnum_attention_heads = 2\nintermediate_size = 64\n\
         [data.generated]\ntasks = [\"niah_single_1\"]\nhaystack = {:?}\n\
         [[stages]]\nuntil = 1.0\nlengths = [96, 128]\n\
         [training]\nsequence = 128\nbatch = 2\nsteps = {steps}\n[optimizer]\nlr = 1e-3\n\
         [joint]\npass = \"dilated\"\nevery = 2\ndilation = 16\n[checkpoint]\nevery = 2\n[log]\nevery = 4\n",
        folder.join("text.txt"),
    );
    fs::write(folder.join("text.txt"), "The grass is green. The sky is blue. ".repeat(200)).expect("writes");
    fs::write(&path, text).expect("writes");
    path
}

fn train(config: &Path, output: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wane"));
    command.arg("--threads").arg("1").arg("train").arg(config).arg("--output").arg(output).arg("--resume");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn newest(output: &Path) -> Option<u32> {
    let entries = fs::read_dir(output.join("checkpoints")).ok()?;
    let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| name.strip_prefix("step-")?.parse().ok()).max()
}

#[test]
fn kill_9_at_any_moment_and_resume_give_the_same_weights() {
    let folder = tempfile::tempdir().expect("folder");
    let config = write_config(folder.path(), 120);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    assert!(train(&config, &whole).status().expect("runs").success());
    // Each time it is killed a little after another checkpoint has appeared, at an uneven moment.
    let (mut kills, mut seen) = (0, 0);
    while kills < 4 {
        let mut child = train(&config, &killed).spawn().expect("starts");
        let goal = seen + 4;
        while newest(&killed).unwrap_or(0) < goal && child.try_wait().expect("waits").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(3 * kills));
        child.kill().expect("kill -9");
        child.wait().expect("ends");
        seen = newest(&killed).expect("a checkpoint");
        kills += 1;
    }
    assert!(seen < 120, "the run ended before it was killed four times");
    assert!(train(&config, &killed).status().expect("runs").success());
    for file in ["model/model.safetensors", "checkpoints/step-00000120/optimizer.safetensors"] {
        assert!(
            fs::read(whole.join(file)).expect("reads") == fs::read(killed.join(file)).expect("reads"),
            "{file} differs"
        );
    }
}

#[test]
fn ctrl_c_finishes_the_step_saves_and_ends_without_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let config = write_config(folder.path(), 100_000);
    let output = folder.path().join("out");
    let mut child = train(&config, &output).spawn().expect("starts");
    while newest(&output).unwrap_or(0) < 2 {
        assert!(child.try_wait().expect("waits").is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(2));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("signals");
    assert!(status.success());
    assert!(child.wait().expect("ends").success());
    check_interrupted(&output);
    // The same when the time that was given is over.
    let status = train(&config, &output).args(["--max-seconds", "1"]).status().expect("runs");
    assert!(status.success());
    check_interrupted(&output);
}

/// The record says that the run was interrupted, and names the step of the newest checkpoint.
#[track_caller]
fn check_interrupted(output: &Path) {
    let record = fs::read_to_string(output.join("record.json")).expect("the record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["status"], "interrupted");
    assert_eq!(record["steps"].as_u64(), newest(output).map(u64::from));
}

//! Packs `wane`, the kernels' test binary and their benchmarks for a machine with a GPU and no Rust.
//!
//! There, `WANE_TEST_DEVICE=cuda ./kernels-tests` runs the same tests that run here on the CPU, and
//! `./cuda_bench` and `./cuda_attention_bench` time the operators.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const FOLDER: &str = ".gpu";

// Examples of wane-kernels that time a GPU.
const BENCHMARKS: [&str; 2] = ["cuda_bench", "cuda_attention_bench"];

// Test binaries: package, cargo's target, name in the bundle.
const TESTS: [(&str, &[&str], &str); 3] = [
    ("wane-kernels", &["--lib"], "kernels-tests"),
    ("wane-attention", &["--lib"], "attention-tests"),
    ("wane-model", &["--test", "cuda"], "model-tests"),
];

const SCRIPT: &str = "#!/usr/bin/env bash\n# Conformance tests on the GPU: the bodies that run on the CPU in CI.\nset -u\ncd \"$(dirname \"$0\")\"\nexport WANE_TEST_DEVICE=cuda\nstatus=0\nfor tests in kernels-tests attention-tests model-tests; do\n  ./$tests --test-threads=1 \"$@\" || status=1\ndone\nexit $status\n";

/// Builds, strips and copies into `.gpu/`.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("usage: cargo xtask bundle");
    }
    let out = root.join(FOLDER);
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    cargo(root, &["build", "--release", "--package", "wane-cli"])?;
    install(&root.join("target/release/wane"), &out.join("wane"))?;
    for name in BENCHMARKS {
        cargo(root, &["build", "--release", "--package", "wane-kernels", "--example", name])?;
        install(&root.join("target/release/examples").join(name), &out.join(name))?;
    }
    for (package, target, name) in TESTS {
        install(&test_binary(root, package, target)?, &out.join(name))?;
    }
    let script = out.join("conformance.sh");
    fs::write(&script, SCRIPT)?;
    run_command(Command::new("chmod").arg("+x").arg(&script))?;
    println!("bundle: {} (run conformance.sh there)", out.display());
    Ok(())
}

fn test_binary(root: &Path, package: &str, target: &[&str]) -> Result<PathBuf> {
    let arguments =
        [&["test", "--package", package], target, &["--no-run", "--message-format=json"]].concat();
    let output = Command::new("cargo").args(&arguments).current_dir(root).output()?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains("\"executable\":\""))
        .filter_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next())
        .next_back()
        .map(PathBuf::from)
        .with_context(|| format!("cargo named no test binary of {package}"))
}

fn install(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    run_command(Command::new("strip").arg(to))
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    run_command(Command::new("cargo").args(arguments).current_dir(root))
}

fn run_command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed");
    }
    Ok(())
}

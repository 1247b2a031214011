//! The rules that a program can check: module headers, file lengths, ignored tests, the arrows
//! between crates, completeness of the registries.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files over this many lines need a reason in [`LONG_FILES`].
const MAX_LINES: usize = 600;

/// (path, why it is long).
const LONG_FILES: &[(&str, &str)] = &[];

/// Which crates each crate may name.
const ARROWS: &[(&str, &[&str])] = &[
    ("wane-kernels", &[]),
    ("wane-attention", &["wane-kernels"]),
    ("wane-model", &["wane-kernels", "wane-attention"]),
    ("wane-train", &["wane-kernels", "wane-attention", "wane-model"]),
    ("wane-eval", &["wane-kernels", "wane-attention", "wane-model"]),
    ("wane-cli", &["wane-kernels", "wane-attention", "wane-model", "wane-train", "wane-eval"]),
];

/// Folders whose every file must be named in the registry of their `mod.rs`.
const REGISTRIES: &[&str] = &["crates/wane-attention/src/methods"];

/// Prints every violation; fails if there is one.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    for folder in ["crates", "xtask"] {
        collect(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(file).display().to_string();
        check_file(&name, &text, &mut problems);
    }
    for (krate, allowed) in ARROWS {
        check_arrows(root, krate, allowed, &mut problems)?;
    }
    for registry in REGISTRIES {
        check_registry(root, registry, &mut problems)?;
    }
    for problem in &problems {
        println!("tidy: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} tidy problems", problems.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(name: &str, text: &str, problems: &mut Vec<String>) {
    if !text.starts_with("//!") {
        problems.push(format!("{name}: must open with a `//!` header"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(long, _)| *long == name) {
        problems.push(format!("{name}: {lines} lines; split it or give a reason in xtask/src/tidy.rs"));
    }
    // Spelled in two halves so that this file does not find itself.
    for (forbidden, why) in [
        (concat!("#[ig", "nore"), "tests are run or deleted"),
        (concat!("#[should_", "panic"), "check the error instead"),
        (concat!("to", "do!("), "finish it"),
        (concat!("unimple", "mented!("), "finish it"),
        (concat!("FIX", "ME"), "fix it"),
    ] {
        if text.contains(forbidden) {
            problems.push(format!("{name}: contains {forbidden}: {why}"));
        }
    }
    let reference = name.ends_with("/reference.rs");
    for forbidden in ["unsafe", "rayon", "std::arch"] {
        if reference
            && text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(forbidden))
        {
            problems.push(format!("{name}: references use no {forbidden}"));
        }
    }
}

fn check_arrows(root: &Path, krate: &str, allowed: &[&str], problems: &mut Vec<String>) -> Result<()> {
    let path = root.join("crates").join(krate).join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for line in text.lines() {
        let named = line.split(['.', ' ', '=']).next().unwrap_or_default();
        if named.starts_with("wane-") && named != krate && !allowed.contains(&named) {
            problems.push(format!("{krate} must not depend on {named} (ARCHITECTURE.md)"));
        }
    }
    Ok(())
}

fn check_registry(root: &Path, folder: &str, problems: &mut Vec<String>) -> Result<()> {
    let registry = fs::read_to_string(root.join(folder).join("mod.rs"))
        .with_context(|| format!("cannot read {folder}/mod.rs"))?;
    for entry in fs::read_dir(root.join(folder))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if name != "mod" && name != "tests" && !registry.contains(&format!("{name}::ENTRY")) {
            problems.push(format!("{folder}/{name}.rs is not in the registry slice of its mod.rs"));
        }
    }
    Ok(())
}

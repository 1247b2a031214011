//! Project automation: `cargo xtask ci` is what CI runs, `cargo xtask tidy` checks the rules of
//! CONTRIBUTING.md that a program can check, `cargo xtask bundle` packs what a GPU machine needs.

mod bundle;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["ci"] => ci(),
        ["tidy"] => tidy::check(&root()),
        ["bundle", rest @ ..] => bundle::run(&root(), rest),
        _ => bail!("usage: cargo xtask ci | tidy | bundle"),
    }
}

/// Format, lints, tests, documentation and tidiness, in the order in which they fail fastest.
fn ci() -> Result<()> {
    tidy::check(&root())?;
    step("format", &["fmt", "--all", "--check"])?;
    step("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    step("tests", &["test", "--workspace"])?;
    step("documentation", &["doc", "--workspace", "--no-deps", "--quiet"])?;
    println!("ci: everything passed");
    Ok(())
}

fn step(name: &str, arguments: &[&str]) -> Result<()> {
    let started = Instant::now();
    println!("ci: {name}");
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(arguments).current_dir(root());
    if name == "documentation" {
        command.env("RUSTDOCFLAGS", "-D warnings");
    }
    let status = command.status().with_context(|| format!("cannot start cargo {}", arguments.join(" ")))?;
    if !status.success() {
        bail!("{name} failed: cargo {}", arguments.join(" "));
    }
    println!("ci: {name} took {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn root() -> PathBuf {
    // Of the checkout that cargo runs, which need not be the one that built this program into a shared target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_owned()
}

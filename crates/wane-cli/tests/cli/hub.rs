//! Hub ids: the local cache, and the hub's own program for what it lacks.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{copy, model, refusal, text, wane};

fn logits(folder: &Path, model: &str) -> Command {
    let (ids, out) = (folder.join("ids.json"), folder.join("out"));
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    let mut command = wane(&["logits", "--model", model]);
    command.arg("--tokens").arg(ids).arg("--out").arg(out);
    command
}

/// A program `name` in `folder`.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes a cache with model `organization/name`.
fn fill(cache: &Path) {
    let place = cache.join("models--organization--name");
    std::fs::create_dir_all(place.join("refs")).unwrap();
    std::fs::write(place.join("refs/main"), "abc").unwrap();
    let snapshot = place.join("snapshots/abc");
    std::fs::create_dir_all(&snapshot).unwrap();
    for file in ["config.json", "model.safetensors"] {
        // Links into another folder, as the hub's own cache has them.
        std::os::unix::fs::symlink(Path::new(&model("a")).join(file), snapshot.join(file)).unwrap();
    }
}

#[test]
fn a_cached_model_is_found() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("hub"));
    for (name, value) in [("HF_HOME", folder.path().to_owned()), ("HF_HUB_CACHE", folder.path().join("hub"))]
    {
        let output = logits(folder.path(), "organization/name").env(name, value).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn without_the_program_the_message_names_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str| {
        let mut command = logits(folder.path(), name);
        command.env("PATH", folder.path()).current_dir(folder.path());
        command
    };
    let output = run("organization/name").output().unwrap();
    refusal("hub id", &output, &["organization/name", "hf download organization/name", "huggingface_hub"]);
    let output = run("organization/name").env("HF_HUB_OFFLINE", "1").output().unwrap();
    refusal("offline", &output, &["HF_HUB_OFFLINE", "hf download organization/name"]);
    // A mistyped name in a folder that exists is no hub id, and nobody is asked.
    program(folder.path(), "hf", "touch asked");
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let output = run("models/typo").output().unwrap();
    refusal("typo", &output, &["models/typo", "no such file or directory"]);
    assert!(!folder.path().join("asked").exists());
}

#[test]
fn the_program_fetches_what_the_cache_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let source = copy();
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let run =
        || logits(folder.path(), "organization/name").env("PATH", &path).current_dir(folder.path()).output();
    let script = format!("echo \"$@\" > asked\necho Fetching files >&2\necho {}\n", source.path().display());
    program(folder.path(), "huggingface-cli", &script);
    let output = run().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert!(asked.starts_with("download organization/name --include *.["), "{asked}");
    assert!(text(&output.stderr).contains("Fetching files"));
    // `hf` comes first.
    program(folder.path(), "hf", "echo 'error: Repository Not Found' >&2; exit 1\n");
    let output = run().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("`hf download organization/name` failed"),
        "{}",
        text(&output.stderr)
    );
    program(folder.path(), "hf", "echo /nowhere\n");
    refusal("nothing came", &run().unwrap(), &["organization/name", "no config.json"]);
}

//! Finds a model directory: a path, or a hub id (`organization/name`) in the local Hugging Face
//! cache. What the cache lacks is left to the hub's own program, `hf`, if it is installed: it knows the
//! user's account, proxies and mirrors, and linking a client would double the time of a build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// What a model needs, as one pattern of Python's `fnmatch`: `.json`, `.safetensors`, `.jinja`.
const WANTED: &str = "*.[js][sai][ofn]*";

/// The directory of `path`, or the cached snapshot of the hub id it spells, downloaded if need be.
///
/// # Errors
/// Neither exists, and `hf` is not installed, not allowed (`HF_HUB_OFFLINE`) or fails.
pub(crate) fn find_directory(path: &Path) -> Result<PathBuf> {
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let not_found = |hint: String| Error::Io {
        action: "open",
        path: path.to_owned(),
        cause: std::io::Error::new(std::io::ErrorKind::NotFound, hint),
    };
    if path.is_file() {
        return Err(Error::unsupported(
            path,
            "this kind of file is unknown (known: a model directory, .gguf, .pth)",
        ));
    }
    // A mistyped name in a folder that exists is no hub id.
    let beside = path.parent().is_some_and(Path::is_dir);
    let Some(id) = path.to_str().filter(|id| !beside && is_hub_id(id)) else {
        return Err(not_found("there is no such file or directory".into()));
    };
    if let Some(snapshot) = cached(id) {
        return Ok(snapshot);
    }
    let absent = "there is no such directory, and no model of this name in the Hugging Face cache";
    if variable("HF_HUB_OFFLINE").is_some_and(|value| value != "0") {
        return Err(not_found(format!(
            "{absent} (HF_HUB_OFFLINE forbids to download it; where there is a network: `hf download {id}`)"
        )));
    }
    let Some(program) = ["hf", "huggingface-cli"].into_iter().find_map(on_path) else {
        return Err(not_found(format!(
            "{absent} (get it with `hf download {id}`; `pip install huggingface_hub` brings that program)"
        )));
    };
    download(&program, id).map_err(|problem| not_found(format!("{absent}, and {problem}")))
}

/// Runs `hf download`, which shows its own progress on stderr.
fn download(program: &Path, id: &str) -> std::result::Result<PathBuf, String> {
    let shown = format!("`{} download {id}`", program.file_stem().unwrap_or_default().display());
    let output = Command::new(program)
        .args(["download", id, "--include", WANTED])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{shown} cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown} failed ({}): see its message above", output.status));
    }
    // The last line is the snapshot's folder; the cache may be where only `hf` knows.
    let text = String::from_utf8_lossy(&output.stdout);
    let told =
        text.lines().map(|line| PathBuf::from(line.trim())).rfind(|path| path.join("config.json").is_file());
    told.or_else(|| cached(id)).ok_or_else(|| format!("{shown} brought no config.json: is it a model?"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&variable("PATH")?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn cached(id: &str) -> Option<PathBuf> {
    caches().iter().find_map(|cache| snapshot(cache, id))
}

fn is_hub_id(id: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    id.split_once('/').is_some_and(|(organization, name)| word(organization) && word(name))
}

/// Where the hub's own programs look, in their order.
fn caches() -> Vec<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from);
    [
        folder("HF_HUB_CACHE"),
        folder("HF_HOME").map(|home| home.join("hub")),
        folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")),
        folder("HOME").map(|home| home.join(".cache/huggingface/hub")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn snapshot(cache: &Path, id: &str) -> Option<PathBuf> {
    let model = cache.join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    let directory = model.join("snapshots").join(revision.trim());
    directory.join("config.json").exists().then_some(directory)
}

#[cfg(test)]
mod tests {
    use super::{is_hub_id, snapshot};

    #[test]
    fn hub_ids_are_two_words() {
        assert!(is_hub_id("HuggingFaceTB/SmolLM2-135M"));
        for wrong in ["gpt2", "/etc/passwd", "a/b/c", "../x", "a/", "a/..", "a b/c"] {
            assert!(!is_hub_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_snapshot_is_found_through_its_reference() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--a--b");
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::create_dir_all(model.join("snapshots/123")).unwrap();
        std::fs::write(model.join("refs/main"), "123\n").unwrap();
        assert_eq!(snapshot(cache.path(), "a/b"), None, "no config.json yet");
        std::fs::write(model.join("snapshots/123/config.json"), "{}").unwrap();
        assert_eq!(snapshot(cache.path(), "a/b"), Some(model.join("snapshots/123")));
        assert_eq!(snapshot(cache.path(), "a/c"), None);
    }
}

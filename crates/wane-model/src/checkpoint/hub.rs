//! Finds a model directory: a path, or a hub id (`organization/name`) in the local Hugging Face
//! cache. Nothing is downloaded: that is left to the hub's own program, which fills this cache.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The directory of `path`, or the cached snapshot of the hub id it spells.
///
/// # Errors
/// Neither exists.
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
    let Some(id) = path.to_str().filter(|id| is_hub_id(id)) else {
        return Err(not_found("there is no such file or directory".into()));
    };
    for cache in caches() {
        if let Some(snapshot) = snapshot(&cache, id) {
            return Ok(snapshot);
        }
    }
    Err(not_found(format!(
        "there is no such directory, and no model of this name in the Hugging Face cache (get it with `hf download {id}`)"
    )))
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
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    [
        variable("HF_HUB_CACHE"),
        variable("HF_HOME").map(|home| home.join("hub")),
        variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")),
        variable("HOME").map(|home| home.join(".cache/huggingface/hub")),
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

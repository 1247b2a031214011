//! Checkpoints: atomic, complete, the newest ones kept.

use std::fs;

use super::{CheckpointFolder, write_folder};
use crate::Error;

fn fill(text: &'static str) -> impl FnOnce(&std::path::Path) -> crate::Result<()> {
    move |folder| fs::write(folder.join("a"), text).map_err(Error::io(folder))
}

#[test]
fn the_newest_are_kept_and_nothing_partial_stays() {
    let output = tempfile::tempdir().expect("folder");
    let folder = CheckpointFolder::open(output.path(), 2).expect("opens");
    for step in [5, 10, 100] {
        folder.save(step, fill("x")).expect("saves");
    }
    let steps: Vec<u64> = folder.list().expect("lists").into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [10, 100]);
    assert!(folder.newest().expect("reads").is_some_and(|p| p.ends_with("step-00000100")));
    assert_eq!(fs::read_dir(output.path().join("checkpoints")).expect("reads").count(), 2);
}

#[test]
fn a_failed_save_leaves_the_older_ones() {
    let output = tempfile::tempdir().expect("folder");
    let folder = CheckpointFolder::open(output.path(), 1).expect("opens");
    folder.save(1, fill("x")).expect("saves");
    let full = |path: &std::path::Path| {
        fs::write(path.join("a"), "half").expect("writes");
        Err(Error::io(path)(std::io::Error::from(std::io::ErrorKind::StorageFull)))
    };
    assert!(folder.save(2, full).is_err());
    let steps: Vec<u64> = folder.list().expect("lists").into_iter().map(|(step, _)| step).collect();
    assert_eq!(steps, [1]);
    assert_eq!(fs::read_dir(output.path().join("checkpoints")).expect("reads").count(), 1);
}

#[test]
fn what_a_killed_save_left_is_removed_and_never_resumed_from() {
    let output = tempfile::tempdir().expect("folder");
    let folder = CheckpointFolder::open(output.path(), 2).expect("opens");
    folder.save(3, fill("x")).expect("saves");
    // What kill -9 leaves while the fourth is being written.
    let partial = output.path().join("checkpoints/.partial-step-00000004-99");
    fs::create_dir(&partial).expect("makes");
    fs::write(partial.join("model.safetensors"), "half").expect("writes");
    let again = CheckpointFolder::open(output.path(), 2).expect("opens");
    assert!(again.newest().expect("reads").is_some_and(|p| p.ends_with("step-00000003")));
    assert!(!partial.exists());
}

#[test]
fn a_folder_is_replaced_whole() {
    let output = tempfile::tempdir().expect("folder");
    let path = output.path().join("model");
    write_folder(&path, fill("old")).expect("writes");
    write_folder(&path, fill("new")).expect("writes");
    assert_eq!(fs::read_to_string(path.join("a")).expect("reads"), "new");
    assert_eq!(fs::read_dir(output.path()).expect("reads").count(), 1);
}

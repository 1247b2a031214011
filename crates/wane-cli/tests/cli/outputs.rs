//! Outputs that cannot be written: no such folder, a full disk, a reader that has gone.

use std::process::Stdio;

use super::{at, model, refusal, refused, wane, with_file_limit, works};

#[test]
fn places_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let ids = at(folder.path(), "ids.json");
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    let a = model("a");
    // A folder below a file: not even root may make it.
    let below = at(folder.path(), "ids.json/out");
    refused(&["logits", "--model", &a, "--tokens", &ids, "--out", &below], &["cannot write", "ids.json/out"]);
    refused(&["convert", &a, "--out", &below], &["ids.json/out"]);
    let trace = ["trace", "--model", &a, "--tokens", &ids, "--prompt-len", "2", "--method", "dense"];
    refused(&[&trace[..], &["--out", &below]].concat(), &["cannot write", "ids.json/out"]);
    let folder = folder.path().to_str().unwrap();
    refused(&["logits", "--model", &a, "--tokens", &ids, "--out", folder], &["cannot write", folder]);
    assert!(std::path::Path::new(folder).is_dir());
}

#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let ids = at(folder.path(), "ids.json");
    std::fs::write(&ids, "[1, 2, 3]").unwrap();
    let a = model("a");
    let logits = ["logits", "--model", &a, "--tokens", &ids, "--out", "/dev/full"];
    refused(&logits, &["cannot write /dev/full", "No space left"]);
    // Never a model that is cut short: nothing stays.
    let out = at(folder.path(), "out");
    let output = with_file_limit(20, &["convert", &a, "--out", &out]);
    refusal("convert", &output, &["cannot write", "model.safetensors", "File too large"]);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    let book = at(folder.path(), "book.txt");
    std::fs::write(&book, "a book of a few words, and then a few more words").unwrap();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for args in [
        &["methods"][..],
        &["tasks"],
        &["completions", "bash"],
        &["generate", "--model", &a, "--prompt", "a", "--max-new-tokens", "5"],
        &["generate", "--model", &a, "--prompt", "a", "--max-new-tokens", "5", "--json"],
        &["ppl", "--model", &a, "--text", &book, "--context", "8", "--windows", "1"],
    ] {
        let output = wane(args).stdout(full()).output().unwrap();
        refusal(&format!("{args:?} > /dev/full"), &output, &[]);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let a = model("a");
    for args in [&["methods"][..], &["completions", "zsh"], &["generate", "--model", &a, "--prompt", "a"]] {
        let mut child = wane(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn what_is_written_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = at(folder.path(), "bf16");
    works(&["convert", &model("a"), "--out", &out, "--dtype", "bf16", "--add-memory"]);
    let text =
        works(&["generate", "--model", &out, "--prompt", "one two", "--max-new-tokens", "3", "--json"]);
    assert!(text.contains("\"completion_tokens\":3"), "{text}");
}

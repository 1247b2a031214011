//! `wane compare`: pairs that cannot be compared, folders of other runs, interruptions.

use std::collections::HashSet;
use std::path::Path;

use wane_eval::runner::record::Record;
use wane_eval::runner::store;
use wane_model::{ModelConfig, Tokenizer};
use wane_train::data::tokenizer::{TokenizerOptions, train};

use super::{
    CONTEXT, TOKENIZER, at, configuration, interrupted, model, refusal, refused, repository, text, wane,
    with_file_limit, works, write_model,
};

/// `wane compare` of the tiny pair with more arguments.
fn arguments<'a>(a: &'a str, b: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let task =
        ["--tasks", "niah_single_1", "--max-new-tokens", "4", "--methods", "dense", "quest:block=16,k=4"];
    [&["compare", "--models", a, b, "--out", out][..], &task, more].concat()
}

fn records(folder: &Path) -> Vec<Record> {
    store::read(&folder.join("records.jsonl")).unwrap()
}

#[test]
fn pairs_that_cannot_be_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (model("a"), model("b"), at(folder.path(), "out"));
    let corpus = folder.path().join("corpus.txt");
    std::fs::write(&corpus, std::fs::read_to_string(repository().join("README.md")).unwrap()).unwrap();
    let other = folder.path().join("other");
    let options = TokenizerOptions {
        inputs: vec![corpus],
        vocab_size: 300,
        output: other.clone(),
        model_max_length: 512,
    };
    train(&options).unwrap();
    let tokenizer = Tokenizer::open(other.to_str().unwrap()).unwrap();
    write_model(&other, &configuration(tokenizer.vocab_size()), 1, Some(&tokenizer));
    refused(&arguments(&a, other.to_str().unwrap(), &out, &[]), &["different tokenizers", "other", "share"]);
    let short = folder.path().join("short");
    let config = ModelConfig { max_position_embeddings: 64, ..configuration(TOKENIZER.vocab_size()) };
    write_model(&short, &config, 1, Some(&TOKENIZER));
    let short = short.to_str().unwrap();
    refused(&arguments(&a, short, &out, &["--context", "512"]), &["--context 512", "at most 64"]);
    refused(&arguments(&a, short, &out, &[]), &["niah_single_1", "64 tokens is too small"]);
    refused(&arguments(&a, &b, &out, &["--context", "513"]), &["--context 513", "at most 512"]);
    refused(&arguments(&a, &b, &out, &["--samples", "0"]), &["--samples must be at least 1"]);
    refused(&arguments(&a, "/nonexistent", &out, &[]), &["/nonexistent"]);
    refused(&arguments(&a, &b, &out, &["--tasks", "niah_singel_1"]), &["niah_singel_1", "`niah_single_1`"]);
    refused(&arguments(&a, &b, &out, &["--haystack", "/nonexistent"]), &["/nonexistent"]);
    refused(&arguments(&a, &b, &out, &["--scorer", "best"]), &["best", "comma_set"]);
    let bare = folder.path().join("bare");
    write_model(&bare, &configuration(TOKENIZER.vocab_size()), 1, None);
    refused(&arguments(&a, bare.to_str().unwrap(), &out, &[]), &["bare", "no tokenizer"]);
    refused(&["compare", "--models", &a], &["--models"]);
    // The defaults are the repository's: elsewhere they do not exist.
    let elsewhere = wane(&["compare"]).current_dir(folder.path()).output().unwrap();
    refusal("elsewhere", &elsewhere, &["models/attention", "--models"]);
    let blocked = at(folder.path(), "corpus.txt/out");
    refused(&arguments(&a, &b, &blocked, &["--samples", "1"]), &["cannot create", "corpus.txt/out"]);
}

#[test]
fn folders_of_other_runs_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (model("a"), model("b"), at(folder.path(), "out"));
    let one = ["--samples", "1", "--context"];
    works(&arguments(&a, &b, &out, &[&one[..], &["512"]].concat()));
    let before = std::fs::read(folder.path().join("out/records.jsonl")).unwrap();
    refused(
        &arguments(&a, &b, &out, &[&one[..], &["500"]].concat()),
        &["another run", "context is 512 there and 500 here", "--out"],
    );
    // Another model under the same name.
    let twin = at(folder.path(), "a");
    write_model(Path::new(&twin), &configuration(TOKENIZER.vocab_size()), 9, Some(&TOKENIZER));
    let mixed =
        refused(&arguments(&twin, &b, &out, &[&one[..], &["512"]].concat()), &["called a too", "--out"]);
    assert!(mixed.contains("records.jsonl"), "{mixed}");
    assert_eq!(std::fs::read(folder.path().join("out/records.jsonl")).unwrap(), before);
    std::fs::write(folder.path().join("out/records.jsonl"), "not a record\n").unwrap();
    refused(&arguments(&a, &b, &out, &[&one[..], &["512"]].concat()), &["records.jsonl, line 1"]);
}

/// Fails unless every example of both models is there once.
#[track_caller]
fn complete(folder: &Path, samples: usize) {
    let records = records(folder);
    let keys: HashSet<_> = records.iter().map(Record::key).collect();
    assert_eq!((keys.len(), records.len()), (4 * samples, 4 * samples));
}

#[test]
fn ctrl_c_keeps_what_is_finished() {
    const SAMPLES: usize = 150;
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (model("a"), model("b"), at(folder.path(), "out"));
    let (samples, context) = (SAMPLES.to_string(), CONTEXT.to_string());
    let args = arguments(&a, &b, &out, &["--samples", &samples, "--context", &context, "--batch", "1"]);
    let path = folder.path().join("out/records.jsonl");
    let output = interrupted(&args, &path);
    let kept = std::fs::read(&path).unwrap();
    let finished = records(&folder.path().join("out")).len();
    assert!((3..4 * SAMPLES).contains(&finished), "{finished} records");
    let count = format!("holds {finished} records");
    refusal("Ctrl-C", &output, &["stopped by Ctrl-C", &count, "run the same command again to go on"]);
    works(&args);
    complete(&folder.path().join("out"), SAMPLES);
    assert!(std::fs::read(&path).unwrap().starts_with(&kept));
    // All is there: a third run adds nothing and prints the same table.
    let again = works(&args);
    assert!(again.contains("page: "), "{again}");
    complete(&folder.path().join("out"), SAMPLES);
}

#[test]
fn a_full_disk_keeps_what_is_finished() {
    const SAMPLES: usize = 3;
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (model("a"), model("b"), at(folder.path(), "out"));
    let samples = SAMPLES.to_string();
    let args = arguments(&a, &b, &out, &["--samples", &samples, "--context", "512"]);
    // A record is longer than a thousand bytes: a few fit.
    let output = with_file_limit(8, &args);
    refusal("full", &output, &["cannot write", "records.jsonl", "File too large"]);
    let finished = records(&folder.path().join("out")).len();
    assert!((1..4 * SAMPLES).contains(&finished), "{finished} records, {}", text(&output.stderr));
    works(&args);
    complete(&folder.path().join("out"), SAMPLES);
}

#[test]
fn one_sample_under_another_scorer_has_a_summary_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, out) = (model("a"), model("b"), at(folder.path(), "out"));
    let more = ["--samples", "1", "--context", "512", "--scorer", "string_match_mean"];
    let said = works(&arguments(&a, &b, &out, &more));
    // One table: a line for each method, with a dash in place of an interval.
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("quest:block=16,k=4 ")).collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(lines[0].contains("+0.0      - ") && lines[0].contains(" KB"), "{said}");
    assert!(said.contains("No interval (-)") && said.trim_end().ends_with("out/index.html"), "{said}");
    let page = std::fs::read_to_string(folder.path().join("out/index.html")).unwrap();
    assert!(page.contains("an interval needs at least 2") && page.contains("Scorer: string_match_mean"));
}
